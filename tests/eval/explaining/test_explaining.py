"""What is shown of a text is what wrote it: numbers against ``generate``'s own and against references, words and page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, LogitsProcessor, PreTrainedModel, PreTrainedTokenizerBase

from browsers import check_no_errors, chromium, open_page
from counterpoint.decoders import ContrastParts, ContrastProcessor, DoLaLogitsProcessor, watched
from counterpoint.eval import EXPERT, explain
from counterpoint.eval.building import generate_arguments
from counterpoint.eval.choosing import parse_decoder
from counterpoint.eval.cli.main import main
from counterpoint.eval.explaining.explanation import Explanation, explained
from counterpoint.eval.generation import Request
from counterpoint.eval.loading import Loaded

PROMPT, NEW = "A whale is a fish.\n\nThe whale rose before the boat, and", 7
DECODERS = (
    "greedy",
    "nucleus",
    "top_n_sigma",
    "contrastive_search",
    "adaptive_contrastive_search",
    "contrastive_decoding",
    "context_aware",
    "frustratingly_simple",
    "dola",
    "layer_fusion",
    "sled",
)


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(EXPERT)
    return Loaded(str(EXPERT), model.eval(), AutoTokenizer.from_pretrained(EXPERT))


def shown_by(loaded: Loaded, decoder: str, new: int = NEW) -> Explanation:
    ids = tuple(loaded.tokenizer(PROMPT).input_ids)
    return explained(loaded, Request(PROMPT, ids), new, 0, parse_decoder(decoder))


def generated(loaded: Loaded, decoder: str) -> Any:
    """The same text without anybody watching."""
    torch.manual_seed(0)
    inputs: Any = loaded.tokenizer(PROMPT, return_tensors="pt")
    arguments = generate_arguments(parse_decoder(decoder), loaded, [PROMPT])
    model: Any = loaded.model
    tables = {"output_scores": True, "output_logits": True, "return_dict_in_generate": True}
    return model.generate(**inputs, max_new_tokens=NEW, **tables, **arguments)


def check_numbers(record: Any, output: Any) -> None:
    """Ranks, probabilities and what was cut, recomputed from what ``generate`` gives."""
    new = output.sequences[0, -NEW:].tolist()
    assert [token["id"] for token in record["tokens"]] == new
    for token, logits, scores in zip(record["tokens"], output.logits, output.scores, strict=True):
        best = sorted(range(logits.shape[1]), key=lambda one: -float(logits[0, one]))
        assert best.index(token["id"]) + 1 == token["greedy_rank"]
        assert token["greedy"]["id"] == best[0]
        assert token["model_probability"] == pytest.approx(float(logits[0].softmax(-1)[token["id"]]))
        assert token["cut"] == int((scores[0] == -torch.inf).sum())
        assert [each["id"] for each in token["candidates"] if each["chosen"]] == [token["id"]]
        for each in token["candidates"]:
            assert each["model"] == pytest.approx(float(logits[0].softmax(-1)[each["id"]]), abs=1e-6)
            if "decoder" in each:
                assert each["decoder"] == pytest.approx(float(scores[0].softmax(-1)[each["id"]]), abs=1e-6)
        if "decoder" in token["candidates"][0]:
            order = [each["decoder"] for each in token["candidates"]]
            assert order == sorted(order, reverse=True)


@pytest.mark.parametrize("decoder", DECODERS)
def test_numbers_are_those_of_the_generation(loaded: Loaded, decoder: str) -> None:
    check_numbers(shown_by(loaded, decoder).record, generated(loaded, decoder))


def test_the_check_of_numbers_can_fail(loaded: Loaded) -> None:
    record, output = shown_by(loaded, "contrastive_decoding").record, generated(loaded, "contrastive_decoding")
    output.scores = [each.roll(1, dims=1) for each in output.scores]
    with pytest.raises(AssertionError):
        check_numbers(record, output)


def test_contrastive_search_is_equation_5_and_names_the_nearest_token(loaded: Loaded) -> None:
    """From states of whole texts, read anew for each candidate."""
    record = shown_by(loaded, "contrastive_search").record
    model: Any = loaded.model
    ids = [token["id"] for token in record["prompt_tokens"]]
    for token in record["tokens"]:
        with torch.no_grad():
            p = model(torch.tensor([ids])).logits[0, -1].softmax(-1)
            for each in token["candidates"]:
                states = model(torch.tensor([[*ids, each["id"]]]), output_hidden_states=True).hidden_states[-1][0]
                unit = nn.functional.normalize(states, dim=-1)
                cosine = unit[:-1] @ unit[-1]
                assert each["penalty"] == pytest.approx(float(cosine.max()), abs=1e-4)
                assert each["nearest"] == int(cosine.argmax())
                assert each["score"] == pytest.approx(0.4 * float(p[each["id"]]) - 0.6 * float(cosine.max()), abs=1e-4)
        assert token["candidates"][0]["id"] == token["id"]
        assert {each["id"] for each in token["candidates"]} == set(p.topk(5).indices.tolist())
        assert token["nearest"] == token["candidates"][0]["nearest"]
        ids.append(token["id"])


def test_early_layers_are_the_models_own(loaded: Loaded) -> None:
    """DoLa's negative distribution and divergences, from the hidden states that transformers gives."""
    record = shown_by(loaded, "dola").record
    model: Any = loaded.model
    ids = [token["id"] for token in record["prompt_tokens"]]
    processor = DoLaLogitsProcessor(model, layers="high")
    assert record["layers"] == list(processor.layers)
    for token in record["tokens"]:
        with torch.no_grad():
            output = model(torch.tensor([ids]), output_hidden_states=True)
            exits = torch.stack([model.lm_head(output.hidden_states[layer][0, -1]) for layer in record["layers"]])
        assert token["choice"]["layer"] == record["layers"][int(torch.tensor(token["choice"]["divergence"]).argmax())]
        negative = exits[record["layers"].index(token["choice"]["layer"])].softmax(-1)
        for each in token["candidates"]:
            assert each["negative"] == pytest.approx(float(negative[each["id"]]), abs=1e-5)
        ids.append(token["id"])


