"""Speculative contrastive decoding gives what plain contrastive decoding gives, in every mode, or says why it cannot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from functools import cache, partial
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import (
    DynamicCache,
    NoRepeatNGramLogitsProcessor,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StopStringCriteria,
    TemperatureLogitsWarper,
)

import contrast_references as references
from contrast_cases import sibling
from counterpoint.decoders import (
    AdapterAmateur,
    ContrastiveDecodingLogitsProcessor,
    ModelAmateur,
    PooledAmateur,
    PromptAmateur,
    candidate_method,
    extrapolation,
    likelihood_ratio,
    log_ratio,
    released_induce_then_contrast,
    speculative_contrastive_decoding,
)
from counterpoint.decoders.forwards.rewindable_model import RewindableModel
from counterpoint.decoders.hf.caches import CACHE
from counterpoint.decoders.speculative import speculative_contrastive_decoding as speculative
from counterpoint.decoders.speculative.drafts import AmateurSource, Draft, Drafter, Repetition, Source, Track
from counterpoint.decoders.speculative.speculative_contrastive_decoding import speculative_draw
from families import FAMILY, VOCABULARY, prompts
from laws import Listener

LLAMA = FAMILY["llama"]
STEPS = 64
PLAIN: dict[str, Any] = {"max_new_tokens": STEPS, "do_sample": False, "pad_token_id": 0, "eos_token_id": None, "use_cache": True}
SOME = [
    "llama", "gpt2", "mistral_sliding", "gemma3_sliding", "qwen2_sliding", "gpt_oss_sliding", "bloom", "opt", "falcon_alibi", "mpt",
    "gpt_neo_local", "llama4_chunked", "gptj",
]  # fmt: skip
HALF = partial(extrapolation, beta=0.5)


@pytest.fixture
def own_costs() -> None:
    """For tests of when drafts are left out."""


@pytest.fixture(autouse=True)
def drafts_are_made(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Toy models draft from the first step on and where that saves no time, so that drafts are tested on any machine."""
    begin = Drafter.__init__

    def begin_with_a_cost(self: Drafter, sources: list[Source], most: int) -> None:
        begin(self, sources, most)
        self.plain = 1.0

    if "own_costs" not in request.fixturenames:
        monkeypatch.setattr(Drafter, "__init__", begin_with_a_cost)
        monkeypatch.setattr(Track, "may_draft", lambda self, allowed: True)


@cache
def near(name: str) -> PreTrainedModel:
    """An amateur that often agrees with the family's toy model."""
    family = FAMILY[name]
    model = deepcopy(family.build())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * weight.std() * 0.1 if weight.numel() > 1 else 0)
    return model.eval()


def ours(model: PreTrainedModel, ids: Tensor, amateur: object, **kwargs: Any) -> Any:
    """What speculative contrastive decoding gives."""
    arguments = {"attention_mask": torch.ones_like(ids)} | PLAIN | kwargs
    return model.generate(ids, custom_generate=speculative_contrastive_decoding, amateur=amateur, **arguments)


def plain(
    model: PreTrainedModel,
    ids: Tensor,
    amateur: Any,
    alpha: float = 0.1,
    form: Any = likelihood_ratio,
    before: Any = (),
    **kwargs: Any,
) -> Any:
    """What the logits processor gives, behind the processors ``before``."""
    processors = [*before, ContrastiveDecodingLogitsProcessor(amateur, alpha=alpha, form=form)]
    arguments = {"attention_mask": torch.ones_like(ids)} | PLAIN | kwargs
    return model.generate(ids, logits_processor=processors, **arguments)


def same_tokens(name: str, amateur: PreTrainedModel | None = None, **kwargs: Any) -> None:
    """The law: token for token the plain loop's."""
    model = FAMILY[name].build()
    amateur = near(name) if amateur is None else amateur
    ids, _ = prompts(model, (9,))
    settings = {key: value for key, value in kwargs.items() if key != "draft_tokens"}
    assert ours(model, ids, amateur, **kwargs).tolist() == plain(model, ids, amateur, **settings).tolist()


@pytest.mark.parametrize("name", SOME)
def test_is_plain_contrastive_decoding(name: str) -> None:
    same_tokens(name, form=HALF)
    same_tokens(name, sibling(FAMILY[name]), form=HALF, draft_tokens=3)


