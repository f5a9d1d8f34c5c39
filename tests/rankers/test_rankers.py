"""Rankers: the laws that all of them keep and a broken one for each, and scores computed from scratch."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    RepetitionPenaltyLogitsProcessor,
    TopKLogitsWarper,
    set_seed,
)

import ranker_laws as laws
from counterpoint.decoders import ContrastiveDecodingLogitsProcessor, DoLaLogitsProcessor, contrastive_search
from counterpoint.eval import AMATEUR, EXPERT
from counterpoint.rankers import (
    CandidateScorer,
    ChrF,
    CombinedRanker,
    ConfidenceRanker,
    ConsensusRanker,
    CrossEncoderRanker,
    EmbeddingCosine,
    JudgeRanker,
    LikelihoodRanker,
    NgramF1,
    OverlapRanker,
    ProcessRewardRanker,
    Ranker,
    RankGenRanker,
    RewardModelRanker,
    Scores,
    SelfCertaintyRanker,
    SentenceTransformerRanker,
    VoteRanker,
    best_of,
    causal,
    overlap,
    ranked_search,
    rerank,
)
from counterpoint.rankers.base import Texts
from counterpoint.rankers.combination import standardised
from families import FAMILY
from ranker_laws import CANDIDATES, PREFIXES, TokenCount, tokens_through
from rankgen_cases import tiny_encoder, tiny_tokenizer
from reward_models import chat_tokenizer, reward_model, token_classifier
from sentence_models import bi_encoder, cross_encoder

TOKENIZER: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(AMATEUR)


@cache
def amateur() -> PreTrainedModel:
    """The embedded amateur, which is small."""
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(AMATEUR, dtype=torch.float32)
    return model.eval()


@cache
def expert() -> PreTrainedModel:
    """The embedded expert."""
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(EXPERT, dtype=torch.float32)
    return model.eval()


@contextmanager
def by_the_amateur(ranker: Ranker) -> Iterator[list[int]]:
    """Tokens that the embedded amateur reads."""
    with tokens_through(amateur()) as sizes:
        yield sizes


@contextmanager
def by_words(ranker: Ranker) -> Iterator[list[int]]:
    """Characters that are split into words."""
    sizes: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        split = overlap.words
        patch.setattr(overlap, "words", lambda text: sizes.append(len(text)) or split(text))
        yield sizes


@contextmanager
def by_both(ranker: Ranker) -> Iterator[list[int]]:
    """What both of the above read."""
    with ExitStack() as stack:
        both = [stack.enter_context(count(ranker)) for count in (by_the_amateur, by_words)]
        sizes: list[int] = []
        yield sizes
        sizes += [size for each in both for size in each]


@contextmanager
def by_the_bi_encoder(ranker: Ranker) -> Iterator[list[int]]:
    """Tokens that the tiny bi-encoder reads."""
    with tokens_through(bi_encoder()[0].auto_model.embeddings) as sizes:
        yield sizes


@dataclass(frozen=True)
class Case:
    """A ranker, and how it is watched."""

    make: Callable[[], Ranker]
    count_tokens: TokenCount | None
    """None for one that reads nothing of the prefix by itself."""
    of_a_set: bool = False
    """Whether a score depends on the other candidates."""


@contextmanager
def by_the_encoder(ranker: Ranker) -> Iterator[list[int]]:
    """Tokens that RankGen's encoder reads."""
    assert isinstance(ranker, RankGenRanker)
    with tokens_through(ranker.encoder) as sizes:
        yield sizes


def contrast() -> ContrastiveDecodingLogitsProcessor:
    """The expert less the amateur, nothing banned."""
    return ContrastiveDecodingLogitsProcessor(amateur(), alpha=0.0)