class Halved(ContrastProcessor):
    """Anybody's own: every logit against half of it."""

    def parts(self, outputs: Any, scores: Tensor) -> ContrastParts:
        return ContrastParts(scores=scores * 1.5, positive=scores, negative=scores / 2)


def test_anybodys_own_decoder_shows_its_parts(loaded: Loaded, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from counterpoint.decoders import ContrastParts, ContrastProcessor\n\n\n"
        "class Halved(ContrastProcessor):\n"
        "    def parts(self, outputs, scores):\n"
        "        return ContrastParts(scores=scores * 1.5, positive=scores, negative=scores / 2)\n"
    )
    record = shown_by(loaded, f"{tmp_path / 'mine.py'}:Halved").record
    for token in record["tokens"]:
        first, second = token["candidates"][:2]
        ratio = torch.tensor([first["negative"] / second["negative"], first["model"] / second["model"]]).log()
        assert float(2 * ratio[0]) == pytest.approx(float(ratio[1]), rel=1e-3)
        assert token["negative_rank"] == token["greedy_rank"]


def test_nobody_watches_after_the_context(loaded: Loaded) -> None:
    steps: list[Any] = []
    ids = torch.tensor([loaded.tokenizer(PROMPT).input_ids])
    with watched(lambda *step: steps.append(step)):
        found = Halved()(ids, torch.randn(1, 9))
    assert len(steps) == 1
    decoder, seen, parts = steps[0]
    assert isinstance(decoder, LogitsProcessor)
    assert torch.equal(seen, ids)
    assert torch.equal(parts.scores, found)
    Halved()(ids, torch.randn(1, 9))
    assert len(steps) == 1


