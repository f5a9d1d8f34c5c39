"""Bi-encoders: whatever embeds, prefixes are embedded once and equal texts once a round."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from counterpoint.rankers import BiEncoderRanker
from counterpoint.rankers.bi_encoder import Side


class Letters(BiEncoderRanker):
    """Counts vowels; what it reads as a suffix counts double."""

    def __init__(self) -> None:
        self.embedded: list[tuple[str, ...]] = []

    def embed(self, texts: Sequence[str], side: Side) -> Tensor:
        self.embedded.append(tuple(texts))
        counts = [[float(text.count(vowel)) for vowel in "aeiou"] for text in texts]
        return torch.tensor(counts, dtype=torch.bfloat16) * (2 if side == "suffix" else 1)


def test_scores_are_dot_products_of_both_sides() -> None:
    scores = Letters().score(["a e e", "u"], [["a", "e", "o"], ["u u", "a"]])
    assert [own.tolist() for own in scores] == [[2.0, 4.0, 0.0], [4.0, 0.0]]
    assert {own.dtype for own in scores} == {torch.float32}


def test_equal_texts_are_embedded_once() -> None:
    ranker = Letters()
    scorer = ranker.scorer(["a", "u", "a"])
    scores = scorer([["a", "a"], ["a", "u"], ["u"]])
    assert [own.tolist() for own in scores] == [[2.0, 2.0], [0.0, 2.0], [0.0]]
    scorer([["a e"], [], ["a e"]])
    assert ranker.embedded == [("a", "u"), ("a", "u"), ("a e",)]


def test_prefixes_may_have_no_candidates() -> None:
    ranker = Letters()
    assert [own.shape for own in ranker.score(["a", "u"], [[], []])] == [(0,), (0,)]
    assert ranker.score([], []) == []
    assert ranker.embedded == [("a", "u")]


def test_another_similarity_may_take_the_place_of_the_dot_product() -> None:
    class Cosine(Letters):
        def similarity(self, prefix: Tensor, suffixes: Tensor) -> Tensor:
            return torch.cosine_similarity(suffixes, prefix[None])

    (scores,) = Cosine().score(["a e"], [["a e", "a", "o"]])
    assert scores.tolist() == pytest.approx([1.0, 0.5**0.5, 0.0])


def test_equal_texts_have_one_score_however_a_similarity_rounds() -> None:
    """On many CPUs a product's last bits depend on the row's place."""

    class ByPlace(Letters):
        def similarity(self, prefix: Tensor, suffixes: Tensor) -> Tensor:
            return super().similarity(prefix, suffixes) + 1e-6 * torch.arange(len(suffixes))

    (scores,) = ByPlace().score(["a e"], [["o", "e", "o", "e"]])
    assert scores[0] == scores[2] != scores[1] == scores[3]