CASES: dict[str, Case] = {
    "log_likelihood": Case(lambda: LikelihoodRanker(amateur(), TOKENIZER, form="log_likelihood"), by_the_amateur),
    "per_token": Case(lambda: LikelihoodRanker(amateur(), TOKENIZER), by_the_amateur),
    "pmi": Case(lambda: LikelihoodRanker(amateur(), TOKENIZER, form="pmi"), by_the_amateur),
    "dola": Case(
        lambda: LikelihoodRanker(amateur(), TOKENIZER, decoder=DoLaLogitsProcessor(amateur(), layers=[0], alpha=0.0)),
        by_the_amateur,
    ),
    "contrast": Case(lambda: LikelihoodRanker(expert(), TOKENIZER, decoder=contrast(), form="pmi"), None),
    "overlap": Case(lambda: OverlapRanker(stopwords=()), by_words),
    "rankgen": Case(lambda: RankGenRanker(tiny_encoder(), tiny_tokenizer(), batch_size=3), by_the_encoder),
    "consensus": Case(ConsensusRanker, None, of_a_set=True),
    "self_certainty": Case(lambda: SelfCertaintyRanker(amateur(), TOKENIZER), by_the_amateur),
    "confidence": Case(lambda: ConfidenceRanker(amateur(), TOKENIZER, measure="bottom", window=2), by_the_amateur),
    "reward": Case(lambda: RewardModelRanker(reward_model(), chat_tokenizer(), batch_size=3), None),
    "process_reward": Case(
        lambda: ProcessRewardRanker(token_classifier(), chat_tokenizer(), format="token_classification", step=" ", batch_size=3),
        None,
    ),
    "judge": Case(lambda: JudgeRanker(amateur(), TOKENIZER), None),
    "pairwise": Case(lambda: JudgeRanker(amateur(), TOKENIZER, pairwise=True), None, of_a_set=True),
    "vote": Case(lambda: VoteRanker(OverlapRanker(n=1, stopwords=()), answer=r"\w+"), None, of_a_set=True),
    "borda": Case(lambda: VoteRanker(LikelihoodRanker(amateur(), TOKENIZER), answer=r"\w+", power=0.5), None, of_a_set=True),
    "aggregate": Case(lambda: ConsensusRanker(utility=ChrF(), aggregate=True), None, of_a_set=True),
    "pruned": Case(lambda: ConsensusRanker(utility=ChrF(), prune=0.9), None, of_a_set=True),
    "sentence": Case(lambda: SentenceTransformerRanker(bi_encoder()), by_the_bi_encoder),
    "cross_encoder": Case(lambda: CrossEncoderRanker(cross_encoder()), None),
    "alike": Case(lambda: ConsensusRanker(utility=EmbeddingCosine(SentenceTransformerRanker(bi_encoder()))), None, of_a_set=True),
    "combined": Case(
        lambda: CombinedRanker([LikelihoodRanker(amateur(), TOKENIZER), OverlapRanker()], weights=[1.0, -0.5]),
        by_both,
        of_a_set=True,
    ),
    "summed": Case(lambda: CombinedRanker([LikelihoodRanker(amateur(), TOKENIZER), OverlapRanker()], standardise=False), by_both),
}
every_ranker = pytest.mark.parametrize("name", CASES)


@every_ranker
def test_scores_are_one_tensor_a_prefix(name: str) -> None:
    laws.scores_are_one_tensor_a_prefix(CASES[name].make())


@every_ranker
def test_order_does_not_matter(name: str) -> None:
    laws.order_does_not_matter(CASES[name].make())


@every_ranker
def test_a_batch_is_its_parts(name: str) -> None:
    laws.a_batch_is_its_parts(CASES[name].make(), CASES[name].of_a_set)


@every_ranker
def test_judging_again_is_scoring_again(name: str) -> None:
    laws.judging_again_is_scoring_again(CASES[name].make())


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.count_tokens])
def test_prefixes_are_read_once(name: str) -> None:
    count_tokens = CASES[name].count_tokens
    assert count_tokens is not None
    laws.prefixes_are_read_once(CASES[name].make(), count_tokens)


@every_ranker
def test_equal_texts_are_equal(name: str) -> None:
    laws.equal_texts_are_equal(CASES[name].make())