def test_a_ranked_search_shows_its_rounds(loaded: Loaded) -> None:
    decoder = "ranked_search:tokens_per_round=4,candidates=3,ranker=overlap"
    record = shown_by(loaded, decoder, 8).record
    assert len(record["rounds"]) == 2
    assert record["text"] == record["rounds"][-1][0]["text"]
    for candidates in record["rounds"]:
        scores = [each["score"] for each in candidates if each["score"] is not None]
        assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("decoder", ["beam", "released_contrastive_decoding", "speculative_contrastive_decoding"])
def test_what_has_no_step_a_token_is_refused(loaded: Loaded, decoder: str) -> None:
    with pytest.raises(ValueError, match=f"decoder {decoder}.*no step a token to show"):
        shown_by(loaded, decoder)


def test_the_same_in_python_and_on_the_command_line(loaded: Loaded, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer: PreTrainedTokenizerBase = loaded.tokenizer
    found = explain(loaded.model, tokenizer, PROMPT, "dola:layers=low", max_new_tokens=3)
    page = tmp_path / "page.html"
    words = ["explain", PROMPT, "--decoder", "dola:layers=low", "--max-new-tokens", "3"]
    assert main([*words, "--output", str(page)]) == 0
    assert capsys.readouterr().out == f"{page}\n"
    assert page.read_text(encoding="utf-8") == found.html()
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == found.record
    assert main(["explain", "--decoder", "no_such", PROMPT]) == 2
    assert main(["explain", "--decoder", "beam", "--model", "./absent", PROMPT]) == 2  # before the model is looked for


def test_a_page_holds_hostile_texts_as_data(loaded: Loaded) -> None:
    prompt = "</script><script>window.hacked = 1</script> ${x} $title"
    page = explain(loaded.model, loaded.tokenizer, prompt, "greedy", max_new_tokens=2).html()
    assert page.count("<script") == 2  # the data and our own
    assert json.loads(page.split('id="data">')[1].split("</script>")[0])["prompt"] == prompt
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("profile")) as found:
        yield found


def test_a_page_in_a_browser(loaded: Loaded, browser: Any, tmp_path: Path) -> None:
    found = shown_by(loaded, "contrastive_search", 12)
    page = tmp_path / "page.html"
    page.write_text(found.html(), encoding="utf-8")
    open_page(browser, page)
    tokens = browser.find_elements("css selector", "#text .token")
    assert "".join(each.get_property("textContent") for each in tokens) == found.record["text"]
    first = next(place for place, each in enumerate(found.record["tokens"]) if each["greedy_rank"] > 1)
    assert [each.get_attribute("aria-current") for each in tokens].index("true") == first
    tokens[4].click()
    step = found.record["tokens"][4]
    rows = browser.find_elements("css selector", "#details tbody tr")
    assert len(rows) == len(step["candidates"]) == 5
    assert [row.get_attribute("class") for row in rows] == ["chosen", "", "", "", ""]
    assert f"cosine {step['similarity']:.2f}" in browser.find_element("css selector", "#details p").text
    assert len(browser.find_elements("css selector", "#text svg path")) == 1
    (nearest,) = browser.find_elements("css selector", "#text .nearest")
    everything = browser.find_elements("css selector", "#text .prompt, #text .token")
    assert everything.index(nearest) == step["nearest"]
    tokens[4].send_keys("\ue014")  # the right arrow
    assert browser.current_url.endswith("#token-6")
    check_no_errors(browser)


def test_a_page_with_layers_in_a_browser(loaded: Loaded, browser: Any, tmp_path: Path) -> None:
    found = shown_by(loaded, "dola:layers=0+1+2+3", 6)
    page = tmp_path / "page.html"
    page.write_text(found.html(), encoding="utf-8")
    open_page(browser, page)
    cells = browser.find_elements("css selector", "#heat button")
    assert len(cells) == 4 * len(found.record["tokens"])
    assert len(browser.find_elements("css selector", "#heat button.chosen")) == len(found.record["tokens"])
    cells[-1].click()
    assert browser.current_url.endswith(f"#token-{len(found.record['tokens'])}")
    browser.find_element("css selector", "#series option[value='layer']").click()
    check_no_errors(browser)