@pytest.mark.parametrize("draft_tokens", [0, 1, 3, 8])
@pytest.mark.parametrize("alpha", [0.0, 0.1, 1.0])
def test_draft_lengths_and_plausible_sets(draft_tokens: int, alpha: float) -> None:
    same_tokens("llama", alpha=alpha, draft_tokens=draft_tokens)


@pytest.mark.parametrize("form", [likelihood_ratio, log_ratio, released_induce_then_contrast, partial(extrapolation, beta=2.0)])
def test_forms(form: Callable[[Tensor, Tensor], Tensor]) -> None:
    same_tokens("mistral_sliding", form=form, alpha=0.3)


@pytest.mark.parametrize("form", [likelihood_ratio, HALF])
def test_embedded_pair(
    expert: PreTrainedModel, amateur: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, form: Callable[[Tensor, Tensor], Tensor]
) -> None:
    ids = tokenizer("My fellow citizens, I have", return_tensors="pt").input_ids
    candidate_method(expert)  # is measured once for a model
    forwards: list[int] = []
    handle = expert.register_forward_hook(lambda module, arguments, output: forwards.append(1))
    found = ours(expert, ids, amateur, form=form, max_new_tokens=80)
    handle.remove()
    assert found.tolist() == plain(expert, ids, amateur, form=form, max_new_tokens=80).tolist()
    assert len(forwards) < 80


def test_expert_that_is_its_own_amateur_is_drafted_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """With beta 0 the contrast is the expert, which then drafts for itself: nothing is rejected, though it saves no time."""
    monkeypatch.setattr(Repetition, "draft", lambda self, new, most: Draft())
    model = LLAMA.build()
    ids, _ = prompts(model, (9,))
    forwards: list[int] = []
    amateur = deepcopy(model)
    ours(model, ids, amateur, max_new_tokens=2)  # which measures the model, by forwards that are not counted
    handle = model.register_forward_hook(lambda module, arguments, output: forwards.append(output.logits.shape[1]))
    ours(model, ids, amateur, form=partial(extrapolation, beta=0.0), alpha=0.0)
    handle.remove()
    assert sum(forwards) == STEPS  # a token for each position that was read
    assert len(forwards) < STEPS / 2


def test_padding_stop_and_length() -> None:
    model, amateur = LLAMA.build(), near("llama")
    ids, mask = prompts(model, (9, 6))
    row, row_mask = ids[1:], mask[1:]
    unpadded = ours(model, row[:, 3:], amateur)
    assert ours(model, row, amateur, attention_mask=row_mask)[:, 9:].tolist() == unpadded[:, 6:].tolist()
    free = unpadded[0, 6:].tolist()
    for eos in dict.fromkeys(free[:12]):
        stopped = ours(model, row[:, 3:], amateur, eos_token_id=eos)[0, 6:].tolist()
        assert stopped == free[: free.index(eos) + 1]
    for length in (1, 2, 7):
        assert ours(model, row[:, 3:], amateur, max_new_tokens=length)[0, 6:].tolist() == free[:length]


