"""Scores of given texts: those generation used, whatever family, decoder and way of reading; and what has no score."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import (
    NoRepeatNGramLogitsProcessor,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    RepetitionPenaltyLogitsProcessor,
    TopPLogitsWarper,
)

from counterpoint.decoders import (
    AdaCADLogitsProcessor,
    COIECDLogitsProcessor,
    ContextAwareLogitsProcessor,
    ContrastiveDecodingLogitsProcessor,
    ContrastiveSearchLogitsProcessor,
    DeCoReLogitsProcessor,
    DoLaLogitsProcessor,
    EncoderDecoderAmateur,
    FrustratinglySimpleLogitsProcessor,
    LastTokenAmateur,
    LayerFusionLogitsProcessor,
    M3IDLogitsProcessor,
    ModelAmateur,
    PooledAmateur,
    PromptAmateur,
    SLEDLogitsProcessor,
    VectorAntiLanguageModel,
    adaptive_contrastive_search,
    contrastive_search,
    extrapolation,
    likelihood_ratio,
    released_normalised_ratio,
    score,
    score_each,
    scoring,
)
from counterpoint.decoders.forwards import text_forward
from counterpoint.decoders.forwards.given_texts import GivenTexts, PrefixTree
from counterpoint.decoders.hf.configuration import context_length
from families import ALL, ENCODER_DECODER, FAMILY, Family, prompts

LLAMA, GPT2 = FAMILY["llama"], FAMILY["gpt2"]
STEPS = 9
CLOSE = dict(atol=2e-4, rtol=1e-5)

Prompts = dict[str, Tensor]
Make = Callable[[PreTrainedModel, Prompts], list[Any]]
"""A decoder for a model, and other prompts, one for each of the prompts to continue."""

DECODERS: dict[str, Make] = {
    "model": lambda model, _: [],
    "penalties": lambda model, _: [RepetitionPenaltyLogitsProcessor(1.3), NoRepeatNGramLogitsProcessor(2)],
    "nucleus": lambda model, _: [TopPLogitsWarper(0.8)],
    "contrastive_decoding": lambda model, _: [ContrastiveDecodingLogitsProcessor(GPT2.build())],
    "extrapolation": lambda model, _: [
        ContrastiveDecodingLogitsProcessor(GPT2.build(), alpha=0.0, form=partial(extrapolation, beta=0.5))
    ],
    "context_aware": lambda model, other: [ContextAwareLogitsProcessor(model, other)],
    "adacad": lambda model, other: [AdaCADLogitsProcessor(model, other)],
    "decore": lambda model, _: [DeCoReLogitsProcessor(model, [(0, 0), (1, 1)])],
    "m3id": lambda model, other: [M3IDLogitsProcessor(model, other, rate=0.3)],
    "coiecd": lambda model, other: [COIECDLogitsProcessor(model, other)],
    "last_token": lambda model, _: [ContrastiveDecodingLogitsProcessor(LastTokenAmateur(GPT2.build()))],
    "pooled": lambda model, other: [
        ContrastiveDecodingLogitsProcessor(
            PooledAmateur([ModelAmateur(GPT2.build()), PromptAmateur(model, other)]),
            positives=[ModelAmateur(FAMILY["gpt2_tied"].build())],
        )
    ],
    "frustratingly_simple": lambda model, _: [FrustratinglySimpleLogitsProcessor(top_k=8)],
    "frustratingly_simple_by_states": lambda model, _: [
        FrustratinglySimpleLogitsProcessor(VectorAntiLanguageModel(model, n=3), top_k=8)
    ],
    "dola": lambda model, _: [DoLaLogitsProcessor(model, layers=[0, 1, 2]), RepetitionPenaltyLogitsProcessor(1.2)],
    "sled": lambda model, _: [SLEDLogitsProcessor(model)],
    "layer_fusion": lambda model, other: [
        LayerFusionLogitsProcessor(model, GPT2.build(), layers=[1, 2], guide=PromptAmateur(model, other), refocus_weight=0.5)
    ],
}


def given_prompts(model: PreTrainedModel) -> tuple[list[list[int]], Prompts]:
    """Prompts, two of which begin alike, and other ones."""
    ids, mask = prompts(model, (11, 7, 12))
    rows = [row[kept.bool()].tolist() for row, kept in zip(ids, mask, strict=True)]
    rows[2][:9] = rows[0][:9]
    other, other_mask = prompts(model, (5, 9, 6))
    return rows, {"input_ids": other, "attention_mask": other_mask}


def generated(model: PreTrainedModel, ids: list[int], decoder: list[Any]) -> tuple[list[int], Tensor]:
    """A greedy text, and the log-softmax of the scores that chose its tokens ``[steps, vocabulary]``."""
    output = model.generate(
        torch.tensor([ids]),
        logits_processor=decoder,
        max_new_tokens=STEPS,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
        return_dict_in_generate=True,
        output_scores=True,
    )
    return output.sequences[0, -STEPS:].tolist(), torch.cat(output.scores).float().log_softmax(dim=-1)


def l6_scoring_gives_what_generation_used(model: PreTrainedModel, make: Make) -> None:
    """Texts that ``generate`` wrote get the log-probabilities of its scores, whatever texts are scored beside them."""
    rows, other = given_prompts(model)
    continuations, expected = [], []
    for index, row in enumerate(rows):
        own = other["attention_mask"][index].bool()
        alone = make(model, {name: tensor[index : index + 1, own] for name, tensor in other.items()})
        tokens, log_probabilities = generated(model, row, alone)
        continuations.append([tokens, [*tokens[:4], tokens[0], 7], tokens[:2]])
        expected.append(log_probabilities.gather(1, torch.tensor(tokens)[:, None])[:, 0])
    found = score(model, None, rows, continuations, make(model, other))
    for scores, log_probabilities, texts in zip(found, expected, continuations, strict=True):
        assert [list(each.tokens) for each in scores] == texts
        text, fork, beginning = (torch.tensor(each.log_probabilities) for each in scores)
        torch.testing.assert_close(text, log_probabilities, **CLOSE)
        torch.testing.assert_close(fork[:4], log_probabilities[:4], **CLOSE)
        torch.testing.assert_close(beginning, log_probabilities[:2], **CLOSE)


@pytest.mark.parametrize("name", DECODERS)
def test_l6_every_decoder(name: str) -> None:
    l6_scoring_gives_what_generation_used(LLAMA.build(), DECODERS[name])


@pytest.mark.parametrize("family", ALL, ids=str)
def test_l6_every_family(family: Family) -> None:
    l6_scoring_gives_what_generation_used(family.build(), DECODERS["penalties"])


@pytest.mark.parametrize("family", [family for family in ALL if family.kind != "encoder_decoder"], ids=str)
def test_l6_amateurs_of_every_family(family: Family) -> None:
    def make(model: PreTrainedModel, other: Prompts) -> list[Any]:
        return [ContrastiveDecodingLogitsProcessor(PromptAmateur(family.build(), other)), DoLaLogitsProcessor(model, layers=[1])]

    l6_scoring_gives_what_generation_used(LLAMA.build(), make if family.name != "recurrent_gemma" else DECODERS["dola"])


@pytest.mark.parametrize("name", ["gpt2", "bloom", "mamba", "bart"])
def test_l6_texts_before_each_position(name: str) -> None:
    l6_scoring_gives_what_generation_used(FAMILY[name].build(), DECODERS["frustratingly_simple"])


@pytest.mark.parametrize("name", ["gpt2", "bloom", "mamba", "opt_350m", "gemma3_sliding", "falcon_h1", "mpt"])
def test_l6_states_before_each_position(name: str) -> None:
    l6_scoring_gives_what_generation_used(FAMILY[name].build(), DECODERS["frustratingly_simple_by_states"])


@pytest.mark.parametrize("family", ENCODER_DECODER, ids=str)
def test_l6_encoder_decoder_contrast(family: Family) -> None:
    def make(model: PreTrainedModel, other: Prompts) -> list[Any]:
        ids, mask = (tensor.flip(1) for tensor in other.values())  # padded on the right
        amateur = EncoderDecoderAmateur(model, {"input_ids": ids, "attention_mask": mask})
        return [ContrastiveDecodingLogitsProcessor(amateur)]

    l6_scoring_gives_what_generation_used(family.build(), make)


@pytest.mark.parametrize("kind", [ContextAwareLogitsProcessor, AdaCADLogitsProcessor, COIECDLogitsProcessor, M3IDLogitsProcessor])
def test_l6_contexts_in_an_encoder(kind: Any) -> None:
    def make(model: PreTrainedModel, other: Prompts) -> list[Any]:
        return [kind(model, {name: tensor.flip(1) for name, tensor in other.items()})]  # padded on the right

    l6_scoring_gives_what_generation_used(FAMILY["bart"].build(), make)


@pytest.mark.parametrize("name", ["contrastive_decoding", "last_token", "another_prompt"])
def test_l6_decoder_only_amateurs_of_an_encoder_decoder_model(name: str) -> None:
    """They read what the decoder has written, whatever the encoder reads."""

    def another_prompt(model: PreTrainedModel, other: Prompts) -> list[Any]:
        return [ContrastiveDecodingLogitsProcessor(PromptAmateur(GPT2.build(), other))]

    l6_scoring_gives_what_generation_used(FAMILY["bart"].build(), (DECODERS | {"another_prompt": another_prompt})[name])


class Counting:
    """An amateur that someone else wrote: it knows how many tokens there are, no more."""

    def logits(self, input_ids: Tensor) -> Tensor:
        return (torch.arange(96) * input_ids.shape[1] + input_ids[:, -1:]).remainder(7).float()


def test_l6_amateurs_of_other_hands() -> None:
    l6_scoring_gives_what_generation_used(LLAMA.build(), lambda *_: [ContrastiveDecodingLogitsProcessor(Counting())])


def reference(model: PreTrainedModel, prompt: list[int], continuation: list[int]) -> list[float]:
    """Log-probabilities by one forward of one text."""
    logits = model(torch.tensor([[*prompt, *continuation]])).logits[0].detach().double().log_softmax(dim=-1)
    return [float(logits[len(prompt) - 1 + step, token]) for step, token in enumerate(continuation)]


words = st.lists(st.integers(4, 9), min_size=1, max_size=14)  # few words, so that texts begin alike


@settings(max_examples=40)
@given(st.lists(st.tuples(words, st.lists(words, min_size=0, max_size=4)), min_size=1, max_size=4), st.sampled_from([1, 7, 10**6]))
@pytest.mark.parametrize("name", ["gpt2", "mistral_sliding", "gemma3_sliding", "bloom"])
def test_whatever_is_shared_and_however_it_is_batched(name: str, texts: list[Any], batch_tokens: int) -> None:
    model = FAMILY[name].build()
    asked, answers = [prompt for prompt, _ in texts], [continuations for _, continuations in texts]
    found = list(score_each(model, None, asked, answers, batch_tokens=batch_tokens))
    expected = [[reference(model, prompt, each) for each in continuations] for prompt, continuations in texts]
    assert [[each.tokens for each in scores] for scores in found] == [[tuple(each) for each in some] for some in answers]
    for scores, values in zip(found, expected, strict=True):
        for each, log_probabilities in zip(scores, values, strict=True):
            torch.testing.assert_close(list(each.log_probabilities), log_probabilities, **CLOSE)
            assert each.total == pytest.approx(sum(log_probabilities), abs=1e-3)


def test_amateurs_share_the_primer_too(expert: PreTrainedModel, amateur: PreTrainedModel) -> None:
    """What all prompts begin with is read once by each model, and no token that only ends a text at all."""
    lengths: dict[PreTrainedModel, list[int]] = {expert: [], amateur: []}
    handles = [
        model.register_forward_pre_hook(lambda *call, seen=seen: seen.append(call[2]["input_ids"].shape[1]), with_kwargs=True)
        for model, seen in lengths.items()
    ]
    primer = list(range(100, 150))
    asked = [[*primer, 7, 8], [*primer, 9], [*primer, 7, 9]]
    score(expert, None, asked, [[[11, 12, 13], [11, 14]]] * 3, ContrastiveDecodingLogitsProcessor(amateur), batch_tokens=1)
    for handle in handles:
        handle.remove()
    answers = 2  # "11 12" and the beginning of "11 14" are the same 11
    assert lengths[amateur][-3:] == lengths[expert][-3:] == [52 + answers, 1 + answers, 2 + answers]


def test_rows_share_the_primer_too() -> None:
    """Where there is no tree, a prompt is read as one row before its continuations are, and a primer once."""
    model, shapes = FAMILY["bloom"].build(), []
    handle = model.register_forward_pre_hook(lambda *call: shapes.append(tuple(call[2]["input_ids"].shape)), with_kwargs=True)
    primer = list(range(20, 70))
    asked = [[*primer, 7, 8], [*primer, 9], [*primer, 7, 9]]
    score(model, None, asked, [[[11, 12, 13], [11, 14]]] * 3, batch_tokens=1)
    handle.remove()
    assert shapes[-5:] == [(1, 51), (2, 3), (2, 3), (1, 1), (2, 3)]


def test_text_and_its_tokens(expert: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    prompt, text = "The captain of the", " ship was old."
    ((found,),) = score(expert, tokenizer, [prompt], [[text]])
    both = tokenizer(prompt + text)["input_ids"]
    before = len(tokenizer(prompt)["input_ids"])
    assert list(found.tokens) == both[before:]
    assert found.log_probabilities == pytest.approx(reference(expert, both[:before], both[before:]), abs=1e-4)


def test_a_token_over_the_border_counts_to_the_continuation(expert: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    ids = tokenizer("The captain whatever")["input_ids"]
    ((found,),) = score(expert, tokenizer, ["The captain w"], [["hatever"]])
    shared = len(ids) - len(found.tokens)
    assert list(found.tokens) == ids[shared:]
    assert tokenizer.decode(ids[:shared]) == "The captain"
    assert found.log_probabilities == pytest.approx(reference(expert, ids[:shared], ids[shared:]), abs=1e-4)


def test_not_renormalised_is_the_contrast_itself() -> None:
    model, other = LLAMA.build(), GPT2.build()
    prompt, text = [5, 6, 7], [8, 9, 10, 11]
    decoder = ContrastiveDecodingLogitsProcessor(other, alpha=0.0)
    ((found,),) = score(model, None, [prompt], [[text]], decoder, renormalise=False)
    ratio = [p - q for p, q in zip(reference(model, prompt, text), reference(other, prompt, text), strict=True)]
    assert found.log_probabilities == pytest.approx(ratio, abs=1e-4)
    assert not found.renormalised
    ((normal,),) = score(model, None, [prompt], [[text]], decoder)
    assert normal.renormalised
    assert normal.total != pytest.approx(found.total, abs=0.1)
    ((plain,),) = score(model, None, [prompt], [[text]], renormalise=False)
    assert plain.log_probabilities == pytest.approx(reference(model, prompt, text), abs=1e-4)


def test_banned_tokens_are_minus_infinity_or_what_the_caller_says() -> None:
    def no_nine(input_ids: Tensor, scores: Tensor) -> Tensor:
        return scores.index_fill(1, torch.tensor([9]), -torch.inf)

    ((banned, other),) = score(LLAMA.build(), None, [[5, 6]], [[[8, 9], [8, 10]]], [no_nine])
    assert banned.total == banned.log_probabilities[1] == -math.inf
    assert math.isfinite(other.total)
    ((filled, _),) = score(LLAMA.build(), None, [[5, 6]], [[[8, 9], [8, 10]]], [no_nine], banned=-1000.0)
    assert filled.log_probabilities == (banned.log_probabilities[0], -1000.0)


def test_nothing_underflows() -> None:
    def steep(input_ids: Tensor, scores: Tensor) -> Tensor:
        return scores * 1e4

    ((found,),) = score(LLAMA.build(), None, [[5, 6]], [[[8] * 50]], [steep])
    assert -math.inf < found.total < -1e5


def test_decoders_that_only_select_have_no_score() -> None:
    model = LLAMA.build()
    for decoder in (contrastive_search, adaptive_contrastive_search, [ContrastiveSearchLogitsProcessor(model)]):
        with pytest.raises(ValueError, match=r"decoder=\w+: the probability of a text is undefined"):
            score(model, None, [[5]], [[[6]]], decoder)


def test_errors_come_before_any_forward(expert: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    model = LLAMA.build()
    with pytest.raises(ValueError, match="another LlamaForCausalLM than model"):
        score(model, None, [[5]], [[[6]]], DoLaLogitsProcessor(FAMILY["mistral_sliding"].build() and expert))
    with pytest.raises(ValueError, match="at least one token is needed on both sides"):
        score(expert, tokenizer, ["The whale"], [[""]])
    with pytest.raises(ValueError, match="exceed the model's context of 256"):
        score(model, None, [[5] * 250], [[[6] * 8]])
    with pytest.raises(ValueError, match="both text, with tokenizer=, or both tokens"):
        score(model, None, ["text"], [[[6]]])
    with pytest.raises(TypeError, match="prompts is one text; pass a list of texts"):
        score(expert, tokenizer, "The ship", [[" a"]] * 8)
    with pytest.raises(TypeError, match="continuations has a text where a list is"):
        score(expert, tokenizer, ["The ship"], [" a"])
    with pytest.raises(ValueError, match="1 lists of continuations for 2 prompts"):
        score(model, None, [[5], [6]], [[[6]]])
    other = PromptAmateur(model, {"input_ids": torch.tensor([[5], [6]])})
    with pytest.raises(ValueError, match="prompt has 2 rows for 3 prompts"):
        score(model, None, [[5]] * 3, [[[6]]] * 3, ContrastiveDecodingLogitsProcessor(other))


def test_a_prefix_tree_is_its_sequences() -> None:
    tree = PrefixTree([[5, 6, 7], [5, 6, 8, 9], [5, 6], [5, 6, 7]])
    assert (tree.tokens, tree.parents, tree.depths, tree.trunk) == ([5, 6, 7, 8, 9], [-1, 0, 1, 1, 3], [0, 1, 2, 2, 3], 2)
    assert tree.ancestors().long().tolist() == [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 0, 1, 0], [1, 1, 0, 1, 1]]
    texts = GivenTexts([(5, 6), (5, 6)], [(7, 1), (7, 2, 3)], [0, 1], 2)
    assert (texts.tree.tokens, texts.positions, texts.where) == ([5, 6, 7, 2], [(0, 0), (0, 1), (1, 2)], [[0, 1], [0, 1, 2]])


@given(st.lists(st.lists(st.integers(5, 7), min_size=1, max_size=6), min_size=1, max_size=4), st.data())
def test_what_is_held_is_left_out_of_the_rows(sequences: list[list[int]], data: st.DataObject) -> None:
    tree = PrefixTree(sequences)
    held = data.draw(st.integers(0, tree.trunk))
    assert torch.equal(tree.ancestors(held), tree.ancestors()[held:])


def test_a_long_prompt_needs_no_mask_of_all_by_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read causally first, and the scores are those of one forward."""
    model: Any = LLAMA.build()
    prompt, continuations = torch.randint(3, 90, (200,)).tolist(), [[5, 6, 7], [5, 8]]
    shapes = []
    made = text_forward.tree_masks

    def noted(*arguments: Any) -> Any:
        shapes.append(made(*arguments).shape)
        return made(*arguments)

    monkeypatch.setattr(text_forward, "tree_masks", noted)
    monkeypatch.setattr(text_forward, "LONG", 100)
    (found,) = score(model, None, [prompt], [continuations])
    assert [shape[2] for shape in shapes] == [3], "of the prompt its last token, which predicts, then 5 and 6"
    for each, continuation in zip(found, continuations, strict=True):
        logits = model(torch.tensor([prompt + continuation])).logits[0, len(prompt) - 1 : -1].float().log_softmax(dim=-1)
        expected = logits.gather(1, torch.tensor(continuation)[:, None]).flatten().tolist()
        assert each.log_probabilities == pytest.approx(expected, abs=1e-4)


