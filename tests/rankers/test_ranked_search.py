"""Ranked search gives what the paper's algorithm gives from scratch, whatever the model, the decoder and the batch."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase, pipeline, set_seed

import ranked_search_laws as laws
from contrast_cases import context_case, encoder_decoder_case, model_case, sibling
from counterpoint.decoders import DoLaLogitsProcessor, FrustratinglySimpleLogitsProcessor, VectorAntiLanguageModel
from counterpoint.decoders.hf.caches import CACHE
from counterpoint.rankers import ConsensusRanker, OverlapRanker, Ranker, ranked_search
from counterpoint.rankers.search import proposals
from counterpoint.rankers.search.checks import check_settings
from families import EOS, EXPAND, FAMILY, FIRST_WORD, PAD, RECURRENT, STATELESS, TREE, VOCABULARY
from layer_cases import dola_case, sled_case
from processor_laws import Batch, Case, batch_of

LLAMA = FAMILY["llama"]


@pytest.fixture
def model() -> PreTrainedModel:
    return LLAMA.build()


@pytest.fixture
def batch(model: PreTrainedModel) -> Batch:
    return batch_of(LLAMA, model)


@pytest.fixture
def by_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule in place of random draws."""
    monkeypatch.setattr(proposals, "draw", laws.drawn_by_rank())


@pytest.mark.usefixtures("by_rank")
@pytest.mark.parametrize("family", TREE + EXPAND + RECURRENT + STATELESS, ids=str)
def test_batches_are_prompts_alone_from_scratch(family: Any) -> None:
    model = family.build()
    batch = batch_of(family, model)
    cached = {"use_cache": False} if family in STATELESS else {}
    laws.equals_reference(model, batch, eos=laws.some_end(model, batch, **cached), **cached)


@settings(max_examples=25)
@given(
    beams=st.integers(1, 3),
    candidates=st.integers(1, 4),
    tokens_per_round=st.none() | st.integers(1, 8),
    most=st.integers(1, 8),
    eos=st.lists(st.integers(FIRST_WORD, VOCABULARY - 1), max_size=20),
)
def test_any_settings(beams: int, candidates: int, tokens_per_round: int | None, most: int, eos: list[int]) -> None:
    model = LLAMA.build()
    chosen = laws.Settings(beams, candidates, tokens_per_round, most)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proposals, "draw", laws.drawn_by_rank(candidates))
        laws.equals_reference(model, batch_of(LLAMA, model), eos=eos, settings=chosen)


def some_string(model: PreTrainedModel, batch: Batch) -> str:
    """A character that ends some rounds early, in texts that differ."""
    tree = laws.search(model, batch).tree
    return chr(0x4E00 + tree[0][0][0].tokens[1])


@pytest.mark.usefixtures("by_rank")
@pytest.mark.parametrize("tokens_per_round", [None, 4])
@pytest.mark.parametrize("name", ["llama", "gemma3_sliding", "gpt2_tied", "mamba", "bart", "t5"])
def test_rounds_that_end_at_a_string(name: str, tokens_per_round: int | None) -> None:
    """Beams of several lengths, each from scratch by itself."""
    family = FAMILY[name]
    model = family.build()
    batch = batch_of(family, model)
    chosen = laws.Settings(tokens_per_round=tokens_per_round, round_ends=some_string(model, batch))
    trees = laws.equals_reference(model, batch, eos=laws.some_end(model, batch), settings=chosen)
    lengths = {len(each.tokens) for rounds in trees for each in rounds[0]}
    assert len(lengths) > 1


@pytest.mark.usefixtures("by_rank")
def test_contrasts_and_caches_in_rounds_that_end_at_a_string(model: PreTrainedModel, batch: Batch) -> None:
    chosen = laws.Settings(tokens_per_round=None, round_ends=some_string(model, batch))
    case = context_case()
    laws.equals_reference(model, batch, case.build, case.reference(model), settings=chosen)
    laws.equals_reference(model, batch, settings=chosen, use_cache=False)
    places = (batch.mask.cumsum(-1) - 1).clamp(min=0)[:, :-1]
    cache = model(batch.ids[:, :-1], attention_mask=batch.mask[:, :-1], position_ids=places, use_cache=True)[CACHE]
    laws.equals_reference(model, batch, settings=chosen, **{CACHE: cache})
    assert cache.get_seq_length() == batch.ids.shape[1] - 1