@every_ranker
def test_nothing_given_is_changed(name: str) -> None:
    laws.nothing_given_is_changed(CASES[name].make())


@every_ranker
def test_what_cannot_be_judged_is_refused(name: str) -> None:
    laws.what_cannot_be_judged_is_refused(CASES[name].make())


class Mock(Ranker):
    """Judges by length, and whatever a test makes of it."""

    comparable = True

    def __init__(self, change: Callable[[int, Texts, Texts], list[float]]) -> None:
        self.change = change

    def prepare(self, prefixes: Texts) -> CandidateScorer:
        return lambda candidates: [torch.tensor(self.change(index, prefixes, texts)) for index, texts in enumerate(candidates)]


def lengths(texts: Texts) -> list[float]:
    return [float(len(text)) for text in texts]


def test_broken_scores_of_another_dtype() -> None:
    class Double(OverlapRanker):
        def prepare(self, prefixes: Texts) -> CandidateScorer:
            scorer = super().prepare(prefixes)
            return lambda candidates: [own.double() for own in scorer(candidates)]

    laws.scores_are_one_tensor_a_prefix(OverlapRanker())
    with pytest.raises(AssertionError):
        laws.scores_are_one_tensor_a_prefix(Double())


def test_broken_scores_that_go_by_place() -> None:
    laws.order_does_not_matter(Mock(lambda index, prefixes, texts: lengths(texts)))
    with pytest.raises(AssertionError):
        laws.order_does_not_matter(
            Mock(lambda index, prefixes, texts: [float(place + len(text)) for place, text in enumerate(texts)])
        )
    with pytest.raises(AssertionError):
        laws.order_does_not_matter(Mock(lambda index, prefixes, texts: [index + one for one in lengths(texts)]))


@pytest.mark.parametrize("of_a_set", [True, False])
def test_broken_scores_that_depend_on_the_batch(of_a_set: bool) -> None:
    laws.a_batch_is_its_parts(Mock(lambda index, prefixes, texts: lengths(texts)), of_a_set)
    with pytest.raises(AssertionError):
        laws.a_batch_is_its_parts(Mock(lambda index, prefixes, texts: [one / len(prefixes) for one in lengths(texts)]), of_a_set)
    of_others = Mock(lambda index, prefixes, texts: [one / len(texts) for one in lengths(texts)])
    if of_a_set:
        laws.a_batch_is_its_parts(of_others, of_a_set)
    else:
        with pytest.raises(AssertionError):
            laws.a_batch_is_its_parts(of_others, of_a_set)