def test_each_side_of_an_encoder_decoder_model_has_the_context_to_itself() -> None:
    model: Any = FAMILY["bart"].build()
    room = context_length(model)
    assert room is not None
    prompt, continuation = [5] * room, [6] * room
    ((found,),) = score(model, None, [prompt], [[continuation]])
    assert len(found.tokens) == room
    with pytest.raises(ValueError, match=f"exceed the model's context of {room}"):
        score(model, None, [prompt], [[[*continuation, 6]]])


def broken(monkeypatch: pytest.MonkeyPatch, target: Any, name: str, value: Any, make: Make) -> None:
    """The law holds for the library and not for this defect."""
    l6_scoring_gives_what_generation_used(LLAMA.build(), make)
    monkeypatch.setattr(target, name, value)
    with pytest.raises(AssertionError):
        l6_scoring_gives_what_generation_used(LLAMA.build(), make)


def test_l6_texts_that_see_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def every(self: PrefixTree, held: int = 0) -> Tensor:
        number = len(self.tokens)
        return torch.ones(number - held, number, dtype=torch.bool).tril(held)

    broken(monkeypatch, PrefixTree, "ancestors", every, DECODERS["model"])


def test_l6_positions_that_count_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    add = PrefixTree.add

    def slots(self: PrefixTree, sequence: Any) -> None:
        add(self, sequence)
        self.depths = list(range(len(self.tokens)))

    broken(monkeypatch, PrefixTree, "add", slots, DECODERS["model"])


