"""Finding retrieval heads: trials as they are said to be, scores against whole attention matrices, the file, and the command."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from counterpoint.decoders.amateurs.head_lists import parse_heads
from counterpoint.decoders.testing import tiny_model
from counterpoint.eval import retrieval_heads as finder
from counterpoint.eval.cli.main import main
from counterpoint.eval.embedded import AMATEUR
from counterpoint.eval.retrieval_heads import Trial, copied_tokens, make_trial, needle, recall, retrieval_heads, written_heads
from families import FAMILY

HAYSTACK = ["The sea was calm that day, and nobody spoke.", "He went home along the river without a word."]


@pytest.mark.parametrize("depth", [0.0, 0.5, 1.0])
def test_trials(depth: float, tokenizer: Any) -> None:
    """The needle lies where it is said to lie, its beginning stands at the end, and the rest is what is left of it."""
    one, same = random.Random(3), random.Random(3)  # noqa: S311 - no secret
    trial = make_trial(tokenizer, HAYSTACK, one, 128, depth)
    beginning, rest = needle(same)
    inside = tokenizer.decode(trial.ids[trial.start : trial.start + trial.width])
    assert inside.strip() == f"{beginning}{rest}"
    text = tokenizer.decode(trial.ids, skip_special_tokens=True)
    assert text.endswith(f"\n\n{beginning}")
    assert tokenizer.decode(trial.rest) == rest
    assert len(trial.ids) - 128 in (0, 1)  # with the token at the beginning
    straw = len(trial.ids) - trial.width - len(tokenizer(f"\n\n{beginning}", add_special_tokens=False).input_ids)
    assert abs(trial.start - depth * straw) <= 2


def test_recall_counts_a_token_as_often_as_it_stands() -> None:
    assert recall([5, 6, 7, 8], [8, 7, 9, 9]) == 0.5
    assert recall([5, 5, 6], [5, 5, 5]) == pytest.approx(2 / 3)


@pytest.mark.parametrize("family", ["llama", "gpt2", "mistral_sliding", "gemma3_sliding"])
def test_copied_tokens_are_those_of_whole_attention_matrices(family: str) -> None:
    """Of one reading without a cache, head by head; a window's lost tokens do not shift the others."""
    model: Any = copy.deepcopy(FAMILY[family].build())  # whose attention is set below
    torch.manual_seed(0)
    ids = torch.randint(5, 12, (30,)).tolist()  # few tokens, so that some are hit
    trial, answer = Trial(ids, 4, [5, 6, 7, 8, 9, 10], 26), [5, 6, 7, 8, 9, 10]
    before = model.config.get_text_config()._attn_implementation
    found = copied_tokens(model, trial, answer)
    assert model.config.get_text_config()._attn_implementation == before
    model.set_attn_implementation("eager")
    weights = model(torch.tensor([[*ids, *answer[:-1]]]), output_attentions=True, use_cache=False).attentions
    whole = [*ids, *answer]
    for layer, each in enumerate(weights):
        for head in range(each.shape[1]):
            places = [int(each[0, head, len(ids) - 1 + step].argmax()) for step in range(len(answer))]
            expected = sum(4 <= place < 30 and whole[place] == token for place, token in zip(places, answer, strict=True))
            assert found[layer, head] == expected
    assert any(found.values())


def test_scores_are_shares_of_the_needle(monkeypatch: pytest.MonkeyPatch, tokenizer: Any) -> None:
    """Three of the tokens copied in one trial and all in another; a trial that fails leaves no score, its tokens elsewhere."""
    answers = iter([[1, 2, 3, 4], [9, 9, 9, 9], [1, 2, 3, 4]])
    copied = iter([{(0, 0): 3, (1, 1): 0}, {(0, 0): 4, (1, 1): 1}])
    monkeypatch.setattr(finder, "make_trial", lambda *given: Trial([0], 0, [1, 2, 3, 4], 1))
    monkeypatch.setattr(finder, "greedy", lambda *given: next(answers))
    monkeypatch.setattr(finder, "copied_tokens", lambda *given: next(copied))
    scores = retrieval_heads(tiny_model(), tokenizer, HAYSTACK, trials=3, context=128)
    assert scores == {(0, 0): [0.75, 1.0], (1, 1): [0.0, 0.25]}
    assert written_heads(scores) == {"0-0": [0.75, 1.0], "1-1": [0.0, 0.25]}


def test_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What it writes is what the decoder reads; a model that copies nothing is told so."""
    file = tmp_path / "heads.json"
    command = [
        "retrieval-heads",
        "--model",
        str(AMATEUR),
        "--trials",
        "2",
        "--context",
        "80",
        "--output",
        str(file),
        "--device",
        "cpu",
    ]
    assert main([*command, "--context", "1000000000"]) == 1  # nothing so long is made
    assert "--context 1000000000 is more than the 512 tokens that LlamaForCausalLM has room for" in capsys.readouterr().err
    assert main(command) == 1
    assert "continued none of 2 needles in contexts of up to 80 tokens" in capsys.readouterr().err
    assert not file.exists()
    monkeypatch.setattr(finder, "LEAST_RECALL", -1.0)
    assert main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["passed"], told["trials"]) == (2, 2)
    written = json.loads(file.read_text())
    assert list(written) == list(told["heads"])
    assert [f"{layer}-{head}" for layer, head in parse_heads(str(file), len(written))] == list(written)
    again = tmp_path / "again.json"
    assert main([*command[:-3], str(again), "--device", "cpu"]) == 0
    assert again.read_text() == file.read_text()
    assert "2 of 2 trials passed" in capsys.readouterr().out
    small = ["generate", "The whale", "--model", str(AMATEUR), "--device", "cpu", "--max-new-tokens", "3"]
    assert main([*small, "--decoder", "decore", f"heads={file}", "count=2"]) == 0
