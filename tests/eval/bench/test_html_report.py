"""The HTML page: it needs nothing else, texts are never markup, and its filter works in a browser without an error."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from bench_cases import named, sentences, write_lines, write_run
from browsers import check_no_errors, chromium, open_page
from counterpoint.eval import AMATEUR
from counterpoint.eval.bench.metric_models import MetricModels
from counterpoint.eval.bench.records import read_generations
from counterpoint.eval.bench.results import score_directory
from counterpoint.eval.report import drawing, html_table, shell, texts
from counterpoint.eval.report import html as html_report
from counterpoint.eval.report.files import write_files

HOSTILE = [
    "<script>window.hacked = 1</script>",
    '</script><script>window.hacked = 2</script><img src=x onerror="window.hacked = 3">',
    "quotes \" ' ` and \\ and &lt;b&gt; &amp; and <!-- and ]]>",
    "lines \u2028 and \u2029 and \u0085 and \0 and \r\n and \u202e",
    "${window.hacked = 4} $title \U0001f40b \ufffd İstanbul",
]
LABELS = ("greedy", "nucleus:top_p=0.9", 'beam:x="<b>&', "a</script><script>window.hacked=5</script>")


def write_page(folder: Path, texts: list[str], count: int = 5, formats: Sequence[str] = ("markdown",)) -> Path:
    """A page of four decoders, the second with two seeds, with references and a failure."""
    runs = {label: {0: [f"{place} {text}" for text in texts][:count]} for place, label in enumerate(LABELS)}
    runs[LABELS[1]][1] = [f"another seed {text}" for text in texts][:count]
    write_run(folder, runs, [f"human {text}" for text in texts][:count])
    write_lines(folder / "failures.jsonl", [{**named("sled"), "key": "f", "error": "<script>window.hacked = 6</script>"}])
    models = MetricModels(folder, scorer=str(AMATEUR), device="cpu", dtype="float32")
    write_files(folder, score_directory(folder, ["diversity", "length", "coherence"], models), formats)
    return folder / "report.html"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page whose texts are hostile."""
    return write_page(tmp_path_factory.mktemp("page"), HOSTILE)