def test_stop_strings(expert: PreTrainedModel, amateur: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    ids = tokenizer("It was the", return_tensors="pt").input_ids
    text = tokenizer.decode(ours(expert, ids, amateur, form=HALF)[0])
    stop = [StopStringCriteria(tokenizer, [text[60:63]])]
    found = ours(expert, ids, amateur, form=HALF, stopping_criteria=stop)
    assert found.tolist() == plain(expert, ids, amateur, form=HALF, stopping_criteria=stop).tolist()
    assert found.shape[1] < ids.shape[1] + STEPS


@pytest.mark.parametrize(
    "kwargs",
    [{"repetition_penalty": 1.5}, {"no_repeat_ngram_size": 2}, {"suppress_tokens": list(range(4, 60))}, {"min_new_tokens": 20}],
    ids=lambda kwargs: next(iter(kwargs)),
)
def test_processors_shape_the_expert(kwargs: dict[str, Any]) -> None:
    same_tokens("llama", form=HALF, **kwargs)


def test_own_processors_are_called_once_a_token_in_order() -> None:
    model, amateur = LLAMA.build(), near("llama")
    ids, _ = prompts(model, (9,))
    lengths: list[int] = []

    def count(input_ids: Tensor, scores: Tensor) -> Tensor:
        lengths.append(input_ids.shape[1])
        scores[:, 5] = -torch.inf
        return scores

    found = ours(model, ids, amateur, form=HALF, logits_processor=[count, TemperatureLogitsWarper(0.7)])
    assert lengths == list(range(9, 9 + STEPS))
    assert found.tolist() == plain(model, ids, amateur, form=HALF, before=[count]).tolist()
    twice = [NoRepeatNGramLogitsProcessor(2)]
    assert (
        ours(model, ids, amateur, form=HALF, logits_processor=twice).tolist()
        == plain(model, ids, amateur, form=HALF, before=twice).tolist()
    )


def test_outputs_mean_what_they_say() -> None:
    model, amateur = LLAMA.build(), near("llama")
    ids, _ = prompts(model, (9,))
    before = ids.clone()
    wanted: dict[str, Any] = {
        "return_dict_in_generate": True,
        "output_scores": True,
        "output_logits": True,
        "repetition_penalty": 1.2,
    }
    found, expected = (run(model, ids, amateur, form=HALF, **wanted) for run in (ours, plain))
    assert torch.equal(ids, before)
    assert found.sequences.tolist() == expected.sequences.tolist()
    for name in ("scores", "logits"):
        one, other = torch.cat(found[name]), torch.cat(expected[name])
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", ["llama", "mistral_sliding", "bloom"])
def test_continues_from_its_own_cache(name: str) -> None:
    model, amateur = FAMILY[name].build(), near(name)
    ids, _ = prompts(model, (9,))
    whole = ours(model, ids, amateur, form=HALF)
    first = ours(model, ids, amateur, form=HALF, max_new_tokens=20, return_dict_in_generate=True)
    cache_ = first[CACHE]
    assert cache_.get_seq_length() == first.sequences.shape[1] - 1
    again = ours(model, first.sequences, amateur, form=HALF, max_new_tokens=STEPS - 20, **{CACHE: cache_})
    assert again.tolist() == whole.tolist()
    cache_ = ours(model, ids, amateur, form=HALF, max_new_tokens=20, return_dict_in_generate=True)[CACHE]
    greedy = model.generate(first.sequences, attention_mask=torch.ones_like(first.sequences), **{CACHE: cache_}, **PLAIN)
    fresh = model.generate(first.sequences, attention_mask=torch.ones_like(first.sequences), **PLAIN)
    assert greedy.tolist() == fresh.tolist()


def test_streams_and_is_reusable() -> None:
    model, amateur = LLAMA.build(), ModelAmateur(near("llama"))
    ids, _ = prompts(model, (9,))
    other, _ = prompts(model, (5,))
    listener = Listener()
    first = ours(model, ids, amateur, streamer=listener)
    assert listener.tokens == first[0].tolist()
    assert listener.ended
    ours(model, other, amateur)
    assert ours(model, ids, amateur).tolist() == first.tolist()
    assert ours(model, ids, amateur, prefill_chunk_size=4).tolist() == first.tolist()
    assert ours(model, ids, amateur, **{CACHE: DynamicCache()}).tolist() == first.tolist()
    assert ours(model, ids, near("llama").to(torch.float64)).tolist() == first.tolist()
    near("llama").to(torch.float32)


def test_other_amateurs() -> None:
    model = LLAMA.build()
    ids, _ = prompts(model, (9,))
    other, _ = prompts(model, (4,))
    amateur = PromptAmateur(model, {"input_ids": other})
    assert ours(model, ids, amateur, form=HALF).tolist() == plain(model, ids, amateur, form=HALF).tolist()
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    adapted = peft.get_peft_model(
        deepcopy(model), peft.LoraConfig(target_modules=["q_proj", "v_proj"], init_lora_weights="gaussian", r=4)
    )
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(std=0.3)
    adapted.base_model.disable_adapter_layers()
    base, adapter = adapted.get_base_model(), AdapterAmateur(adapted)
    assert ours(base, ids, adapter, form=HALF).tolist() == plain(base, ids, adapter, form=HALF).tolist()


# Sampling


def chi_square(counts: Counter[tuple[int, ...]], expected: dict[tuple[int, ...], float]) -> tuple[float, float]:
    """The statistic, rare outcomes pooled, and a bound that the right distribution passes but once in many thousand times."""
    total = sum(counts.values())
    assert set(counts) <= {outcome for outcome, p in expected.items() if p > 0}, "something impossible was drawn"
    cells = [(counts[outcome], total * p) for outcome, p in expected.items() if total * p >= 5]
    seen, mean = (total - sum(column) for column in zip(*cells, strict=True))
    cells += [(seen, mean)] if mean >= 5 else []
    freedom = len(cells) - 1
    return sum((found - mean) ** 2 / mean for found, mean in cells), freedom + 5 * (2 * freedom) ** 0.5


P = torch.tensor([0.5, 0.2, 0.2, 0.1, 0.0])
Q = torch.tensor([0.1, 0.6, 0.0, 0.2, 0.1])


def draws_are_of_p(certain: bool = False) -> None:
    """The law of one draw: whatever is proposed, what comes out is of distribution p."""
    torch.manual_seed(1)
    counts: Counter[tuple[int, ...]] = Counter()
    for _ in range(4000):
        guess, proposal = (1, None) if certain else (int(torch.multinomial(Q, 1)), Q)
        counts[speculative.speculative_draw(P, guess, proposal),] += 1
    statistic, bound = chi_square(counts, {(token,): float(p) for token, p in enumerate(P)})
    assert statistic < bound


@pytest.mark.parametrize("certain", [False, True], ids=["drawn", "certain"])
def test_a_draw_is_of_p(certain: bool) -> None:
    draws_are_of_p(certain)


@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=6), st.integers(0, 1))
def test_a_proposal_that_is_right_is_accepted(weights: list[float], guess: int) -> None:
    p = torch.tensor(weights) / sum(weights)
    assert speculative_draw(p, guess, p) == guess