@pytest.mark.usefixtures("by_rank")
def test_steps_that_are_cut_elsewhere_are_caught(model: PreTrainedModel, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broken mock overlooks a string that is a step's first token."""
    chosen = laws.Settings(tokens_per_round=None, round_ends=some_string(model, batch))
    laws.equals_reference(model, batch, settings=chosen)
    propose = proposals.Proposer.propose

    def late(self: Any, draws: int, most: int | None, over: Any = None) -> Any:
        return propose(self, draws, most, lambda row, tokens: over(row, tokens[:-1]))

    monkeypatch.setattr(proposals.Proposer, "propose", late)
    with pytest.raises(AssertionError):
        laws.equals_reference(model, batch, settings=chosen)


def test_a_string_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="round_ends=7 is not a string"):
        check_settings(OverlapRanker(), laws.toy_tokenizer(), 2, 3, 4, 7, GenerationConfig(do_sample=True))


@pytest.mark.usefixtures("by_rank")
@pytest.mark.parametrize("name", ["bart", "t5"])
def test_encoder_decoder_models(name: str) -> None:
    model = FAMILY[name].build()
    batch = batch_of(FAMILY[name], model)
    laws.equals_reference(model, batch, eos=laws.some_end(model, batch))


@pytest.mark.usefixtures("by_rank")
def test_finished_beams_stay_until_better_ones_are_found(model: PreTrainedModel, batch: Batch) -> None:
    tree = laws.equals_reference(model, batch, eos=laws.some_end(model, batch))
    carried = [
        each
        for rounds in tree
        for before, after in pairwise(rounds)
        for each in after
        if each.parent is not None and each.tokens == before[each.parent].tokens
    ]
    assert carried
    assert all(each.ended for each in carried)
    assert len({len(rounds) for rounds in tree}) > 1  # a prompt is done before another


@pytest.mark.usefixtures("by_rank")
@pytest.mark.parametrize(
    "case",
    [model_case(sibling(LLAMA)), context_case(), dola_case(), sled_case()],
    ids=str,
)
def test_any_decoder_proposes(case: Case, model: PreTrainedModel, batch: Batch) -> None:
    """Their own caches and states follow rows that multiply, change places and end."""
    eos = laws.some_end(model, batch)
    laws.equals_reference(model, batch, case.build, case.reference(model), eos)


@pytest.mark.usefixtures("by_rank")
def test_an_encoder_decoder_amateur_proposes() -> None:
    bart = FAMILY["bart"]
    model, case = bart.build(), encoder_decoder_case(sibling(bart))
    batch = batch_of(bart, model)
    laws.equals_reference(model, batch, case.build, case.reference(model), laws.some_end(model, batch))


@pytest.mark.usefixtures("by_rank")
@pytest.mark.parametrize("mode", [{"use_cache": False}, {"prefill_chunk_size": 4}], ids=str)
def test_other_ways_to_read_the_prompt(mode: dict[str, Any], model: PreTrainedModel, batch: Batch) -> None:
    laws.equals_reference(model, batch, **mode)


@pytest.mark.parametrize("name", ["llama", "gpt2", "mamba", "jamba"])
@pytest.mark.parametrize("tokens_per_round", [1, 4, None])
def test_one_beam_and_one_sample_is_sampling(name: str, tokens_per_round: int | None) -> None:
    model = FAMILY[name].build()
    batch = batch_of(FAMILY[name], model)
    one = {"beams": 1, "candidates": 1, "tokens_per_round": tokens_per_round}
    torch.manual_seed(5)
    sampled = model.generate(batch.ids, attention_mask=batch.mask, **laws.SAMPLING)
    torch.manual_seed(5)
    assert torch.equal(laws.search(model, batch, **one).sequences, sampled)


def test_one_beam_and_one_sample_end_as_sampling_does(model: PreTrainedModel, batch: Batch) -> None:
    """Alone, since the random numbers of those that ended are not drawn."""
    alone = batch.alone(1)
    ending = {"eos_token_id": list(range(10, 20)), "max_new_tokens": 40}
    lengths = set()
    for seed in range(5):
        torch.manual_seed(seed)
        sampled = model.generate(alone.ids, attention_mask=alone.mask, **(laws.SAMPLING | ending))
        torch.manual_seed(seed)
        assert torch.equal(laws.search(model, alone, beams=1, candidates=1, **ending).sequences, sampled)
        lengths.add(sampled.shape[1])
    assert len(lengths) > 1