def test_broken_a_judge_that_remembers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that keeps the branches of the last round."""
    ranker = CASES["per_token"].make()
    laws.judging_again_is_scoring_again(ranker)
    seen: dict[str, int] = {}

    def remembering(index: int, prefixes: Texts, texts: Texts) -> list[float]:
        for text in texts:
            seen[text] = seen.get(text, 0) + 1
        return [float(seen[text]) for text in texts]

    with pytest.raises(AssertionError):
        laws.judging_again_is_scoring_again(Mock(remembering))


def test_broken_one_cache_for_all_prefixes(monkeypatch: pytest.MonkeyPatch) -> None:
    laws.prefixes_are_read_once(CASES["per_token"].make(), by_the_amateur)
    ranker: Any = CASES["per_token"].make()
    shared = ranker.text_scorer()
    monkeypatch.setattr(ranker, "text_scorer", lambda: shared)
    laws.judging_again_is_scoring_again(ranker)  # right, but
    with pytest.raises(AssertionError):
        laws.prefixes_are_read_once(ranker, by_the_amateur)


def test_broken_prefixes_read_in_every_round() -> None:
    class Again(OverlapRanker):
        def prepare(self, prefixes: Texts) -> CandidateScorer:
            return lambda candidates: super(Again, self).prepare(prefixes)(candidates)

    with pytest.raises(AssertionError):
        laws.prefixes_are_read_once(Again(), by_words)


def test_broken_duplicates_told_apart() -> None:
    with pytest.raises(AssertionError):
        laws.equal_texts_are_equal(Mock(lambda index, prefixes, texts: [1.0 + 1e-6 * place for place in range(len(texts))]))


def test_broken_candidates_put_in_order() -> None:
    class Sorting(OverlapRanker):
        def prepare(self, prefixes: Texts) -> CandidateScorer:
            def sort(candidates: Any) -> Scores:
                for texts in candidates:
                    if isinstance(texts, list):
                        texts.sort()
                return super(Sorting, self).prepare(prefixes)(candidates)

            return sort

    with pytest.raises(AssertionError):
        laws.nothing_given_is_changed(Sorting())


def test_broken_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unchecked(OverlapRanker):
        def scorer(self, prefixes: Texts) -> CandidateScorer:
            return self.prepare(prefixes)

    with pytest.raises((AssertionError, pytest.fail.Exception, ValueError)):
        laws.what_cannot_be_judged_is_refused(Unchecked())


def test_nan_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"Mock gave NaN for candidates\[0\]\[1\]=' Why\?'"):
        Mock(lambda index, prefixes, texts: [0.0, math.nan]).score(["It rained."], [[" No.", " Why?"]])
    culprit = CombinedRanker([OverlapRanker(), Mock(lambda index, prefixes, texts: [math.nan] * len(texts))])
    with pytest.raises(ValueError, match=r"Mock gave NaN for candidates\[0\]\[0\]=' No\.'"):
        culprit.score(["It rained."], [[" No."]])


def plain(model: Any, before: list[int], tokens: list[int]) -> float:
    """ln p of the tokens, by one forward of one text."""
    with torch.no_grad():
        logits = model(torch.tensor([[*before, *tokens]])).logits[0].double().log_softmax(dim=-1)
    return sum(float(logits[len(before) - 1 + step, token]) for step, token in enumerate(tokens))


def tokens_of(prefix: str, text: str) -> tuple[list[int], list[int]]:
    """Tokens of a prefix and of its continuation, which begins with a space."""
    before, both = TOKENIZER(prefix)["input_ids"], TOKENIZER(prefix + text)["input_ids"]
    assert both[: len(before)] == before
    return before, both[len(before) :]


def test_likelihood_from_scratch() -> None:
    forms = {form: LikelihoodRanker(amateur(), TOKENIZER, form=form) for form in ("log_likelihood", "per_token", "pmi")}
    found = {form: ranker.score(PREFIXES, CANDIDATES) for form, ranker in forms.items()}
    for index, (prefix, texts) in enumerate(zip(PREFIXES, CANDIDATES, strict=True)):
        for place, text in enumerate(texts):
            before, tokens = tokens_of(prefix, text)
            total = plain(amateur(), before, tokens)
            assert float(found["log_likelihood"][index][place]) == pytest.approx(total, abs=1e-3)
            assert float(found["per_token"][index][place]) == pytest.approx(total / len(tokens), abs=1e-4)
            information = total - plain(amateur(), [TOKENIZER.bos_token_id], tokens)
            assert float(found["pmi"][index][place]) == pytest.approx(information, abs=1e-3)
    assert [ranker.comparable for ranker in forms.values()] == [False, False, True]


def test_likelihood_under_a_decoder_from_scratch() -> None:
    """A contrast that bans nothing is the expert's logits less the amateur's, normalised anew."""

    def total(before: list[int], tokens: list[int]) -> float:
        with torch.no_grad():
            own, other = (model(torch.tensor([[*before, *tokens]])).logits[0].double().log_softmax(-1) for model in both)
        logits = (own - other).log_softmax(-1)
        return sum(float(logits[len(before) - 1 + step, token]) for step, token in enumerate(tokens))

    both: list[Any] = [expert(), amateur()]
    found = LikelihoodRanker(expert(), TOKENIZER, decoder=contrast(), form="pmi").score(PREFIXES, CANDIDATES)
    for prefix, texts, scores in zip(PREFIXES, CANDIDATES, found, strict=True):
        pairs = [tokens_of(prefix, text) for text in texts]
        expected = [total(before, tokens) - total([TOKENIZER.bos_token_id], tokens) for before, tokens in pairs]
        assert scores.tolist() == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("name", ["mistral_sliding", "gemma3_sliding", "bloom", "mamba", "rwkv", "t5"])
def test_likelihood_of_other_families(name: str) -> None:
    """Judging round after round is scoring anew, where caches cannot be taken back and where there are none."""
    model = FAMILY[name].build()
    ranker = LikelihoodRanker(model, Words(), decoder=[RepetitionPenaltyLogitsProcessor(1.2)])
    laws.judging_again_is_scoring_again(ranker)
    laws.equal_texts_are_equal(ranker)


class Words(PreTrainedTokenizerBase):
    """Every word is a token, of those that the tiny models of ``families`` have."""

    def __init__(self) -> None:
        super().__init__(bos_token=None, eos_token=None)

    def __call__(self, text: str = "", text_target: str = "", **kwargs: Any) -> Any:
        return {"input_ids": [4 + zlib.crc32(word.encode()) % 90 for word in (text or text_target).split()]}


def test_what_a_decoder_bans_is_worth_nothing() -> None:
    ranker = LikelihoodRanker(amateur(), TOKENIZER, decoder=[TopKLogitsWarper(1)])
    (scores,) = ranker.score(PREFIXES[:1], [CANDIDATES[0]])
    assert scores.tolist() == [-math.inf] * len(CANDIDATES[0])
    with pytest.raises(ValueError, match=r"form='pmi': the decoder bans ' The boats came back\.' where no prefix"):
        LikelihoodRanker(amateur(), TOKENIZER, decoder=[TopKLogitsWarper(1)], form="pmi").score(PREFIXES[:1], [CANDIDATES[0]])


def test_likelihood_errors_come_before_any_forward() -> None:
    with pytest.raises(ValueError, match="form='perplexity': choose one of log_likelihood, per_token, pmi"):
        LikelihoodRanker(amateur(), TOKENIZER, form="perplexity")
    with pytest.raises(ValueError, match="the probability of a text is undefined"):
        LikelihoodRanker(amateur(), TOKENIZER, decoder=contrastive_search)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="another LlamaForCausalLM than model"):
        LikelihoodRanker(amateur(), TOKENIZER, decoder=DoLaLogitsProcessor(expert(), layers=[1]))
    with pytest.raises(ValueError, match="form='pmi' needs a begin- or end-of-text token"):
        LikelihoodRanker(FAMILY["gpt2"].build(), Words(), form="pmi")
    scorer = LikelihoodRanker(amateur(), TOKENIZER).scorer(["It rained."])
    with tokens_through(amateur()) as sizes, pytest.raises(ValueError, match="exceed the model's context"):
        scorer([[" Why?", " Why?" * 2000]])
    assert sizes == []


def test_the_end_of_a_text_stands_for_its_beginning() -> None:
    """Where a tokenizer has no begin-of-text token."""
    tokenizer: Any = AutoTokenizer.from_pretrained(AMATEUR)
    tokenizer.bos_token = None
    ranker = LikelihoodRanker(amateur(), tokenizer, form="pmi")
    assert ranker.begin == tokenizer.eos_token_id is not None


WORDS = st.lists(st.sampled_from(["the", "Whale", "sea", "of", "Sea", "white"]), min_size=1, max_size=8)
TEXTS = WORDS.map(lambda words: " " + " ".join(words) + ".")


@settings(max_examples=60)
@given(TEXTS, st.lists(TEXTS, min_size=1, max_size=4), st.sampled_from([1, 2, 3]))
def test_overlap_by_hand(prefix: str, texts: list[str], n: int) -> None:
    def grams(text: str) -> list[str]:
        kept = [word for word in text.lower().strip(" .").split() if word not in ("the", "of")]
        return [" ".join(kept[place : place + n]) for place in range(len(kept) - n + 1)]

    (found,) = OverlapRanker(n=n).score([prefix], [texts])
    for text, value in zip(texts, found.tolist(), strict=True):
        left, own = grams(prefix), grams(text)
        hits = 0
        for gram in own:
            if gram in left:
                left.remove(gram)
                hits += 1
        assert value == pytest.approx(hits / len(own) if own else 0.0)


def test_overlap_leaves_out_what_it_is_told() -> None:
    (found,) = OverlapRanker(stopwords=["whale"]).score(["The whale."], [[" The whale", " the cook", " whale"]])
    assert found.tolist() == [1.0, 0.5, 0.0]
    (found,) = OverlapRanker().score(["It isn't the captain's."], [[" isn\u2019t", " CAPTAIN'S hat", " 'tis not"]])
    assert found.tolist() == [0.0, 0.5, 0.0]
    with pytest.raises(ValueError, match="n=0: an n-gram has at least 1 word"):
        OverlapRanker(n=0)


@settings(max_examples=60)
@given(st.lists(TEXTS, min_size=1, max_size=5), st.sampled_from([1, 2]))
def test_consensus_by_hand(texts: list[str], n: int) -> None:
    def f1(one: str, other: str) -> float:
        a, b = (
            [tuple(x[i : i + n]) for i in range(len(x) - n + 1)] for x in (one.lower()[:-1].split(), other.lower()[:-1].split())
        )
        hits = sum(min(a.count(gram), b.count(gram)) for gram in set(a))
        return 2 * hits / (len(a) + len(b)) if a or b else 0.0

    (found,) = ConsensusRanker(utility=NgramF1(n=n)).score(["It rained."], [texts])
    expected = [
        sum(f1(one, other) for at, other in enumerate(texts) if at != place) / max(len(texts) - 1, 1)
        for place, one in enumerate(texts)
    ]
    assert found.tolist() == pytest.approx(expected, abs=1e-6)


def test_consensus_of_a_wrong_utility() -> None:
    with pytest.raises(ValueError, match=r"utility gave \(2, 1\) for 2 hypotheses"):
        ConsensusRanker(utility=lambda texts, references: torch.zeros(len(texts), 1)).score(["It rained."], [[" Why?", " No."]])


def test_consensus_of_equal_texts_is_one_score_however_a_utility_rounds() -> None:
    def by_place(texts: Sequence[str], references: Sequence[str]) -> torch.Tensor:
        return NgramF1()(texts, references) + 1e-6 * torch.rand(len(texts), len(texts), generator=torch.Generator().manual_seed(0))

    (scores,) = ConsensusRanker(utility=by_place).score(["It rained."], [[" No.", " Why?", " No.", " Why, no.", " Why?"]])
    assert scores[0] == scores[2] != scores[1] == scores[4]


NUMBERS = st.lists(st.integers(-1000, 1000).map(lambda tenths: tenths / 10), min_size=2, max_size=6, unique=True)


@settings(max_examples=50)
@given(NUMBERS, st.floats(0.5, 20), st.floats(-50, 50))
def test_standardised_scores(values: list[float], scale: float, shift: float) -> None:
    """Mean 0 and deviation 1; the unit and the origin of scores do not matter."""
    scores = torch.tensor(values)
    found = standardised(scores).double()
    assert float(found.mean()) == pytest.approx(0, abs=1e-5)
    assert float(found.square().mean()) == pytest.approx(1, abs=1e-4)
    assert (found[:, None] > found).equal(scores[:, None] > scores)
    torch.testing.assert_close(standardised(scores * scale + shift).double(), found, atol=1e-2, rtol=0)


def test_scores_that_do_not_differ_have_no_weight() -> None:
    assert standardised(torch.tensor([3.5])).tolist() == [0.0]
    assert standardised(torch.full((3,), 0.1)).tolist() == [0.0] * 3
    assert standardised(torch.tensor([1.0, 1.0 + 1e-7])).tolist() == [0.0] * 2
    assert standardised(torch.full((2,), -math.inf)).tolist() == [-math.inf] * 2
    assert standardised(torch.tensor([])).tolist() == []
    same = Mock(lambda index, prefixes, texts: [5.0] * len(texts))
    (found,) = CombinedRanker([OverlapRanker(), same], weights=[1.0, 100.0]).score(["The whale."], [[" The whale", " The cook"]])
    assert found.tolist() == [1.0, -1.0]


def test_combination_by_hand() -> None:
    rankers = [OverlapRanker(), ConsensusRanker(), LikelihoodRanker(amateur(), TOKENIZER)]
    parts = [ranker.score(PREFIXES, CANDIDATES) for ranker in rankers]
    weights = [1.0, -0.25, 2.0]
    found = CombinedRanker(rankers, weights=weights).score(PREFIXES, CANDIDATES)
    summed = CombinedRanker(rankers, weights=weights, standardise=False).score(PREFIXES, CANDIDATES)
    for index, texts in enumerate(CANDIDATES):
        expected, raw = [0.0] * len(texts), [0.0] * len(texts)
        for weight, part in zip(weights, parts, strict=True):
            values = part[index].tolist()
            mean = sum(values) / len(values)
            deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))
            for place, value in enumerate(values):
                expected[place] += weight * (value - mean) / deviation if deviation else 0.0
                raw[place] += weight * value
        assert found[index].tolist() == pytest.approx(expected, abs=1e-4)
        assert summed[index].tolist() == pytest.approx(raw, abs=1e-4)


def test_a_banned_candidate_stays_banned() -> None:
    banning = Mock(lambda index, prefixes, texts: [-math.inf, 2.0, 1.0])
    (found,) = CombinedRanker([banning, OverlapRanker()]).score(["The whale."], [[" The whale", " The cook", " The dog"]])
    assert found[0] == -math.inf
    assert found[1:].isfinite().all()
    for weights in ([-1.0, 1.0], [-1.0, -1.0]):  # a weight below 0 makes no ban an order
        (found,) = CombinedRanker([banning, banning], weights=weights).score(
            ["The whale."], [[" The whale", " The cook", " The dog"]]
        )
        assert found[0] == -math.inf
        assert found[1:].isfinite().all()


@pytest.mark.parametrize(("given_scores", "message"), [([1.0], r"shape \[1\] for the 2 texts"), ([1.0, 2.0, 3.0], r"shape \[3\]")])
def test_a_ranker_gives_each_text_one_score(given_scores: list[float], message: str) -> None:
    wrong = Mock(lambda index, prefixes, texts: given_scores)
    with pytest.raises(ValueError, match=message):
        wrong.score(["The whale."], [[" It rose.", " It sank."]])


def test_a_rankers_scores_may_be_lists_of_numbers() -> None:
    class Numbers(Ranker):
        comparable = False

        def prepare(self, prefixes: Sequence[str]) -> Any:
            return lambda candidates: [[float(len(text)) for text in own] for own in candidates][: self.most]

        most = 2

    ranker = Numbers()
    assert [own.tolist() for own in ranker.score(["a", "b"], [["c", "de"], ["f"]])] == [[1.0, 2.0], [1.0]]
    ranker.most = 1
    with pytest.raises(ValueError, match="Numbers gave scores for 1 prefixes of 2"):
        ranker.score(["a", "b"], [["c", "de"], ["f"]])


def test_combinations_compare_where_all_of_them_do() -> None:
    information, likely = (LikelihoodRanker(amateur(), TOKENIZER, form=form) for form in ("pmi", "per_token"))
    assert not CombinedRanker([information, OverlapRanker()]).comparable
    assert CombinedRanker([information, OverlapRanker()], standardise=False).comparable
    assert not CombinedRanker([information, likely], standardise=False).comparable


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0], "weights: 1 for 2 rankers"),
        ([1.0, 0.0], "weights: 0.0 for ConsensusRanker; give a finite number, or leave the ranker out"),
        ([math.nan, 1.0], "weights: nan for OverlapRanker"),
    ],
)
def test_wrong_weights(weights: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CombinedRanker([OverlapRanker(), ConsensusRanker()], weights=weights)
    with pytest.raises(ValueError, match="rankers is empty"):
        CombinedRanker([])


def test_many_candidates_are_read_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """However they are split, and the prefix stays in between."""
    ranker = LikelihoodRanker(amateur(), TOKENIZER)
    texts = [f" The boats came back {word}." for word in ("late", "empty", "at last", "in the night", "one by one", "again")]
    expected = ranker.score(PREFIXES[:1], [texts])
    monkeypatch.setattr(causal, "BATCH_TOKENS", 2)
    with tokens_through(amateur()) as sizes:
        laws.same(ranker.score(PREFIXES[:1], [texts]), expected)
    looked, *sizes = sizes  # at two texts of five tokens, whether the model reads ahead
    assert looked == 10
    assert len(sizes) > 1
    assert max(sizes[1:]) < sizes[0] / 2


@cache
def sampled() -> tuple[Any, int]:
    """Four samples of the amateur after one prefix, and the prefix's length."""
    set_seed(1)
    inputs = TOKENIZER(PREFIXES[1], return_tensors="pt")
    ids = amateur().generate(**inputs, do_sample=True, num_return_sequences=4, max_new_tokens=8)
    return ids, inputs["input_ids"].shape[1]


