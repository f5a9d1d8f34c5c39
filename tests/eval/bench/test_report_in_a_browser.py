"""The report as a reader uses it: the address, sorting, orders, pins and marks, explanations, keyboard, phone and print."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench_cases import sentences, write_run, write_speed
from browsers import check_no_errors, chromium, open_page
from counterpoint.eval import AMATEUR, diversity
from counterpoint.eval.bench.metric_models import MetricModels
from counterpoint.eval.bench.records import read_generations
from counterpoint.eval.bench.results import score_directory
from counterpoint.eval.report.files import write_files

COUNT = 45
LOOP = " the old man said the old man said it was night and the sea and the ship came"
LABELS = ("greedy", "nucleus:top_p=0.9", "beam:num_beams=4")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose greedy texts loop, whose beam texts begin as those do, and whose tenth prompt has one text for all."""
    folder = tmp_path_factory.mktemp("run")
    texts = {
        "greedy": [LOOP] * COUNT,
        LABELS[1]: sentences(COUNT, 1, length=25),
        LABELS[2]: [f" the old man said{each}" for each in sentences(COUNT, 2)],
    }
    for each in texts.values():
        each[9] = LOOP
    texts[LABELS[1]][20] = " no no no no no no no no"
    write_run(folder, {label: {0: each} for label, each in texts.items()}, sentences(COUNT, 3, length=30))
    write_speed(folder, {"greedy": 10.0, LABELS[1]: 9.0, LABELS[2]: 5.0})
    models = MetricModels(folder, scorer=str(AMATEUR), device="cpu", dtype="float32")
    write_files(folder, score_directory(folder, ["diversity", "length", "zipf", "coherence", "speed"], models))
    return folder


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def browser(driver: Any, folder: Path) -> Iterator[Any]:
    """At the top of the page, which has logged nothing when the test is over."""
    driver.get("about:blank")
    open_page(driver, folder / "report.html")
    yield driver
    check_no_errors(driver)


def visit(browser: Any, folder: Path, address: str) -> None:
    """The page at an address, loaded anew."""
    browser.get("about:blank")
    browser.get((folder / "report.html").as_uri() + address)


def shown(browser: Any, selector: str) -> list[str]:
    return [each.text for each in browser.find_elements("css selector", selector) if each.is_displayed()]


def address(browser: Any) -> str:
    return str(browser.execute_script("return location.hash"))


def prompts(browser: Any) -> list[int]:
    return [int(each.get_attribute("id").removeprefix("prompt-")) for each in browser.find_elements("css selector", "article")]


def press(browser: Any, selector: str, place: int = 0) -> None:
    """A click that does not care what lies over the element where the driver would scroll it to."""
    browser.execute_script("arguments[0].click()", browser.find_elements("css selector", selector)[place])


def choose(browser: Any, name: str, value: str) -> None:
    script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('change'))"
    browser.execute_script(script, browser.find_element("id", name), value)


def test_an_address_is_what_is_looked_at(browser: Any, folder: Path) -> None:
    visit(browser, folder, "#prompt-33&hide=beam&sort=-words")
    assert prompts(browser)[0] == 21  # the window that has it
    top = browser.execute_script("return document.getElementById('prompt-33').getBoundingClientRect().top")
    assert 0 <= top < 200
    assert [text.split("\n")[0] for text in shown(browser, "#prompt-33 h4")] == ["greedy", "nucleus", "human"]
    press(browser, "#earlier")
    assert prompts(browser)[0] == 1
    press(browser, "#next")
    assert address(browser) == "#prompt-34&hide=beam&sort=-words"
    for _ in range(3):
        press(browser, "#previous")
    assert address(browser).startswith("#prompt-31&")
    (current,) = browser.find_elements("css selector", "article[aria-current]")
    assert current.get_attribute("id") == "prompt-31"
    link = browser.find_element("css selector", "#prompt-2 .number")
    assert link.get_attribute("href").endswith("#prompt-2&hide=beam&sort=-words")
    for broken in ("#prompt-999&pin=nobody", "#find=%E0%A4%A", "#&&=&order=nonsense&sort=nothing&seed=77"):
        visit(browser, folder, broken)
        assert len(browser.find_elements("css selector", "#table tbody tr")) == 3


def test_all_and_none(browser: Any) -> None:
    press(browser, "#none")
    assert shown(browser, ".text") == []
    press(browser, "#every")
    assert len(shown(browser, "#prompt-1 .text")) == 4


def test_the_table_is_sorted_and_has_its_columns(browser: Any) -> None:
    def decoders() -> list[str]:
        return [text.split("\n")[0] for text in shown(browser, "#table tbody th")]

    header = "th[data-column=relative_speed] .sort"
    press(browser, header)
    assert decoders() == ["greedy", "nucleus", "beam"]
    press(browser, header)
    assert decoders() == ["beam", "nucleus", "greedy"]
    assert browser.find_element("css selector", "th[data-column=relative_speed]").get_attribute("aria-sort") == "ascending"
    assert shown(browser, "#table tfoot th") == ["human"]  # stays below
    press(browser, header)
    assert decoders() == ["greedy", "nucleus", "beam"]
    assert address(browser) in ("", "#")
    before = len(shown(browser, "#table thead tr:last-child th"))
    press(browser, "#all input")
    assert len(shown(browser, "#table thead tr:last-child th")) > before
    for row in ("thead tr:first-child", "tbody tr"):  # as wide as each other, and as what is seen
        widths = [
            int(cell.get_attribute("colSpan")) for cell in browser.find_elements("css selector", f"#table {row}:first-child > *")
        ]
        assert sum(widths) == 1 + len(shown(browser, "#table thead tr:last-child th"))
    assert "all" in address(browser)
    parameters = browser.find_element("css selector", "#table summary")
    parameters.click()  # as a finger does
    assert shown(browser, "#table details[open] code") == ["nucleus:top_p=0.9"]