def test_one_sample_may_be_greedy(model: PreTrainedModel, batch: Batch) -> None:
    one = {"beams": 1, "candidates": 1, "do_sample": False}
    greedy = model.generate(batch.ids, attention_mask=batch.mask, **(laws.SAMPLING | {"do_sample": False}))
    assert torch.equal(laws.search(model, batch, **one).sequences, greedy)


def test_one_round_is_overgeneration_and_reranking(model: PreTrainedModel, batch: Batch) -> None:
    torch.manual_seed(0)
    sampled = model.generate(batch.ids, attention_mask=batch.mask, num_return_sequences=6, **laws.SAMPLING)
    torch.manual_seed(0)
    found = laws.search(model, batch, beams=3, candidates=2, tokens_per_round=None, num_return_sequences=3)
    width, ranker = batch.ids.shape[1], laws.Liking()
    texts = laws.toy_tokenizer().batch_decode(sampled[:, width:], skip_special_tokens=True)
    prefixes = [laws.toy_tokenizer().decode(batch.alone(row).ids[0]) for row in range(len(batch.ids))]
    scores = torch.stack(ranker.score(prefixes, [texts[6 * row : 6 * row + 6] for row in range(len(batch.ids))]))
    best = scores.topk(3)
    rows = (best.indices + 6 * torch.arange(len(batch.ids))[:, None]).flatten()
    assert torch.equal(found.sequences, sampled[rows])
    torch.testing.assert_close(found.ranker_scores, best.values.flatten())


@pytest.mark.usefixtures("by_rank")
def test_the_best_of_each_prompt_are_returned(model: PreTrainedModel, batch: Batch) -> None:
    one, two = laws.search(model, batch), laws.search(model, batch, num_return_sequences=2)
    assert torch.equal(two.sequences[::2], one.sequences)
    for prompt, rounds in enumerate(two.tree):
        for place in range(2):
            assert two.sequences[2 * prompt + place, batch.ids.shape[1] :].tolist() == list(rounds[-1][place].tokens)
    plain = model.generate(
        batch.ids,
        attention_mask=batch.mask,
        custom_generate=ranked_search,
        ranker=laws.Liking(),
        processing_class=laws.toy_tokenizer(),
        **laws.SEARCH,
        **laws.SAMPLING,
    )
    assert torch.equal(plain, one.sequences)


def test_where_fewer_differ_the_last_is_repeated(model: PreTrainedModel, batch: Batch) -> None:
    found = laws.search(model, batch, beams=4, candidates=2, temperature=1e-4, num_return_sequences=3)
    greedy = model.generate(batch.ids, attention_mask=batch.mask, **(laws.SAMPLING | {"do_sample": False}))
    assert torch.equal(found.sequences, greedy.repeat_interleave(3, dim=0))
    assert all(len(pool) == 1 for rounds in found.tree for pool in rounds)


@pytest.mark.usefixtures("by_rank")
def test_calls_do_not_meet(model: PreTrainedModel, batch: Batch) -> None:
    processors = context_case().build(model, batch)
    first = laws.search(model, batch, processors).sequences
    torch.testing.assert_close(laws.search(model, batch, processors).sequences, first)
    laws.search(model, batch, eos_token_id=[7, 8, 9])
    torch.testing.assert_close(laws.search(model, batch, processors).sequences, first)


@pytest.mark.usefixtures("by_rank")
def test_calls_of_two_threads_do_not_meet(model: PreTrainedModel, batch: Batch) -> None:
    """Rows of unequal number, whose prompts the processors are told."""
    alone, processors = batch.alone(1), context_case().build(model, batch)
    eos = list(laws.some_end(model, batch))
    calls = [(batch, processors), (alone, context_case().build(model, alone))]
    wanted = [laws.search(model, own, used, eos_token_id=eos).tree for own, used in calls]
    with ThreadPoolExecutor() as pool:
        found = [pool.submit(laws.search, model, own, used, eos_token_id=eos) for _ in range(2) for own, used in calls]
    for number, one in enumerate(found):
        assert tokens_of(one.result().tree) == tokens_of(wanted[number % 2])