MAX_ROWS = [5, 11, 17, 40]


def samples_are_of_the_contrast(name: str = "llama", samples: int = 700) -> None:
    """The law of sampled texts: three tokens, of four allowed ones, come as often as the contrast from scratch says."""
    model, amateur = FAMILY[name].build(), near(name)
    ids, _ = prompts(model, (5,))

    def allowed(input_ids: Tensor, scores: Tensor) -> Tensor:
        kept = torch.full_like(scores, -torch.inf)
        kept[:, MAX_ROWS] = scores[:, MAX_ROWS] / 2
        return kept

    expected: dict[tuple[int, ...], float] = {}
    for tokens in product(MAX_ROWS, repeat=3):
        p = 1.0
        for position in range(3):
            text = torch.cat([ids[0], torch.tensor(tokens[:position], dtype=torch.long)])
            scores = allowed(ids, references.logits_after(model, text)[None])[0]
            contrasted = references.contrast(scores, references.logits_after(amateur, text), references.power(0.5), 0.05)
            p *= float((contrasted / 1.3).softmax(-1)[tokens[position]])
        expected[tokens] = p
    arguments: dict[str, Any] = {
        "do_sample": True,
        "temperature": 1.3,
        "top_k": 0,
        "max_new_tokens": 3,
        "alpha": 0.05,
        "form": HALF,
    }
    counts: Counter[tuple[int, ...]] = Counter()
    for seed in range(samples):
        torch.manual_seed(seed)
        counts[tuple(ours(model, ids, amateur, logits_processor=[allowed], **arguments)[0, 5:].tolist())] += 1
    statistic, bound = chi_square(counts, expected)
    assert statistic < bound


@pytest.mark.slow
def test_samples_are_of_the_contrast() -> None:
    samples_are_of_the_contrast()


# Drafts


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(1, 8))
def test_repetitions_are_the_texts_own(text: list[int], most: int) -> None:
    half = len(text) // 2
    source = Repetition(text[:half], most=8)
    tokens = source.draft(torch.tensor([text[half:]]), most).tokens
    for length in (3, 2, 1):
        ends = [end for end in range(length, len(text)) if text[end - length : end] == text[len(text) - length :]]
        if length <= len(text) and ends:
            own = text[ends[-1] :]
            assert tokens == [own[index % len(own)] for index in range(most)]
            return
    assert tokens == []


def costs(drafter: Drafter, tokens: int, accept: Callable[[int], int], cost: float) -> tuple[float, int]:
    """Plain steps' worth of time for so many tokens, a step with a draft costing ``cost``, and the number of drafts."""
    spent, drafts, written = 0.0, 0, 0
    while written < tokens:
        draft = drafter.draft(torch.tensor([[7]]), room=8)
        accepted = min(accept(written), len(draft.tokens))
        own = cost if draft.tokens else 1.0
        drafter.learn(draft, accepted, 0.01 * own)  # whatever the unit
        spent, drafts, written = spent + own, drafts + bool(draft.tokens), written + accepted + 1
    return spent, drafts