def test_a_metric_is_explained_on_demand(browser: Any) -> None:
    assert shown(browser, ".about") == []
    button = browser.find_element("css selector", "th[data-column=diversity] .why")
    assert button.get_attribute("aria-label") == "What diversity says"
    button.send_keys("\ue007")  # Enter
    (text,) = shown(browser, ".about")
    assert "docs/metrics/diversity.md" in text
    assert browser.find_element("css selector", "#about-diversity a").get_attribute("href") == "https://arxiv.org/abs/2210.14140"
    browser.switch_to.active_element.send_keys("\ue00c")  # Escape
    assert shown(browser, ".about") == []


def test_orders(browser: Any, folder: Path) -> None:
    choose(browser, "order", "different")
    assert address(browser) == "#order=different"
    press(browser, "#more")
    press(browser, "#more")
    assert prompts(browser)[-1] == 10  # where all decoders wrote the same
    assert sorted(prompts(browser)) == [*range(1, COUNT + 1)]
    choose(browser, "order", "worst-diversity")
    browser.execute_script(
        "arguments[0].click()", browser.find_elements("css selector", "#shown input")[0]
    )  # without greedy's loops
    assert prompts(browser)[0] == 21
    first = browser.find_element("css selector", "article .measures").text
    assert first.startswith(f"diversity {diversity([' no no no no no no no no']):.3f} · words 8 · coherence -")


def test_figures_of_each_text(browser: Any, folder: Path) -> None:
    records = {(record["label"], record["index"]): record["text"] for record in read_generations(folder)}
    for index in (0, 9, 19):
        measures = shown(browser, f"#prompt-{index + 1} .measures")
        for label, measure in zip(LABELS, measures, strict=False):
            text = records[label, index]
            assert measure.startswith(f"diversity {diversity([text]):.3f} · words {len(text.split())} · coherence -")


def spans(text: str, length: int, known: set[str] | None = None) -> list[str]:
    """Runs of words within phrases that came before in the text, or that are known."""
    words = text.split()
    inside: set[int] = set()
    seen: set[str] = set()
    for place in range(len(words) - length + 1):
        phrase = " ".join(words[place : place + length])
        if phrase in (seen if known is None else known):
            inside |= {*range(place, place + length)}
        seen.add(phrase)
    marked = "".join("x" if place in inside else " " for place in range(len(words)))
    return [" ".join(words[found.start() : found.end()]) for found in re.finditer("x+", marked)]


def test_what_is_repeated_and_what_is_common_is_marked(browser: Any, folder: Path) -> None:
    records = {(record["label"], record["index"]): record["text"] for record in read_generations(folder)}
    assert spans(LOOP, 4) == ["the old man said"]
    assert shown(browser, "#prompt-1 .text:first-child .again") == ["the old man said"]
    press(browser, "#repeats")
    assert browser.find_elements("css selector", "article .again") == []
    pins = browser.find_elements("css selector", "#prompt-5 .pin")
    for place in (0, 2):
        press(browser, "#prompt-5 .pin", place)
    assert len(pins) == 4
    assert address(browser) == "#prompt-5&pin=greedy,beam&plain"
    assert [text.split("\n")[0] for text in shown(browser, "#prompt-5 h4")] == ["greedy", "beam"]
    left, right = browser.find_elements("css selector", "#prompt-5 .text")
    assert left.rect["y"] == right.rect["y"]
    assert left.rect["x"] < right.rect["x"]
    for index in (4, 5):
        phrases = [
            {" ".join(text.split()[at : at + 3]) for at in range(len(text.split()) - 2)}
            for text in (records[LABELS[0], index], records[LABELS[2], index])
        ]
        expected = spans(records[LABELS[0], index], 3, phrases[1]) + spans(records[LABELS[2], index], 3, phrases[0])
        assert shown(browser, f"#prompt-{index + 1} .common") == expected != []
    press(browser, "#unpin")
    assert len(shown(browser, "#prompt-5 .text")) == 4


def test_the_keyboard_and_the_landmarks(browser: Any) -> None:
    browser.find_element("css selector", "body").send_keys("\ue004")  # Tab
    skip = browser.switch_to.active_element
    assert skip.text == "Skip to the contents"
    skip.send_keys("\ue007")
    assert browser.switch_to.active_element.get_attribute("id") == "main"
    tree = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = [node["role"]["value"] for node in tree if not node.get("ignored")]
    for role in ("main", "banner", "search", "region", "table", "image", "status"):
        assert role in roles or {"image": "img"}.get(role) in roles, role
    unnamed = [
        node["role"]["value"]
        for node in tree
        if not node.get("ignored")
        and node["role"]["value"] in ("button", "link", "checkbox", "combobox", "searchbox", "image", "img", "dialog")
        and not node.get("name", {}).get("value")
    ]
    assert unnamed == []


@pytest.mark.parametrize("width", [360, 820, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_widths_and_schemes(browser: Any, width: int, scheme: str) -> None:
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
        background = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        dark = sum(map(int, re.findall(r"\d+", background)[:3])) < 3 * 128
        assert dark == (scheme == "dark")
        pictures = browser.find_elements("css selector", "svg.drawn")
        smallest = min(picture.rect["width"] for picture in pictures) / 480 * 12
        assert smallest >= 8  # pixels of the letters in the picture
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_print_leaves_out_what_is_for_the_hand(browser: Any) -> None:
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert shown(browser, "button") == []
        assert shown(browser, "#filter") == []
        assert len(shown(browser, "article")) == 20
        assert shown(browser, ".verdicts") != []
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