def tokens_of(tree: Any) -> Any:
    return [[[each.tokens for each in pool] for pool in rounds] for rounds in tree]


@pytest.mark.usefixtures("by_rank")
def test_a_ranker_may_run_the_same_model(model: PreTrainedModel, batch: Batch) -> None:
    """Processors that watch the model's forwards see those of the search."""

    class Busy(laws.Liking):
        def prepare(self, prefixes: Sequence[str]) -> Any:
            scorer = super().prepare(prefixes)
            model(batch.ids[:1])

            def judged(candidates: Sequence[Sequence[str]]) -> Any:
                model(batch.ids.flip(0))
                return scorer(candidates)

            return judged

    def processors() -> list[Any]:
        return [DoLaLogitsProcessor(model), FrustratinglySimpleLogitsProcessor(VectorAntiLanguageModel(model), top_k=5)]

    eos = list(laws.some_end(model, batch))
    quiet = laws.search(model, batch, processors(), eos_token_id=eos)
    busy = laws.search(model, batch, processors(), eos_token_id=eos, ranker=Busy())
    assert tokens_of(busy.tree) == tokens_of(quiet.tree)


@pytest.mark.parametrize("ranker", [OverlapRanker(), ConsensusRanker()], ids=["overlap", "consensus"])
def test_real_texts_with_a_real_ranker(ranker: Ranker, expert: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """What is returned are the best of the last round, by their scores there."""
    prompts = ["The whale rose", "She was very happy, and the captain"]
    inputs = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left")
    set_seed(0)
    found = expert.generate(
        **inputs,
        custom_generate=ranked_search,
        ranker=ranker,
        processing_class=tokenizer,
        candidates=4,
        tokens_per_round=6,
        do_sample=True,
        max_new_tokens=16,
        return_dict_in_generate=True,
    )
    for row, (prompt, rounds) in enumerate(zip(prompts, found.tree, strict=True)):
        last = rounds[-1]
        scores = ranker.score([prompt], [[each.text for each in last]])[0]
        torch.testing.assert_close(scores, torch.tensor([each.score for each in last]))
        assert float(found.ranker_scores[row]) == pytest.approx(max(scores.tolist()))
        assert tokenizer.decode(found.sequences[row], skip_special_tokens=True) == prompt + last[0].text
        assert last[0].text.startswith(rounds[-2][last[0].parent].text)


def test_a_pipeline(expert: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    write = pipeline("text-generation", model=expert, tokenizer=tokenizer)
    search = {"custom_generate": ranked_search, "ranker": OverlapRanker(), "processing_class": tokenizer, "candidates": 2}
    (text,) = write("The whale rose", do_sample=True, max_new_tokens=9, num_return_sequences=1, **search)
    assert text["generated_text"].startswith("The whale rose")


@pytest.mark.usefixtures("by_rank")
@pytest.mark.parametrize("name", ["llama", "gpt2", "mistral_sliding"])
def test_inputs_stay_as_they_were(name: str) -> None:
    model = FAMILY[name].build()
    laws.leaves_inputs_alone(model, batch_of(FAMILY[name], model))


@pytest.mark.usefixtures("by_rank")
@pytest.mark.parametrize("beams", [1, 2])
def test_a_streamer_hears_only_what_stays(beams: int, model: PreTrainedModel, batch: Batch) -> None:
    for row in range(len(batch.ids)):
        laws.streams_what_stays(model, batch.alone(row), beams)


@pytest.mark.usefixtures("by_rank")
def test_inputs_embeds_with_the_texts_of_the_prompts(model: PreTrainedModel, batch: Batch) -> None:
    prefixes = [laws.toy_tokenizer().decode(batch.alone(row).ids[0]) for row in range(len(batch.ids))]
    found = model.generate(
        inputs_embeds=model.get_input_embeddings()(batch.ids),
        attention_mask=batch.mask,
        custom_generate=ranked_search,
        ranker=laws.Liking(),
        processing_class=laws.toy_tokenizer(),
        prefixes=prefixes,
        **laws.SEARCH,
        **laws.SAMPLING,
    )
    assert torch.equal(found, laws.search(model, batch).sequences[:, batch.ids.shape[1] :])


def test_prefixes_are_read_once_without_padding_and_special_tokens(model: PreTrainedModel, batch: Batch) -> None:
    ids = batch.ids.clone()
    ids[:, -1] = EOS
    ranker = laws.Liking()
    laws.search(model, Batch(ids, batch.mask, batch.index), ranker=ranker)
    texts = ["".join(chr(0x4E00 + token) for token in row[kept.bool()][:-1]) for row, kept in zip(ids, batch.mask, strict=True)]
    assert ranker.prefixes == [texts]
    assert len(ranker.candidates) == 3
    other = laws.Liking()
    laws.search(model, batch, ranker=other, prefixes=["one", "two", "three"])
    assert other.prefixes == [["one", "two", "three"]]


class TestDefectsOfTheReleasedGenerator:
    """What its authors' package does, and this does not."""

    def test_a_long_prompt_keeps_its_end(self, model: PreTrainedModel) -> None:
        ids = torch.arange(230)[None] % 90 + 4
        ranker = laws.Liking()
        found = laws.search(model, Batch(ids, torch.ones_like(ids), (0,)), ranker=ranker)
        assert torch.equal(found.sequences[:, :230], ids)
        assert ranker.prefixes == [[laws.toy_tokenizer().decode(ids[0])]]

    def test_eos_in_the_prompt_ends_nothing(self, model: PreTrainedModel, batch: Batch) -> None:
        ids = batch.ids.clone()
        ids[:, -2:] = EOS
        found = laws.search(model, Batch(ids, batch.mask, batch.index), eos_token_id=EOS, suppress_tokens=[EOS])
        assert all(len(rounds[-1][0].tokens) == laws.MOST for rounds in found.tree)

    @pytest.mark.parametrize("most", [1, 4, 9, 12])
    def test_lengths_are_those_of_the_tokens(self, most: int, model: PreTrainedModel, batch: Batch) -> None:
        """Their text may be of fewer tokens, which made it ask for none at the end."""
        found = laws.search(model, batch, max_new_tokens=most)
        assert found.sequences.shape[1] == batch.ids.shape[1] + most
        assert all(len(rounds) == -(-most // laws.SEARCH["tokens_per_round"]) for rounds in found.tree)

    def test_a_second_prompt(self, model: PreTrainedModel, batch: Batch) -> None:
        for _ in range(2):
            assert len(laws.search(model, batch).sequences) == len(batch.ids)

    def test_top_k_is_what_generate_says(self, model: PreTrainedModel, batch: Batch) -> None:
        hot = {"temperature": 100.0, "candidates": 20, "tokens_per_round": None}
        best = set(model(batch.alone(0).ids).logits[0, -1].topk(50).indices.tolist())
        for top_k, beyond in ((0, True), (50, False)):
            first = {each.tokens[0] for each in laws.search(model, batch, top_k=top_k, **hot).tree[0][0]}
            assert (not first <= best) == beyond

    def test_an_empty_continuation_is_the_last_choice(self, model: PreTrainedModel, batch: Batch) -> None:
        def end(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            return scores.index_fill(1, torch.tensor([EOS]), 1.0 + float(scores.max()))

        found = laws.search(model, batch, [end], eos_token_id=EOS, candidates=20)
        empty = [each for each in found.tree[0][0] if not each.text]
        assert empty == found.tree[0][0][-1:]
        assert empty[0].score == -torch.inf
        assert empty[0].tokens == (EOS,)

        def only(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            return torch.full_like(scores, -torch.inf).index_fill(1, torch.tensor([EOS]), 0.0)

        nothing = laws.search(model, batch, [only], eos_token_id=EOS)
        assert nothing.ranker_scores.tolist() == [-torch.inf] * len(batch.ids)
        assert nothing.sequences[:, batch.ids.shape[1] :].tolist() == [[EOS]] * len(batch.ids)


def test_random_texts_are_padded_after_their_end(model: PreTrainedModel, batch: Batch) -> None:
    eos = list(range(10, 30))
    found = laws.search(model, batch, eos_token_id=eos)
    for row, rounds in zip(found.sequences[:, batch.ids.shape[1] :].tolist(), found.tree, strict=True):
        tokens = list(rounds[-1][0].tokens)
        assert row == tokens + [PAD] * (len(row) - len(tokens))
        assert not set(tokens[:-1]) & set(eos)