@pytest.mark.parametrize("alpha", [0.0, 0.1])
def test_masking_before_and_after_normalising(alpha: float) -> None:
    """Ours bans what is not plausible and then normalises; the released codes the other way round, and give the banned -1000."""
    model, amateur = FAMILY["llama"].build(), FAMILY["gpt2"].build()
    prompt = prompts(model, (6,))[0]
    greedy = model.generate(prompt, max_new_tokens=4, do_sample=False, pad_token_id=0, eos_token_id=None)
    answer = [*greedy[0, 6:].tolist(), 7]
    prompt = prompt[0].tolist()
    ours = released = 0.0
    for place, token in enumerate(answer):
        text = torch.tensor([prompt + answer[:place]])
        p, q = (each(text).logits[0, -1].double().softmax(-1) for each in (model, amateur))
        kept, ratio = p >= alpha * p.max(), p / q
        ours += float((ratio / ratio[kept].sum()).log()[token]) if kept[token] else -1000.0
        released += float((ratio / ratio.sum()).log()[token]) if kept[token] else -1000.0

    def total(form: Any, renormalise: bool) -> float:
        decoder = ContrastiveDecodingLogitsProcessor(amateur, alpha=alpha, form=form)
        return scoring.score(model, None, [prompt], [[answer]], decoder, renormalise=renormalise, banned=-1000.0)[0][0].total

    assert total(likelihood_ratio, True) == pytest.approx(ours, abs=1e-3)
    assert total(released_normalised_ratio, False) == pytest.approx(released, abs=1e-3)
    assert (abs(ours - released) > 0.1) == (alpha > 0)