class Elements(HTMLParser):
    """The elements of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1][0] not in ("script", "style"):
            self.text.append(data)


def check_texts_are_data(page: Path) -> None:
    """Two scripts, ours and the data, which is what was generated to the letter; nothing hostile is an element."""
    content = page.read_text(encoding="utf-8")
    found = Elements(content)
    assert [attributes.get("type") for tag, attributes in found.elements if tag == "script"] == ["application/json", None]
    assert not [tag for tag, attributes in found.elements if tag in ("b", "img") or "onerror" in attributes]
    assert not set("\u2028\u2029\0\u202e") & set(content)
    data = json.loads(content.split('<script type="application/json" id="data">')[1].split("</script>")[0])
    records = {(record["label"], record["seed"], record["index"]): record for record in read_generations(page.parent)}
    assert len(records) == 25
    for (label, seed, index), record in records.items():
        (prompt,) = [each for each in data["prompts"] if each["index"] == index]
        assert prompt["texts"][LABELS.index(label)][str(seed)] == record["text"]
        assert prompt["texts"][-1] == {"0": record["reference"]}
        assert prompt["prompt"] == record["prompt"]


def test_texts_are_data(page: Path) -> None:
    check_texts_are_data(page)


@pytest.mark.parametrize(
    ("module", "name", "broken"),
    [(shell, "as_data", json.dumps), (html_report, "escape", str), (html_table, "escape", str), (drawing, "escape", str)],
)
def test_the_check_catches_what_is_not_escaped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, broken: Any
) -> None:
    monkeypatch.setattr(module, name, broken)
    with pytest.raises((AssertionError, ValueError)):
        check_texts_are_data(write_page(tmp_path, HOSTILE))


def test_nothing_else_is_needed(page: Path) -> None:
    found = Elements(page.read_text(encoding="utf-8"))
    for tag, attributes in found.elements:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base")
        for name in ("src", "xlink:href", "action", "data", "poster"):
            assert (attributes.get(name) or "#").startswith("#")
        assert (attributes.get("href") or "#").startswith(("#", "data:", "https://arxiv.org/abs/")), (
            attributes
        )  # what a reader may click
    (policy,) = [attributes["content"] for tag, attributes in found.elements if attributes.get("http-equiv")]
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    text = page.read_text(encoding="utf-8")
    assert "@import" not in text
    assert text.count("url(") == text.count("url(#")


def test_the_page_has_the_table_and_its_notes(page: Path) -> None:
    text = " ".join(" ".join(Elements(page.read_text(encoding="utf-8")).text).split())
    assert "Decoders of a model" in text
    assert "prompts.jsonl, float32, up to 32 new tokens" in text
    for name in ("greedy", "nucleus", "human", "diversity", "rep-4", "perplexity"):
        assert name in text
    assert "failed: <script>window.hacked = 6</script>" in text
    identifiers = [attributes["id"] for _, attributes in Elements(page.read_text(encoding="utf-8")).elements if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))


def test_a_page_without_matplotlib_and_with_some_of_the_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "MOST_CHARACTERS", 1200)
    monkeypatch.setattr("counterpoint.eval.report.files.find_spec", lambda name: None)
    page = write_page(tmp_path, HOSTILE).read_text(encoding="utf-8")
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert data["left_out"] == 5 - len(data["prompts"]) > 0
    assert sum(len(text) for prompt in data["prompts"] for seeds in prompt["texts"] for text in seeds.values()) <= 1200
    assert "<svg" in page  # the page draws its picture itself
    assert not [*tmp_path.glob("*.png")]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("profile")) as found:
        yield found


def texts_shown(browser: Any) -> list[list[str]]:
    """For each prompt the texts that are to be seen, decoder by decoder."""
    articles = browser.find_elements("css selector", "article")
    return [
        [each.get_property("textContent") for each in article.find_elements("css selector", ".text .words")] for article in articles
    ]


def test_hostile_texts_in_a_browser(browser: Any, page: Path) -> None:
    open_page(browser, page)
    expected = [[*(f"{place} {text}" for place in range(4)), f"human {text}"] for text in HOSTILE]
    assert texts_shown(browser) == [[text.strip() for text in row] for row in expected]
    check_no_errors(browser)


def test_the_filter_in_a_browser(browser: Any, tmp_path: Path) -> None:
    open_page(browser, write_page(tmp_path, [*sentences(24, 0), "A Whale-<b>ship</b>!"], 25))
    boxes = browser.find_elements("css selector", "#shown input")
    labels = [label.text for label in browser.find_elements("css selector", "#shown label")]
    assert labels == ["greedy", "nucleus", "beam", LABELS[3], "human"]
    assert len(texts_shown(browser)) == 20
    browser.find_element("id", "more").click()
    assert len(texts_shown(browser)) == 25
    assert not browser.find_element("id", "more").is_displayed()

    for box in boxes[1:4]:
        box.click()
    assert [len(row) for row in texts_shown(browser)] == [2] * 25
    assert [heading.text for heading in browser.find_elements("css selector", "article h4")][:2] == ["greedy\npin", "human\npin"]

    search = browser.find_element("id", "search")
    search.send_keys("wHALE-<b>")
    ((greedy, human),) = texts_shown(browser)
    assert (greedy, human) == ("0 A Whale-<b>ship</b>!", "human A Whale-<b>ship</b>!")
    assert [mark.text for mark in browser.find_elements("css selector", "mark")] == ["Whale-<b>"] * 2
    assert browser.execute_script("return location.hash") == "#find=wHALE-%3Cb%3E&hide=nucleus,beam," + quote(
        LABELS[3], safe="!'()*"
    )
    assert browser.find_element("id", "count").text == "1 of 1 prompts found"
    search.clear()
    search.send_keys("nowhere to be found")
    assert texts_shown(browser) == []
    search.clear()
    search.send_keys("another seed")
    assert texts_shown(browser) == []  # it is nucleus's, which is not shown
    boxes[1].click()
    browser.find_element("css selector", "#seed option[value='1']").click()
    assert [row[1].startswith("another seed") for row in texts_shown(browser)] == [True] * 20
    assert texts_shown(browser)[0][0].startswith("0 ")  # greedy has one seed, shown under each
    check_no_errors(browser)


@pytest.mark.parametrize("broken", ["window.missing.property;", 'document.body.innerHTML += "<img src=http://localhost:9/x>";'])
def test_the_browser_test_sees_errors(browser: Any, page: Path, tmp_path: Path, broken: str) -> None:
    """A script error, and something fetched, which the page's policy forbids."""
    shutil.copytree(html_report.FOLDER, tmp_path / "report")
    script = tmp_path / "report" / "texts.js"
    script.write_text(script.read_text(encoding="utf-8") + broken, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(html_report, "FOLDER", tmp_path / "report")
        open_page(browser, write_page(tmp_path / "run", HOSTILE))
    with pytest.raises(AssertionError):
        check_no_errors(browser)
