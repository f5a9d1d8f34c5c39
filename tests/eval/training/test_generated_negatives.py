"""Negatives that a model writes: whole sentences within their words, the same after a kill and from several processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from counterpoint.eval.training import generated_negatives
from counterpoint.eval.training.generated_negatives import generate_negatives
from counterpoint.rankers.training.passages import Passage, whole_sentences

PREFIXES = [
    "It was a fine day, and the captain stood upon the deck.",
    "My dear sister was not pleased with the letter.",
    "The people of the United States have spoken.",
    "He looked at her.",
    "We have peace with all nations, and our commerce grows.",
    "There is a great whale in these seas.",
    "She went into the room.",
]
PASSAGES = [
    Passage("book", prefix, " True.", longest) for prefix, longest in zip(PREFIXES, (12, 30, 12, 20, 9, 25, 15), strict=True)
]


def write(
    amateur: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    report: Callable[[int, int], object] | None = None,
    **more: Any,
) -> list[list[str]]:
    """Two negatives of each."""
    return generate_negatives(amateur, tokenizer, PASSAGES, folder, count=2, shortest=3, batch_size=4, report=report, **more)


@pytest.fixture(scope="module")
def written(
    amateur: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[list[str]], Path]:
    """Of an uninterrupted call, and its folder."""
    folder = tmp_path_factory.mktemp("negatives")
    return write(amateur, tokenizer, folder), folder


def test_negatives_are_whole_sentences_within_the_words(written: tuple[list[list[str]], Path]) -> None:
    texts = [(text, passage.longest) for own, passage in zip(written[0], PASSAGES, strict=True) for text in own]
    assert len(texts) >= len(PASSAGES)
    for text, longest in texts:
        assert 3 <= len(text.split()) <= longest
        assert whole_sentences(text, 3, longest) == text
    assert len({text for text, _ in texts}) == len(texts)


class KilledError(Exception):
    """Stands for a kill."""


def check_going_on(
    written: list[list[str]], amateur: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, after: int
) -> None:
    """After a kill the same call gives what an uninterrupted one does, and generates nothing again."""
    batches = 0

    def kill(done: int, wanted: int) -> None:
        nonlocal batches
        batches += 1
        if batches == after:
            raise KilledError

    with pytest.raises(KilledError):
        write(amateur, tokenizer, folder, kill)
    path = folder / "negatives-0.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == after
    path.write_bytes(path.read_bytes() + b'{"key": "cut o')
    torch.manual_seed(after)  # whatever the process drew before
    assert write(amateur, tokenizer, folder) == written
    assert path.read_bytes().splitlines(keepends=True)[:after] == lines


@pytest.mark.parametrize("after", [1, 3, 4, 5])
def test_a_killed_call_goes_on(
    written: tuple[list[list[str]], Path], amateur: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path, after: int
) -> None:
    check_going_on(written[0], amateur, tokenizer, tmp_path, after)


def test_the_check_finds_random_numbers_that_depend_on_what_came_before(
    written: tuple[list[list[str]], Path],
    amateur: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "manual_seed", lambda seed: None)
    with pytest.raises(AssertionError):
        check_going_on(written[0], amateur, tokenizer, tmp_path, 2)


def test_a_finished_call_generates_nothing(
    written: tuple[list[list[str]], Path],
    amateur: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(generated_negatives, "sampled", None)
    assert write(amateur, tokenizer, written[1]) == written[0]


class Process:
    """One of two processes, the other one of which writes before this one waits."""

    num_processes = 2

    def __init__(self, index: int, other: Callable[[], object]) -> None:
        self.process_index, self.other = index, other

    def wait_for_everyone(self) -> None:
        self.other()


def test_processes_share_the_batches(
    written: tuple[list[list[str]], Path],
    amateur: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = (written[1] / "negatives-0.jsonl").read_bytes().splitlines(keepends=True)
    first_round = whole[:4]  # 14 texts in batches of 4
    waits = 0

    def other() -> None:
        nonlocal waits
        waits += 1
        if waits == 2:
            (tmp_path / "negatives-1.jsonl").write_bytes(b"".join(first_round[1::2]))

    monkeypatch.setattr(generated_negatives, "PartialState", lambda: Process(0, other))
    monkeypatch.setattr(generated_negatives, "ROUNDS", 1)
    write(amateur, tokenizer, tmp_path)
    assert (tmp_path / "negatives-0.jsonl").read_bytes() == b"".join(first_round[0::2])


def test_other_settings_are_other_texts(
    written: tuple[list[list[str]], Path], amateur: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    assert write(amateur, tokenizer, tmp_path, seed=1) != written[0]


def test_long_prefixes_keep_the_end_that_the_context_has_room_for(
    amateur: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    ending = "There is a great whale in these seas, and I have seen it with my own eyes, said the old captain to his men. "
    long = [Passage("book", (start + ending * 40).strip(), " True.", 12) for start in ("", "But this is another book. " * 30)]
    (one,), (other,) = (generate_negatives(amateur, tokenizer, [passage], tmp_path / str(i)) for i, passage in enumerate(long))
    seen: list[int] = []
    handle = amateur.register_forward_pre_hook(lambda *call: seen.append(call[2]["input_ids"].shape[1]), with_kwargs=True)
    try:
        generated_negatives.sampled(amateur, tokenizer, long, 3, 0.9)
    finally:
        handle.remove()
    assert len(one) <= 1 >= len(other)
    assert max(seen) + len(seen) - 1 <= amateur.config.max_position_embeddings
