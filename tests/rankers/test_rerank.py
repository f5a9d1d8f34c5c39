"""Candidates put in order: texts, or what ``generate`` returned as it is."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BartConfig, BartForConditionalGeneration, PreTrainedModel, PreTrainedTokenizerBase, pipeline

from counterpoint.rankers import CandidateScorer, ConsensusRanker, OverlapRanker, Ranker, Reranked, rerank
from counterpoint.rankers.base import Texts
from rankgen_cases import tiny_tokenizer

PROMPTS = ["The captain of the old ship looked at the sea.", "She was", "My dear sister, said he"]


class Longest(Ranker):
    """The longer the better; a candidate that holds the prefix's first letter has a bonus. Remembers what it has seen."""

    comparable = True

    def __init__(self) -> None:
        self.seen: list[str] = []

    def prepare(self, prefixes: Texts) -> CandidateScorer:
        def scores_of(candidates: Any) -> Any:
            self.seen += [text for texts in candidates for text in texts]
            return [
                torch.tensor([len(text) + 0.5 * (prefix[0] in text) for text in texts], dtype=torch.float32)
                for prefix, texts in zip(prefixes, candidates, strict=True)
            ]

        return scores_of


def check(found: Reranked, ranker: Ranker, candidates: list[str]) -> None:
    """Texts and scores are those of the candidates, best first and in a stable order."""
    assert sorted(found.order) == list(range(len(candidates)))
    assert found.texts == tuple(candidates[index] for index in found.order)
    for text, score in zip(found.texts, found.scores, strict=True):
        assert score == (float(ranker.score([found.prefix], [[text]])[0]) if text.strip() else -math.inf)
    pairs = [(-score, index) for score, index in zip(found.scores, found.order, strict=True)]
    assert pairs == sorted(pairs)


@settings(max_examples=30)
@given(lists=st.lists(st.lists(st.sampled_from(["a", " T", "the sea", "S", "a"]), max_size=6), min_size=1, max_size=3))
def test_texts_of_each_prefix(lists: list[list[str]]) -> None:
    prefixes = PROMPTS[: len(lists)]
    for found, candidates in zip(rerank(Longest(), prefixes, lists), lists, strict=True):
        check(found, Longest(), candidates)
    check(rerank(Longest(), prefixes[0], lists[0]), Longest(), lists[0])
    if len({len(candidates) for candidates in lists}) == 1 and lists[0]:
        assert rerank(Longest(), prefixes, [text for texts in lists for text in texts]) == rerank(Longest(), prefixes, lists)


@settings(max_examples=20)
@given(candidates=st.permutations([" a", " the sea", " the sea", " The", " of it", " S."]))
def test_another_order_gives_the_same_texts_in_the_same_order(candidates: list[str]) -> None:
    found = rerank(Longest(), PROMPTS[0], candidates)
    assert found.texts == rerank(Longest(), PROMPTS[0], sorted(candidates)).texts
    check(found, Longest(), candidates)


def reversed_order(prefix: str, texts: Any, scores: Any) -> Reranked:
    order = sorted(range(len(texts)), key=lambda index: scores[index])
    return Reranked(prefix, tuple(texts[i] for i in order), tuple(scores[i] for i in order), tuple(order))


def unstable(prefix: str, texts: Any, scores: Any) -> Reranked:
    order = sorted(range(len(texts)), key=lambda index: (-scores[index], -index))
    return Reranked(prefix, tuple(texts[i] for i in order), tuple(scores[i] for i in order), tuple(order))


def unsorted_scores(prefix: str, texts: Any, scores: Any) -> Reranked:
    order = sorted(range(len(texts)), key=lambda index: -scores[index])
    return Reranked(prefix, tuple(texts[i] for i in order), tuple(scores), tuple(order))


