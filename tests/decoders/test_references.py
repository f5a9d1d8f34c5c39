"""The references agree with arithmetic done by hand, with greedy search where they should, and not with wrong formulas."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from families import ALL, EOS, Family, prompts
from references import Penalty, adaptive_contrastive_search, contrastive_search, greedy, largest_cosine, sigma

A, B, C, D = range(4)
STATES = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 2.0], [-3.0, 0.0]])  # of A, B, C, D; lengths must not matter
FOLLOWING = torch.tensor(
    [
        [0.50, 0.30, 0.15, 0.05],  # p(A), p(B), p(C), p(D) after A
        [0.10, 0.20, 0.30, 0.40],
        [0.12, 0.60, 0.20, 0.08],
        [0.30, 0.00, 0.20, 0.50],
    ]
)
SOME = [family for family in ALL if family.name in ("gpt2", "gemma2_sliding", "rwkv", "t5", "bart")]


class Toy:
    """A model whose logits and last hidden state depend on the last token only, as two tables say."""

    def __init__(self, following: Tensor, states: Tensor, start: int | None = None) -> None:
        self.logits = following.log() + 5.0  # a constant that softmax must take away
        self.states = states
        self.config = SimpleNamespace(is_encoder_decoder=start is not None, decoder_start_token_id=start)

    def __call__(
        self, input_ids: Tensor, output_hidden_states: bool, use_cache: bool, decoder_input_ids: Tensor | None = None
    ) -> SimpleNamespace:
        ids = input_ids if decoder_input_ids is None else decoder_input_ids
        assert output_hidden_states
        assert not use_cache
        assert ids.shape[0] == 1
        name = "hidden_states" if decoder_input_ids is None else "decoder_hidden_states"
        other_layer = torch.ones_like(self.states[ids])
        return SimpleNamespace(logits=self.logits[ids], **{name: (other_layer, self.states[ids])})


TOY = Toy(FOLLOWING, STATES)


def ids(*tokens: int) -> Tensor:
    return torch.tensor([tokens])


def test_two_steps_by_hand() -> None:
    # after A, k = 3, alpha = 0.5, h_x = {A}:
    #   A 0.5 * 0.50 - 0.5 * 1.0 = -0.250    B 0.5 * 0.30 - 0.5 * 0.6 = -0.150    C 0.5 * 0.15 - 0.5 * 0 = 0.075  <- best
    #   (D would have 0.5 * 0.05 + 0.5 * 1 = 0.525, were it among the three likeliest)
    # after A C, h_x = {A, C}:
    #   B 0.5 * 0.60 - 0.5 * max(0.6, 0.8) = -0.10  <- best    C 0.5 * 0.20 - 0.5 * 1 = -0.40    A 0.5 * 0.12 - 0.5 = -0.44
    text = contrastive_search(TOY, ids(A), 0.5, 3, steps=2)
    assert text.tokens == [C, B]
    assert text.margins == pytest.approx([0.225, 0.30])
    assert text.edges == pytest.approx([math.log(0.15 / 0.05), math.log(0.12 / 0.08)])
    assert text.ks == [3, 3]
    assert text.alphas == [0.5, 0.5]


def test_all_candidates_by_hand() -> None:
    assert contrastive_search(TOY, ids(A), 0.5, 4, steps=1).tokens == [D]  # 0.525 of the comment above
    assert contrastive_search(TOY, ids(A), 0.5, 4, steps=1).edges == [math.inf]


def test_encoder_decoder_by_hand() -> None:
    # the encoder's ids D D count for nothing: the decoder starts with A, so this is the first test
    assert contrastive_search(Toy(FOLLOWING, STATES, start=A), ids(D, D), 0.5, 3, steps=2).tokens == [C, B]


def test_max_over_the_whole_context_by_hand() -> None:
    # after A D, k = 3, alpha = 0.5, h_x = {A, D}:
    #   D 0.5 * 0.5 - 0.5 * max(-1, 1) = -0.25    A 0.5 * 0.3 - 0.5 * max(1, -1) = -0.35    C 0.5 * 0.2 - 0 = 0.1  <- best
    assert contrastive_search(TOY, ids(A, D), 0.5, 3, steps=1).tokens == [C]


def mean_cosine(candidate: Tensor, context: Tensor) -> Tensor:
    return cosine_similarity(candidate[None], context, dim=-1).mean()


def without_last(candidate: Tensor, context: Tensor) -> Tensor:
    return largest_cosine(candidate, context[:-1])


def without_first(candidate: Tensor, context: Tensor) -> Tensor:
    return largest_cosine(candidate, context[1:])


def dot_product(candidate: Tensor, context: Tensor) -> Tensor:
    return (context @ candidate).max()


def test_wrong_penalties_differ_by_hand() -> None:
    # mean:           D 0.25 - 0 = 0.25, the best
    # without D:      D 0.25 + 0.5 = 0.75, the best
    # without A:      A 0.15 + 0.5 = 0.65, the best
    wrong = {mean_cosine: D, without_last: D, without_first: A}
    for penalty, token in wrong.items():
        assert contrastive_search(TOY, ids(A, D), 0.5, 3, steps=1, penalty=penalty).tokens == [token]
    # lengths left in, after A C: B 0.3 - 0.5 * max(0.6, 1.6) = -0.5    C 0.1 - 0.5 * 4 = -1.9    A 0.06 - 0.5 = -0.44, the best
    assert contrastive_search(TOY, ids(A, C), 0.5, 3, steps=1, penalty=dot_product).tokens == [A]


def test_log_probability_differs_by_hand() -> None:
    # after A: A 0.5 ln 0.5 - 0.5 = -0.847  <- best    B 0.5 ln 0.3 - 0.3 = -0.902    C 0.5 ln 0.15 - 0 = -0.949
    def log_probability(logits: Tensor) -> Tensor:
        return logits.log_softmax(dim=-1)

    assert contrastive_search(TOY, ids(A), 0.5, 3, steps=1, confidence=log_probability).tokens == [A]


def test_probability_among_candidates_only_differs_by_hand() -> None:
    # after A, alpha = 0.2, k = 2: A 0.8 * 0.5 - 0.2 = 0.2, B 0.8 * 0.3 - 0.12 = 0.12
    # of A and B alone: A 0.8 * 0.625 - 0.2 = 0.3, B 0.8 * 0.375 - 0.12 = 0.18: another margin
    def among_two(logits: Tensor) -> Tensor:
        return logits.masked_fill(logits < logits.topk(2).values[-1], -torch.inf).softmax(dim=-1)

    assert contrastive_search(TOY, ids(A), 0.2, 2, steps=1).margins == pytest.approx([0.08])
    assert contrastive_search(TOY, ids(A), 0.2, 2, steps=1, confidence=among_two).margins == pytest.approx([0.12])
    # alpha = 0.35: A 0.325 - 0.35 = -0.025, B 0.195 - 0.21 = -0.015, the best; of A and B alone: A 0.056, the best, B 0.034
    assert contrastive_search(TOY, ids(A), 0.35, 2, steps=1).tokens == [B]
    assert contrastive_search(TOY, ids(A), 0.35, 2, steps=1, confidence=among_two).tokens == [A]


def test_ties_take_the_likelier_then_the_smaller_id() -> None:
    even = Toy(torch.full((4, 4), 0.25), torch.eye(4))
    text = contrastive_search(even, ids(A), 0.5, 4, steps=3)
    assert text.tokens == [B, C, D]
    assert text.margins == [0.0, 0.0, pytest.approx(0.5)]


def test_processors_come_before_the_candidates_and_a_banned_token_is_none() -> None:
    seen: list[list[int]] = []

    def no_c(text: Tensor, logits: Tensor) -> Tensor:
        seen.append(text[0].tolist())
        logits[:, C] = -torch.inf
        return logits

    # after A without C: A -0.5 + 0.5 * 0.588, B -0.3 + 0.5 * 0.353 = -0.124, D 0.5 + 0.5 * 0.059 = 0.529  <- best
    assert contrastive_search(TOY, ids(A), 0.5, 3, steps=1, processors=[no_c]).tokens == [D]
    # after B A D, where B has no probability: only A and D are left, and both were there
    assert contrastive_search(TOY, ids(B, A, D), 0.5, 4, steps=1, processors=[no_c]).tokens == [D]
    assert seen == [[A], [B, A, D]]


def test_the_text_ends_with_eos() -> None:
    assert contrastive_search(TOY, ids(A), 0.5, 3, steps=9, eos=B).tokens == [C, B]
    assert greedy(TOY, ids(C), 9, eos=C) == [B, D, D, D, D, D, D, D, D]
    assert greedy(TOY, ids(C), 9, eos=D) == [B, D]


@pytest.mark.parametrize(
    ("history", "largest", "scale", "expected"),
    [
        ([], 2.0, 1.0, 0.5),
        ([0.5, 1.5, 0.1], 2.0, 1.0, math.sqrt(5 / 3) / (1 + math.sqrt(5 / 3))),  # median 0.5, d = 0.25, (1 + d) / (1 - d) = 5/3
        ([0.5, 1.5, 0.1], 2.0, 2.0, 5 / 8),
        ([0.0, 1.0], 2.0, 2.0, 5 / 8),  # an even history: the mean of the middle two, 0.5 again
        ([1.5], 2.0, 2.0, 3 / 8),  # d = -0.25
        ([3.0], 2.0, 1.0, 0.0),  # d = -1, the limit
        ([9.0], 2.0, 8.0, 0.0),  # d = -4, beyond it
    ],
)
def test_sigma_by_hand(history: list[float], largest: float, scale: float, expected: float) -> None:
    before = list(history)
    assert sigma(1.0, history, largest, scale) == pytest.approx(expected)
    assert history == [*before, 1.0]


def test_adaptive_search_by_hand() -> None:
    # 16 tokens, orthogonal states, everything equally likely, except that 3 is as good as certain after 0.
    following = torch.full((16, 16), 1 / 16)
    following[0] = 1e-30
    following[0, 3] = 1.0
    # 1. after 15: H = ln 16, no history: k = round(10 / 2 + 5) = 10, alpha = 0.5; all equal: the first, 0
    # 2. after 0: H = 0, d = -ln 16 / ln 16 = -1: k = 5; H' = 0, d' = -ln 10 / ln 5 < -1: alpha = 0; 3 is likeliest
    # 3. after 3: H = ln 16, median of (ln 16, 0) = ln 4, d = 1/2, (1 + d) / (1 - d) = 3, sigma = sqrt 3 / (1 + sqrt 3) = 0.634:
    #    k = round(11.34) = 11; H' = ln 11, median of (ln 10, 0) = 1.1513, d' = 0.5199, (1 + d') / (1 - d') = 3.1655,
    #    sigma = 1.7792 / 2.7792 = 0.6402: alpha = 0.64; 0 and 3 are in the text already, so 1 is the first of equals
    text = adaptive_contrastive_search(Toy(following, torch.eye(16)), ids(15), steps=3)
    assert text.tokens == [0, 3, 1]
    assert text.ks == [10, 5, 11]
    assert text.alphas == [0.5, 0.0, 0.64]
    # sigma' may move least: by 0.005 until 100 sigma' = 50.5 or 0.5 rounds otherwise; in step 3 from 64.018 to 64.5
    assert text.roundings == pytest.approx([0.005, 0.005, (64.5 - 64.018) / 100], abs=1e-5)


@pytest.mark.parametrize("family", SOME, ids=str)
def test_one_candidate_or_no_penalty_is_greedy(family: Family) -> None:
    model = family.build()
    prompt, _ = prompts(model, [9])
    expected = greedy(model, prompt, 6)
    assert contrastive_search(model, prompt, 0.6, 1, 6).tokens == expected
    assert contrastive_search(model, prompt, 0.0, 4, 6).tokens == expected
    assert contrastive_search(model, prompt, 0.6, 4, 6).tokens != expected


@pytest.mark.parametrize("family", SOME, ids=str)
def test_chosen_texts_are_no_near_ties(family: Family) -> None:
    model = family.build()
    prompt, _ = prompts(model, [9])
    plain = contrastive_search(model, prompt, 0.6, 4, 6)
    adaptive = adaptive_contrastive_search(model, prompt, 6, entropy_scale=8.0)
    assert len(set(adaptive.ks)) > 1
    assert len(set(adaptive.alphas)) > 1
    for text in (plain, adaptive):
        assert min(text.margins + text.edges) > 1e-5


@pytest.mark.parametrize("penalty", [mean_cosine, without_last, without_first, dot_product])
def test_wrong_penalties_differ_on_models(penalty: Penalty) -> None:
    models = [family.build() for family in SOME if family.kind == "tree"]

    def texts(penalty: Penalty) -> list[list[int]]:
        return [contrastive_search(model, prompts(model, [9])[0], 0.6, 8, 9, penalty=penalty).tokens for model in models]

    assert texts(penalty) != texts(largest_cosine)


def test_eos_of_the_families_is_reachable() -> None:
    model = SOME[0].build()
    prompt, _ = prompts(model, [9])
    push = [lambda text, logits: logits.index_fill(-1, torch.tensor(EOS), 99.0) if text.shape[1] > 10 else logits]
    assert contrastive_search(model, prompt, 0.0, 4, 9, push, eos=EOS).tokens[-1] == EOS