def check_losses_are_bounded() -> None:
    """Whatever becomes of the drafts, all of them together cost a twentieth of plain decoding's time."""
    for cost in (1.5, 3.0, 6.0):
        for accept in (lambda at: 0, lambda at: at % 2, lambda at: 8 if at < 100 else 0):
            for tokens in (64, 400):
                spent, _ = costs(Drafter([Repetition([7] * 4, most=8)], most=8), tokens, accept, cost)
                assert spent <= tokens / 0.95 + cost / 2  # what a first draft of unknown cost takes


@pytest.mark.usefixtures("own_costs")
def test_losses_are_bounded() -> None:
    check_losses_are_bounded()


def test_catches_drafts_that_go_on_losing() -> None:
    with pytest.raises(AssertionError):
        check_losses_are_bounded()


@pytest.mark.usefixtures("own_costs")
def test_drafts_that_pay_go_on() -> None:
    """Three of four drafted tokens for the price of two steps: a step in 64 is left to tell what plain decoding costs."""
    spent, drafts = costs(Drafter([Repetition([7] * 4, most=8)], most=8), 400, lambda at: 3, 2.0)
    assert drafts >= 95
    assert spent < 0.55 * 400


@pytest.mark.usefixtures("own_costs")
def test_nothing_is_drafted_without_room() -> None:
    source = Repetition([7] * 4, most=8)
    drafter = Drafter([source], most=8)
    for _ in range(2):
        drafter.learn(drafter.draft(torch.tensor([[7]]), room=8), 0, 1.0)
    assert drafter.draft(torch.tensor([[7]]), room=2).tokens == [7, 7]
    assert drafter.draft(torch.tensor([[7]]), room=0).tokens == []


def test_lengths_follow_what_was_right() -> None:
    track = Track(most=16)
    track.learn(4, 4, 2.0)
    track.learn(8, 8, 2.0)
    assert track.length == 16
    track.learn(16, 6, 2.0)
    assert track.length == 7
    track.learn(7, 0, 2.0)
    assert track.length == 3


# Refusals