@every_ranker
def test_texts_of_generate_and_of_engines(name: str) -> None:
    """What generate returned, the same as an engine's output, and its texts."""
    ranker = CASES[name].make()
    ids, length = sampled()
    own = rerank(ranker, PREFIXES[1], ids, tokenizer=TOKENIZER, prompt_length=length)
    outputs = [SimpleNamespace(text="", token_ids=tuple(row)) for row in ids[:, length:].tolist()]
    for each in outputs:
        each.text = TOKENIZER.decode(each.token_ids, skip_special_tokens=True)
    output: Any = SimpleNamespace(prompt=PREFIXES[1], prompt_token_ids=ids[0, :length].tolist(), outputs=outputs)
    served = rerank(ranker, output, tokenizer=TOKENIZER)
    assert (served.texts, served.order) == (own.texts, own.order)
    assert served.scores == pytest.approx(own.scores, abs=1e-4)
    given = rerank(ranker, PREFIXES[1], [each.text for each in outputs])
    assert sorted(given.texts) == sorted(own.texts)
    assert list(own.scores) == sorted(own.scores, reverse=True)


@every_ranker
def test_searches_by_any_ranker(name: str) -> None:
    """The best of several samples, and beams whose rounds end at a word, which votes of whole texts refuse."""
    ranker = CASES[name].make()
    inputs: Any = TOKENIZER(PREFIXES[1], return_tensors="pt")
    settings: dict[str, Any] = dict(ranker=ranker, processing_class=TOKENIZER, do_sample=True, max_new_tokens=6, candidates=3)
    set_seed(2)
    best = amateur().generate(**inputs, custom_generate=best_of, **settings, return_dict_in_generate=True)
    (pool,) = best.tree[0]
    assert [each.score for each in pool] == sorted((each.score for each in pool), reverse=True)
    rounds = dict(custom_generate=ranked_search, beams=2, tokens_per_round=3, round_ends=" the")
    if ranker.whole_texts:
        with pytest.raises(ValueError, match="tokens_per_round"):
            amateur().generate(**inputs, **rounds, **settings)
    else:
        assert amateur().generate(**inputs, **rounds, **settings).shape[1] > inputs["input_ids"].shape[1]


@every_ranker
def test_a_ranker_shows_what_it_is(name: str) -> None:
    ranker = CASES[name].make()
    assert repr(ranker).startswith(f"{type(ranker).__name__}(")