def test_l6_an_amateur_under_the_wrong_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    broken(monkeypatch, GivenTexts, "under", lambda self, prompts: self, DECODERS["context_aware"])


def test_l6_states_of_the_next_position(monkeypatch: pytest.MonkeyPatch) -> None:
    states = scoring.TextOutputs.states
    broken(monkeypatch, scoring.TextOutputs, "states", lambda self, tap: states(self, tap).roll(1, 1), DECODERS["dola"])


def test_l6_texts_of_the_next_position(monkeypatch: pytest.MonkeyPatch) -> None:
    before = GivenTexts.before
    broken(monkeypatch, GivenTexts, "before", lambda self, *at: before(self, *at)[:-1], DECODERS["frustratingly_simple"])


def test_l6_padding_that_counts_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    text = scoring.TextOutputs.text

    def unpadded(self: Any) -> tuple[Tensor, Tensor]:
        ids, seen = text(self)
        return ids.masked_fill(~seen, 7), torch.ones_like(seen)

    broken(monkeypatch, scoring.TextOutputs, "text", unpadded, DECODERS["frustratingly_simple"])


def test_l6_states_of_another_text(monkeypatch: pytest.MonkeyPatch) -> None:
    states, make = scoring.TextOutputs.text_states, DECODERS["frustratingly_simple_by_states"]
    broken(monkeypatch, scoring.TextOutputs, "text_states", lambda self, reader: states(self, reader).roll(1, 0), make)


def test_l6_branches_left_in_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    masks = text_forward.tree_masks
    broken(monkeypatch, text_forward, "tree_masks", lambda *call: masks(*call).roll(1, -1), DECODERS["model"])
