"""A cache of texts that come, grow, wait and go: what it gives is what a model says after each text alone."""

from __future__ import annotations

import random
from collections.abc import Hashable

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from counterpoint.decoders.forwards.row_cache import RowCache, alike, below
from families import ALL, FIRST_WORD, VOCABULARY, Family

FOLLOWED = [family for family in ALL if family.kind in ("tree", "expand") and family.padded]
REFUSED = [family for family in ALL if family.kind in ("recurrent", "stateless_cache", "encoder_decoder")]


def alone(model: PreTrainedModel, text: list[int]) -> Tensor:
    """The model's logits after a text, from one forward of it without a cache."""
    with torch.no_grad():
        logits: Tensor = model(input_ids=torch.tensor([text]), use_cache=False).logits[0, -1].float()
    return logits


def follow(rows: RowCache, model: PreTrainedModel, *, steps: int, seed: int) -> None:
    """A random life of texts, each step of which is compared with the texts read alone."""
    chance = random.Random(seed)  # noqa: S311
    texts: dict[Hashable, list[int]] = {}
    for step in range(steps):
        for key in [key for key in texts if chance.random() < 0.15]:
            del texts[key]
        for text in texts.values():
            if chance.random() < 0.8:  # the others wait
                text.append(chance.randrange(FIRST_WORD, VOCABULARY))
        for place in range(chance.choice([0, 0, 1, 3])):
            new = [chance.randrange(FIRST_WORD, VOCABULARY) for _ in range(chance.choice([1, 2, 5, 11]))]
            texts[step, place] = new
            if chance.random() < 0.3:
                texts[step, place, "copy"] = list(new)
        order = list(texts)
        chance.shuffle(order)
        texts = {key: texts[key] for key in order}
        found = rows.next_logits(texts)
        for row, text in zip(found, texts.values(), strict=True):
            torch.testing.assert_close(row, alone(model, text), atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("family", FOLLOWED, ids=str)
def test_rows_are_what_the_model_says_after_each_text_alone(family: Family) -> None:
    model = family.build()
    follow(RowCache(model), model, steps=12, seed=1)


@pytest.mark.parametrize("family", REFUSED, ids=str)
def test_models_whose_rows_cannot_join_and_leave_are_refused_by_name(family: Family) -> None:
    model = family.build()
    with pytest.raises(ValueError, match=type(model).__name__):
        RowCache(model)


def test_a_step_is_one_forward_and_a_text_that_waits_costs_nothing(amateur: PreTrainedModel) -> None:
    rows = RowCache(amateur)
    texts = {"a": [5, 6, 7], "b": [5, 6], "c": [5, 6, 7]}
    rows.next_logits(texts)
    begun = rows.forwards
    assert begun == 1
    for token in (8, 9):
        for text in texts.values():
            text.append(token)
        rows.next_logits(texts)
    assert rows.forwards == begun + 2
    rows.next_logits(texts)
    assert rows.forwards == begun + 2
    assert rows.next_logits({}).numel() == 0
    assert rows.read.keys == []


def test_copies_of_a_text_are_read_once_and_then_go_apart(amateur: PreTrainedModel) -> None:
    rows, seen = RowCache(amateur), []
    amateur_forward = amateur.register_forward_pre_hook(
        lambda module, arguments, options: seen.append(options["input_ids"].shape), with_kwargs=True
    )
    try:
        first = rows.next_logits({key: [5, 6, 7] for key in "abcd"})
        assert seen == [(1, 3)]
        assert torch.equal(first[0], first[3])
        apart = rows.next_logits({key: [5, 6, 7, token] for token, key in enumerate("abcd", 10)})
        assert seen == [(1, 3), (4, 1)]
    finally:
        amateur_forward.remove()
    torch.testing.assert_close(apart[2], alone(amateur, [5, 6, 7, 12]))


def test_the_cache_is_as_narrow_as_the_longest_text(amateur: PreTrainedModel) -> None:
    rows = RowCache(amateur)
    rows.next_logits({"long": list(range(5, 45)), "short": [5, 6]})
    rows.next_logits({"short": [5, 6, 7]})
    assert rows.read.cache.get_seq_length() == 3


def test_tokens_beyond_the_embeddings_are_read_as_the_last(amateur: PreTrainedModel) -> None:
    known = amateur.get_input_embeddings().weight.shape[0]
    beyond, last = (RowCache(amateur).next_logits({"a": [5, token]}) for token in (known + 7, known - 1))
    assert torch.equal(beyond, last)


def test_a_forward_that_fails_leaves_nothing_behind(amateur: PreTrainedModel) -> None:
    rows = RowCache(amateur)
    rows.next_logits({"a": [5, 6]})
    hook = amateur.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(RuntimeError("interrupted")))
    with pytest.raises(RuntimeError, match="interrupted"):
        rows.next_logits({"a": [5, 6, 7]})
    hook.remove()
    torch.testing.assert_close(rows.next_logits({"a": [5, 6, 7]})[0], alone(amateur, [5, 6, 7]))


def test_the_comparison_notices_wrong_rows(amateur: PreTrainedModel) -> None:
    """Broken mocks: rows in another order, and lengths that are wrong."""

    class Reversed(RowCache):
        def next_logits(self, texts: object) -> Tensor:
            return super().next_logits(texts).flip(0)  # type: ignore[arg-type]

    with pytest.raises(AssertionError):
        follow(Reversed(amateur), amateur, steps=20, seed=1)

    class Padless(RowCache):
        def _forward(self, ids: Tensor, seen: Tensor, *rest: object) -> Tensor:
            return super()._forward(ids, torch.ones_like(seen), *rest)  # type: ignore[arg-type]

    with pytest.raises(AssertionError):
        follow(Padless(amateur), amateur, steps=20, seed=1)


def test_new_texts_are_read_in_groups_of_similar_lengths() -> None:
    texts = {"a": [1] * 3, "b": [1] * 100, "c": [1] * 2, "d": [1] * 65}
    assert list(alike(list(texts), texts)) == [["c", "a"], ["d", "b"]]


def test_the_shorter_of_two_states_is_filled_up_on_the_left() -> None:
    joined = below(torch.ones(1, 2, 1, 4), torch.full((2, 2, 3, 4), 2.0))
    assert joined[:, 0, :, 0].tolist() == [[0, 0, 1], [2, 2, 2], [2, 2, 2]]