def pooled(model: PreTrainedModel) -> Any:
    return PooledAmateur([ModelAmateur(model)])


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"num_beams": 2}, "num_beams=2.*ContrastiveDecodingLogitsProcessor"),
        ({"do_sample": True, "num_return_sequences": 2}, "2 rows.*ContrastiveDecodingLogitsProcessor"),
        ({"prompt_lookup_num_tokens": 2}, "prompt_lookup_num_tokens=2"),
        ({"penalty_alpha": 0.6}, "penalty_alpha=0.6 is another decoding method"),
        ({"use_cache": False}, "use_cache=False.*ContrastiveDecodingLogitsProcessor"),
        ({"cache_implementation": "static"}, "the expert LlamaForCausalLM keeps a cache of StaticLayer"),
        ({"cache_implementation": "offloaded"}, "the expert LlamaForCausalLM has an offloaded cache"),
        ({"output_hidden_states": True, "return_dict_in_generate": True}, "output_hidden_states=True"),
        ({"output_attentions": True, "return_dict_in_generate": True}, "output_attentions=True"),
        ({"synced_gpus": True}, "synced_gpus=True"),
        ({"draft_tokens": -1}, "draft_tokens=-1"),
        ({"alpha": 1.5}, "alpha=1.5"),
        ({"amateur": None}, "amateur=None"),
        ({"amateur": pooled}, "amateur=PooledAmateur"),
        ({"position_ids": torch.arange(6)[None] + 3}, "position_ids end at 8"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_work_is_refused_by_name(kwargs: dict[str, Any], message: str) -> None:
    model = LLAMA.build()
    ids, _ = prompts(model, (6,))
    arguments = {"amateur": near("llama"), **kwargs}
    if arguments["amateur"] is pooled:
        arguments["amateur"] = pooled(model)
    listener = Listener()
    with pytest.raises(ValueError, match=message):
        ours(model, ids, streamer=listener, **arguments)
    assert len(listener.tokens) == ids.numel() * (kwargs.get("num_beams") or kwargs.get("num_return_sequences") or 1)


def test_models_and_prompts_that_cannot_work_are_refused() -> None:
    model = LLAMA.build()
    ids, mask = prompts(model, (6, 4))
    with pytest.raises(ValueError, match="2 rows"):
        ours(model, ids, near("llama"), attention_mask=mask)
    with pytest.raises(ValueError, match="assistant_model=Qwen2ForCausalLM"):
        ours(model, ids[:1], near("llama"), assistant_model=FAMILY["qwen2"].build())
    with pytest.raises(ValueError, match="the expert MambaForCausalLM keeps"):
        ours(FAMILY["mamba"].build(), ids[:1], near("llama"))
    with pytest.raises(ValueError, match="the amateur MambaForCausalLM keeps a cache of LinearAttentionLayer"):
        ours(model, ids[:1], FAMILY["mamba"].build())
    with pytest.raises(
        ValueError,
        match="the amateur RecurrentGemmaForCausalLM keeps",
    ):
        ours(model, ids[:1], FAMILY["recurrent_gemma"].build())
    with pytest.raises(ValueError, match="encoder-decoder"):
        ours(FAMILY["t5"].build(), ids[:1], near("llama"))
    embeds = model.get_input_embeddings()(ids[:1])
    with pytest.raises(ValueError, match="inputs_embeds"):
        ours(model, ids[:1], near("llama"), inputs_embeds=embeds)
    first = ours(model, ids[:1], near("llama"), max_new_tokens=4, return_dict_in_generate=True)
    longer = torch.ones(1, first.sequences.shape[1] + 1, dtype=torch.long)
    with pytest.raises(ValueError, match="pass the whole text as input_ids"):
        ours(model, ids[:1, -2:], near("llama"), attention_mask=longer, **{CACHE: first[CACHE]})


def test_vocabularies_of_different_sizes_are_refused() -> None:
    model = LLAMA.build()
    larger = deepcopy(near("llama"))
    larger.resize_token_embeddings(VOCABULARY + 8, mean_resizing=False)
    ids, _ = prompts(model, (6,))
    with pytest.raises(ValueError, match="104 tokens, the expert's over 96"):
        ours(model, ids, larger)
    narrow = deepcopy(near("llama"))
    narrow.resize_token_embeddings(8)
    with pytest.raises(ValueError, match=r"token \d+ is none of the 8 that LlamaForCausalLM knows"):
        ours(model, ids.clamp(min=9), narrow)
    with pytest.raises(ValueError, match=r"over 8 tokens, the expert's over 96|is none of the 8 that LlamaForCausalLM knows"):
        ours(model, ids.clamp(max=7), narrow)  # where the expert's own tokens are beyond it


def test_an_amateur_of_nan_is_refused_as_what_it_is() -> None:
    broken = deepcopy(near("llama"))
    broken.lm_head.weight.data[3] = float("nan")
    with pytest.raises(ValueError, match="LlamaForCausalLM gives NaN as a logit"):
        ours(LLAMA.build(), prompts(LLAMA.build(), (6,))[0], broken)


# Broken mocks: each law catches a library that breaks it


def caught(law: Callable[..., None], *arguments: Any, **kwargs: Any) -> None:
    with pytest.raises((AssertionError, RuntimeError, IndexError, ValueError)):  # a cache that holds too much is noticed, too
        law(*arguments, **kwargs)


def test_catches_caches_that_keep_rejected_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    def keep(self: RewindableModel, new: int) -> None:
        self.read = min(self.read, self.prompt.shape[1] + new)

    monkeypatch.setattr(RewindableModel, "keep", keep)
    caught(same_tokens, "llama", form=HALF)


def test_catches_an_amateur_that_keeps_rejected_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    keep = RewindableModel.keep

    def stale(self: RewindableModel, new: int) -> None:
        if self.model is near("llama"):
            self.read = min(self.read, self.prompt.shape[1] + new)
        else:
            keep(self, new)

    monkeypatch.setattr(RewindableModel, "keep", stale)
    caught(same_tokens, "llama", form=HALF)


def test_catches_negatives_of_other_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = AmateurSource.logits
    monkeypatch.setattr(AmateurSource, "logits", lambda self, new, last: logits(self, new, last).roll(1, dims=0))
    caught(same_tokens, "llama", form=HALF)


def accept_always(p: Tensor, guess: int | None = None, proposal: Tensor | None = None) -> int:
    return speculative_draw(p) if guess is None else guess


def no_residual(p: Tensor, guess: int | None = None, proposal: Tensor | None = None) -> int:
    if guess is not None and proposal is not None and bool(torch.rand(()) * proposal[guess] < p[guess]):
        return guess
    return speculative_draw(p)


@pytest.mark.parametrize("broken", [accept_always, no_residual])
def test_catches_draws_of_another_distribution(broken: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speculative, "speculative_draw", broken)
    caught(draws_are_of_p)


@pytest.mark.slow
def test_catches_samples_of_another_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speculative, "speculative_draw", accept_always)
    caught(samples_are_of_the_contrast, samples=250)