@pytest.mark.parametrize("broken", [reversed_order, unstable, unsorted_scores])
def test_broken_orders(monkeypatch: pytest.MonkeyPatch, broken: Callable[..., Reranked]) -> None:
    candidates = [" a", " b", " the sea", " the sea"]
    check(rerank(Longest(), PROMPTS[0], candidates), Longest(), candidates)
    monkeypatch.setattr(sys.modules["counterpoint.rankers.reranking"], "best_first", broken)
    with pytest.raises(AssertionError):
        check(rerank(Longest(), PROMPTS[0], candidates), Longest(), candidates)


def inputs_of(tokenizer: PreTrainedTokenizerBase, prompts: list[str]) -> Any:
    return tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left")


def new_texts(tokenizer: PreTrainedTokenizerBase, prompts: list[str], ids: torch.Tensor) -> list[list[str]]:
    """From scratch: each row's text less the prompt's text."""
    each = len(ids) // len(prompts)
    texts = [tokenizer.decode(row, skip_special_tokens=True) for row in ids]
    assert all(text.startswith(prompts[index // each]) for index, text in enumerate(texts))
    new = [text.removeprefix(prompts[index // each]) for index, text in enumerate(texts)]
    return [new[index * each : (index + 1) * each] for index in range(len(prompts))]


@pytest.mark.parametrize(
    "arguments",
    [
        {"do_sample": True, "num_return_sequences": 4},
        {"num_beams": 3, "num_return_sequences": 3},
        {"num_beams": 2},
        {},
        {"do_sample": True, "num_return_sequences": 2, "return_dict_in_generate": True, "output_scores": True},
    ],
)
@pytest.mark.parametrize("prompts", [PROMPTS, PROMPTS[:1]])
def test_what_generate_returns(
    amateur: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: list[str], arguments: dict[str, Any]
) -> None:
    model: Any = amateur
    inputs = inputs_of(tokenizer, prompts)
    torch.manual_seed(0)
    output = model.generate(**inputs, max_new_tokens=12, **arguments)
    ids = output.sequences if arguments.get("return_dict_in_generate") else output
    found = rerank(Longest(), prompts, output, tokenizer=tokenizer, prompt_length=inputs.input_ids.shape[1])
    for one, candidates in zip(found, new_texts(tokenizer, prompts, ids), strict=True):
        check(one, Longest(), candidates)
    if len(prompts) == 1:
        assert [rerank(Longest(), prompts[0], output, tokenizer=tokenizer, prompt_length=inputs.input_ids.shape[1])] == found


def test_encoder_decoder_models_do_not_repeat_the_prompt(tokenizer: PreTrainedTokenizerBase) -> None:
    """BART's output begins with the end-of-text token."""
    torch.manual_seed(0)
    sizes = dict(d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2)
    special = dict(bos_token_id=0, pad_token_id=1, eos_token_id=2, decoder_start_token_id=tokenizer.eos_token_id)
    config = BartConfig(vocab_size=len(tokenizer), encoder_ffn_dim=16, decoder_ffn_dim=16, **sizes, **special)
    model: Any = BartForConditionalGeneration(config).eval()
    model.generation_config.forced_eos_token_id = None
    inputs = inputs_of(tokenizer, PROMPTS)
    ids = model.generate(**inputs, do_sample=True, num_return_sequences=2, max_new_tokens=6)
    assert ids[0, 0] == tokenizer.eos_token_id
    texts = [tokenizer.decode(row, skip_special_tokens=True) for row in ids]
    assert all(text.strip() for text in texts)
    found = rerank(Longest(), PROMPTS, ids, tokenizer=tokenizer, prompt_length=0)
    for index, one in enumerate(found):
        check(one, Longest(), texts[2 * index : 2 * index + 2])


def test_a_texts_first_space_is_kept_by_tokenizers_that_drop_it() -> None:
    tokenizer = tiny_tokenizer()
    prompt, new = tokenizer("the captain", add_special_tokens=False)["input_ids"], tokenizer("of the sea")["input_ids"]
    assert tokenizer.decode(new, skip_special_tokens=True) == "of the sea"
    found = rerank(Longest(), "the captain", torch.tensor([prompt + new]), tokenizer=tokenizer, prompt_length=len(prompt))
    assert found.texts == (" of the sea",)


def test_texts_that_ended_at_once_come_last_and_padding_after_the_end_is_no_text(tokenizer: PreTrainedTokenizerBase) -> None:
    prompt, more, end = (tokenizer(text)["input_ids"] for text in (PROMPTS[1], " very", "!"))
    eos = tokenizer.eos_token_id
    blank = tokenizer(" ")["input_ids"]
    width = 4
    rows = [[eos], more, blank, [*more, eos], [*more, *more]]
    ids = torch.tensor([[*prompt, *row, *(end * width)[: width - len(row)]] for row in rows])
    ids[1] = torch.tensor([*prompt, *more, eos, *end * (width - len(more) - 1)])
    ids[2] = torch.tensor([*prompt, *blank, eos, *end * (width - len(blank) - 1)])
    ids[4, len(prompt) + 2 * len(more) :] = eos
    ranker = Longest()
    found = rerank(ranker, PROMPTS[1], ids, tokenizer=tokenizer, prompt_length=len(prompt))
    assert found.texts == (" very very", " very", " very", "", " ")
    assert found.order == (4, 1, 3, 0, 2)
    assert found.scores[3:] == (-math.inf, -math.inf)
    assert set(ranker.seen) == {" very very", " very"}


def test_duplicates_count_for_rankers_of_sets() -> None:
    """What was sampled twice is twice as likely: consensus needs to see both."""
    candidates = [" the sea", " a dog", " a dog"]
    found = rerank(ConsensusRanker(), PROMPTS[1], candidates)
    assert found.texts == (" a dog", " a dog", " the sea")
    assert found.scores == (0.5, 0.5, 0.0)


@pytest.mark.parametrize(
    ("prefixes", "candidates", "message"),
    [
        (PROMPTS[:2], [" a", " b", " c"], "candidates: 3 for 2 prefixes; pass as many for each"),
        (PROMPTS[:2], [[" a"]], "candidates: 1 lists for 2 prefixes"),
        (PROMPTS[:2], [[" a"], " b"], "candidates mixes texts and lists of texts"),
        (PROMPTS[0], [" a", " "], r"candidates\[0\]\[1\]=' ' is empty"),
        (PROMPTS[:2], [[" a"], [""]], r"candidates\[1\]\[0\]='' is empty"),
        (["It was", ""], [[" a"], [" b"]], r"prefixes\[1\]='' is empty"),
        ([], [" a"], "candidates: 1 for 0 prefixes"),
        (PROMPTS[:2], torch.ones(3, 4, dtype=torch.long), "candidates: 3 for 2 prefixes"),
    ],
)
def test_what_cannot_be_ranked(tokenizer: PreTrainedTokenizerBase, prefixes: Any, candidates: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rerank(Longest(), prefixes, candidates, tokenizer=tokenizer, prompt_length=1)


def test_one_string_is_no_list_of_candidates() -> None:
    with pytest.raises(TypeError, match="candidates is one string"):
        rerank(Longest(), PROMPTS[0], " a")


def test_ids_need_a_tokenizer_and_the_prompts_length(tokenizer: PreTrainedTokenizerBase) -> None:
    ids = torch.ones(2, 4, dtype=torch.long)
    with pytest.raises(ValueError, match="tokenizer=None cannot read them"):
        rerank(Longest(), PROMPTS[0], ids, prompt_length=1)
    with pytest.raises(ValueError, match=r"prompt_length=None .* pass input_ids.shape\[1\]"):
        rerank(Longest(), PROMPTS[0], ids, tokenizer=tokenizer)
    with pytest.raises(ValueError, match="prompt_length=5: the rows of candidates are of 4 ids"):
        rerank(Longest(), PROMPTS[0], ids, tokenizer=tokenizer, prompt_length=5)


def test_a_pipelines_records_are_taken_as_they_are(amateur: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """With the prompt in their texts, and without."""
    write: Any = pipeline("text-generation", model=amateur, tokenizer=tokenizer)
    options = dict(max_new_tokens=6, do_sample=True, num_return_sequences=3)
    torch.manual_seed(0)
    whole = write(PROMPTS, **options)
    torch.manual_seed(0)
    new = write(PROMPTS, return_full_text=False, **options)
    texts = [[record["generated_text"] for record in records] for records in new]
    assert rerank(Longest(), PROMPTS, whole) == rerank(Longest(), PROMPTS, new) == rerank(Longest(), PROMPTS, texts)
    assert rerank(Longest(), PROMPTS[0], whole[0]) == rerank(Longest(), PROMPTS[0], texts[0])
    with pytest.raises(ValueError, match="no text under 'generated_text'"):
        rerank(Longest(), PROMPTS[0], [{"text": " a"}])


def test_a_prefix_within_every_candidate_is_not_judged(tokenizer: PreTrainedTokenizerBase) -> None:
    ids = tokenizer([PROMPTS[1] + " a", PROMPTS[1] + " b"], return_tensors="pt").input_ids
    candidates: list[tuple[Any, dict[str, Any]]] = [
        ([PROMPTS[1] + " a", PROMPTS[1] + " b"], {}),
        (ids, {"tokenizer": tokenizer, "prompt_length": 0}),
    ]
    for texts, options in candidates:
        with pytest.raises(ValueError, match=r"candidates\[0\] all begin with their prefix, 'She was'"):
            rerank(Longest(), PROMPTS[1], texts, **options)
    assert rerank(Longest(), "ha", ["ha", " ho"]).texts == (" ho", "ha")  # one that says it again


def test_a_wrong_prompt_length_is_noticed(tokenizer: PreTrainedTokenizerBase) -> None:
    inputs = inputs_of(tokenizer, PROMPTS)
    new = tokenizer([" a whale", " a ship", " the sea"], return_tensors="pt").input_ids
    ids, length = torch.cat([inputs.input_ids, new], dim=1), inputs.input_ids.shape[1]
    found = rerank(Longest(), PROMPTS, ids, tokenizer=tokenizer, prompt_length=length)
    assert [each.texts for each in found] == [(" a whale",), (" a ship",), (" the sea",)]
    for wrong in (length - 1, length - 2, length + 1):
        with pytest.raises(ValueError, match=f"prompt_length={wrong}: so many ids of a candidate are"):
            rerank(Longest(), PROMPTS, ids, tokenizer=tokenizer, prompt_length=wrong)
    chat = tokenizer(["User: She was? Answer:"], return_tensors="pt").input_ids  # the ranker may read another text than the model
    whole = torch.cat([chat, new[:1]], dim=1)
    assert rerank(Longest(), PROMPTS[1], whole, tokenizer=tokenizer, prompt_length=chat.shape[1]).texts == (" a whale",)


def test_every_end_of_text_ends_a_text(tokenizer: PreTrainedTokenizerBase) -> None:
    prompt, more, other, padding = (tokenizer(text)["input_ids"] for text in (PROMPTS[1], " very", "?", "!"))
    ends = [tokenizer.eos_token_id, other[0]]
    rows = torch.tensor([[*prompt, *more, end, *padding, *padding] for end in ends])
    options: dict[str, Any] = {"tokenizer": tokenizer, "prompt_length": len(prompt)}
    assert rerank(Longest(), PROMPTS[1], rows, **options, eos_token_id=ends).texts == (" very", " very")
    assert rerank(Longest(), PROMPTS[1], rows, **options).texts == (" very?!!", " very")


def test_nothing_to_rank() -> None:
    assert rerank(OverlapRanker(), PROMPTS[0], []) == Reranked(PROMPTS[0], (), (), ())
    assert rerank(OverlapRanker(), PROMPTS[:2], [[], []]) == [Reranked(prompt, (), (), ()) for prompt in PROMPTS[:2]]
    assert rerank(OverlapRanker(), [], []) == []
