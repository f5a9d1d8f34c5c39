"""Amateurs say what their models say, read each token once, and name what they cannot do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import accelerate
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

import contrast_references as references
import processor_laws as laws
from contrast_cases import last_token_case, model_case, other_prompts, sibling
from counterpoint.decoders import (
    ContextAwareLogitsProcessor,
    ContrastiveDecodingLogitsProcessor,
    EncoderDecoderAmateur,
    LastTokenAmateur,
    ModelAmateur,
    PooledAmateur,
    PromptAmateur,
)
from counterpoint.decoders.hf.generate_call import current_generate_call
from families import FAMILY, VOCABULARY
from processor_laws import ROWS, STEPS, Batch

LLAMA = FAMILY["llama"]
CLOSE = {"atol": 1e-4, "rtol": 1e-4}


@pytest.fixture
def model() -> PreTrainedModel:
    return LLAMA.build()


@pytest.fixture
def batch(model: PreTrainedModel) -> Batch:
    return laws.batch_of(LLAMA, model)


@contextmanager
def widths(model: PreTrainedModel) -> Iterator[list[int]]:
    """How many tokens each forward of ``model`` reads."""
    found: list[int] = []

    def note(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        found.append(keywords["input_ids"].shape[1])

    handle = model.register_forward_pre_hook(note, with_kwargs=True)
    yield found
    handle.remove()


@pytest.mark.parametrize("name", ["llama", "gemma3_sliding", "mamba", "lfm2"])
@pytest.mark.parametrize("mode", ["greedy", "beams", "beam sample", "sample of the ten best"])
def test_each_token_is_read_once(name: str, mode: str) -> None:
    """The prompt in one forward, then one token a forward, whatever becomes of the rows."""
    model, amateur = LLAMA.build(), sibling(FAMILY[name])
    batch = laws.batch_of(LLAMA, model)
    processor = ContrastiveDecodingLogitsProcessor(amateur)
    with widths(amateur) as found:
        laws.generate(model, batch, [processor], **ROWS[mode])
    assert found == [batch.ids.shape[1]] + [1] * (STEPS - 1)


def test_another_prompt_is_read_once(model: PreTrainedModel, batch: Batch) -> None:
    amateur = sibling(LLAMA)
    other = other_prompts(model, batch.index)
    with widths(amateur) as found:
        laws.generate(model, batch, [ContrastiveDecodingLogitsProcessor(PromptAmateur(amateur, other))], num_beams=3)
    assert found == [other["input_ids"].shape[1]] + [1] * (STEPS - 1)


def test_an_assistant_drafts_without_the_amateur(model: PreTrainedModel, batch: Batch) -> None:
    """Which may be the assistant itself: set against itself, it would draft tokens at random."""
    drafting: list[bool] = []

    class Watched(ModelAmateur):
        def logits(self, input_ids: Tensor) -> Tensor:
            call = current_generate_call()
            assert call is not None
            drafting.append(call.drafting)
            return super().logits(input_ids)

    laws.generate(model, batch.alone(0), [ContrastiveDecodingLogitsProcessor(Watched(sibling(LLAMA)))], assistant_model=model)
    assert len(drafting) >= STEPS
    assert not any(drafting)


def test_an_assistant_with_other_tokens(model: PreTrainedModel, batch: Batch) -> None:
    """Every id is a word; the assistant has half of them, under other ids."""
    words = {f"w{index}": index for index in range(VOCABULARY)}
    fewer = {f"w{2 * index}": index for index in range(VOCABULARY // 2)}
    drafted: dict[str, Any] = {"assistant_model": wider(sibling(LLAMA, 7), -VOCABULARY // 2)}
    for name, vocabulary in (("tokenizer", words), ("assistant_tokenizer", fewer)):
        tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="w0"))  # noqa: S106
        tokenizer.pre_tokenizer = WhitespaceSplit()
        drafted[name] = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="w0")  # noqa: S106
    processor = ContrastiveDecodingLogitsProcessor(sibling(LLAMA))
    expected = laws.tokens(model, batch.alone(0), [processor])
    assert laws.tokens(model, batch.alone(0), [processor], **drafted) == expected


def test_an_amateur_keeps_its_dtype(model: PreTrainedModel, batch: Batch) -> None:
    half = deepcopy(sibling(LLAMA)).to(torch.bfloat16)
    found = ModelAmateur(half, attention_mask=batch.mask).logits(batch.ids)
    assert found.dtype == torch.float32
    for number, logits in enumerate(found):
        alone = half(batch.alone(number).ids).logits[0, -1].float()
        torch.testing.assert_close(logits, alone, atol=0.15, rtol=0.05)  # three digits, and padded rows are computed differently
    laws.generate(model, batch, [ContrastiveDecodingLogitsProcessor(half)], num_beams=2)


class Int8Linear(nn.Module):
    """A linear layer of eight-bit weights, as quantisation leaves it: no floating-point weight to ask for dtype or device."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        scale = linear.weight.abs().amax(dim=1, keepdim=True) / 127
        self.register_buffer("scale", scale)
        self.register_buffer("quantised", (linear.weight / scale).round().to(torch.int8))

    def forward(self, hidden: Tensor) -> Tensor:
        return nn.functional.linear(hidden, self.quantised * self.scale)


def test_a_quantised_amateur(model: PreTrainedModel, batch: Batch) -> None:
    quantised = deepcopy(sibling(LLAMA))
    for layer in quantised.model.layers:
        for name in ("gate_proj", "up_proj", "down_proj"):
            setattr(layer.mlp, name, Int8Linear(getattr(layer.mlp, name)))
    laws.equals_the_reference(model_case(quantised), model, batch, num_beams=2)


def test_an_offloaded_amateur(model: PreTrainedModel, batch: Batch) -> None:
    """Its weights lie on the meta device until accelerate fetches them."""
    offloaded = accelerate.cpu_offload(deepcopy(sibling(LLAMA)), execution_device=torch.device("cpu"))
    assert offloaded.get_input_embeddings().weight.device.type == "meta"
    found = laws.tokens(model, batch, [ContrastiveDecodingLogitsProcessor(offloaded)])
    assert found == laws.tokens(model, batch, [ContrastiveDecodingLogitsProcessor(sibling(LLAMA))])


def wider(amateur: PreTrainedModel, more: int) -> PreTrainedModel:
    """The amateur with embeddings for tokens that no tokenizer has."""
    copy = deepcopy(amateur)
    with torch.random.fork_rng():
        copy.resize_token_embeddings(amateur.config.vocab_size + more, mean_resizing=False)
    return copy.requires_grad_(False)


@pytest.mark.parametrize("more", [16, -16])
def test_vocabularies_of_different_sizes_are_refused(model: PreTrainedModel, batch: Batch, more: int) -> None:
    processor = ContrastiveDecodingLogitsProcessor(wider(sibling(LLAMA), more))
    ids = batch.ids.clamp(max=VOCABULARY - 17)
    with pytest.raises(ValueError, match=rf"over {VOCABULARY + more} tokens, the expert's over {VOCABULARY}.*tokenizer="):
        laws.generate(model, replace(batch, ids=ids), [processor])


def test_tokenizers_that_agree_allow_padded_embeddings(
    expert: PreTrainedModel, amateur: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Logits beyond the tokens mean nothing, whichever of the two models has more of them."""
    inputs = tokenizer("The whale rose", return_tensors="pt")
    plain = expert.generate(**inputs, logits_processor=[ContrastiveDecodingLogitsProcessor(amateur)], max_new_tokens=8)
    padded = ModelAmateur(wider(amateur, 64), tokenizer=tokenizer, expert_tokenizer=deepcopy(tokenizer))
    found = expert.generate(**inputs, logits_processor=[ContrastiveDecodingLogitsProcessor(padded)], max_new_tokens=8)
    assert found.tolist() == plain.tolist()
    known = ModelAmateur(amateur, tokenizer=tokenizer, expert_tokenizer=tokenizer)
    found = wider(expert, 64).generate(**inputs, logits_processor=[ContrastiveDecodingLogitsProcessor(known)], max_new_tokens=8)
    assert found.tolist() == plain.tolist()


def test_tokenizers_that_differ_are_refused_by_name(amateur: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    other = deepcopy(tokenizer)
    other.add_tokens(["whalebone"])
    known = len(tokenizer)
    with pytest.raises(
        ValueError, match=rf"token {known} is None for the expert \({known} tokens\) and 'whalebone' for the amateur"
    ):
        ModelAmateur(amateur, tokenizer=other, expert_tokenizer=tokenizer)


def test_padding_outside_of_generate(model: PreTrainedModel, batch: Batch) -> None:
    """A loop of the user's own: padding is as given, or told by the padding token."""
    expected = torch.stack([references.logits_after(model, batch.alone(row).ids[0]) for row in range(3)])
    torch.testing.assert_close(ModelAmateur(model, attention_mask=batch.mask).logits(batch.ids), expected, **CLOSE)
    torch.testing.assert_close(ModelAmateur(model).logits(batch.ids), expected, **CLOSE)
    beams = ModelAmateur(model, attention_mask=batch.mask).logits(batch.ids.repeat_interleave(2, dim=0))
    torch.testing.assert_close(beams, expected.repeat_interleave(2, dim=0), **CLOSE)


def test_another_prompt_outside_of_generate(model: PreTrainedModel, batch: Batch) -> None:
    other = other_prompts(model, batch.index)
    longer = torch.cat([batch.ids, torch.tensor([[5, 6], [7, 8], [9, 10]])], dim=1)
    with pytest.raises(ValueError, match="prompt_length=None: outside of generate"):
        PromptAmateur(model, other).logits(longer)
    found = PromptAmateur(model, other, prompt_length=batch.ids.shape[1]).logits(longer)
    for row in range(3):
        text = torch.cat([other["input_ids"][row][other["attention_mask"][row].bool()], longer[row, -2:]])
        torch.testing.assert_close(found[row], references.logits_after(model, text), **CLOSE)


def test_one_other_prompt_serves_all_rows(model: PreTrainedModel, batch: Batch) -> None:
    ids = torch.tensor([[5, 6, 7]])
    one, three = ({"input_ids": ids.expand(rows, -1)} for rows in (1, 3))
    found = laws.tokens(model, batch, [ContextAwareLogitsProcessor(model, one)])
    assert found == laws.tokens(model, batch, [ContextAwareLogitsProcessor(model, three)])


def test_what_no_prompt_can_be_is_refused_by_name(model: PreTrainedModel, batch: Batch) -> None:
    with pytest.raises(ValueError, match=r"input_ids of shape \(1, 0\).*BOS"):
        PromptAmateur(model, {"input_ids": torch.zeros(1, 0, dtype=torch.long)})
    right = {"input_ids": torch.tensor([[5, 6], [7, 0]]), "attention_mask": torch.tensor([[1, 1], [1, 0]])}
    with pytest.raises(ValueError, match="pad on the left"):
        PromptAmateur(model, right)
    left = {name: tensor.flip(1) for name, tensor in right.items()}
    with pytest.raises(ValueError, match="prompt has 2 rows, the batch 3"):
        laws.generate(model, batch, [ContextAwareLogitsProcessor(model, left)])
    griffin = FAMILY["recurrent_gemma"].build()
    with pytest.raises(ValueError, match="keeps the state of the text in its modules"):
        laws.generate(griffin, batch, [ContextAwareLogitsProcessor(griffin, {"input_ids": torch.tensor([[5, 6]])})])


def test_the_wrong_class_names_the_right_one(model: PreTrainedModel, batch: Batch) -> None:
    bart = FAMILY["bart"].build()
    with pytest.raises(ValueError, match="BartForConditionalGeneration is an encoder-decoder model; use EncoderDecoderAmateur"):
        ContrastiveDecodingLogitsProcessor(bart)
    with pytest.raises(ValueError, match="LlamaForCausalLM has no encoder; use ModelAmateur"):
        EncoderDecoderAmateur(model, {"input_ids": batch.ids})
    two = EncoderDecoderAmateur(bart, {"input_ids": batch.ids[:2]})
    with pytest.raises(ValueError, match="inputs have 2 rows, the batch 3"):
        two.logits(batch.ids)


@pytest.mark.parametrize("mode", ["greedy", "beams", "sample of the ten best"])
def test_of_the_prompt_the_last_token_only(model: PreTrainedModel, batch: Batch, mode: str) -> None:
    """Li et al.'s code: the amateur sees the prompt's last token and what was generated since, at positions from 0 on."""
    case = last_token_case(sibling(LLAMA))
    laws.equals_the_reference(case, model, batch, **ROWS[mode])


def test_the_last_token_is_that_of_each_call(model: PreTrainedModel, batch: Batch) -> None:
    laws.calls_do_not_meet(last_token_case(sibling(LLAMA)), model, batch)
    with pytest.raises(ValueError, match="prompt_length=None: outside of generate"):
        LastTokenAmateur(model).logits(batch.ids)
    found = LastTokenAmateur(model, prompt_length=10).logits(batch.ids)
    torch.testing.assert_close(found[0], references.logits_after(model, batch.ids[0, -2:]), **CLOSE)


def test_a_pool_of_one_is_that_one_and_weights_are_powers(model: PreTrainedModel, batch: Batch) -> None:
    amateurs = [ModelAmateur(sibling(LLAMA, seed), attention_mask=batch.mask) for seed in (100, 101)]
    logits = [amateur.logits(batch.ids) for amateur in amateurs]
    torch.testing.assert_close(PooledAmateur(amateurs[:1]).logits(batch.ids), logits[0].log_softmax(-1))
    product = logits[0].softmax(-1) ** 0.5 * logits[1].softmax(-1) ** 0.5
    torch.testing.assert_close(PooledAmateur(amateurs).logits(batch.ids), product.log())
    product = logits[0].softmax(-1) ** 2 / logits[1].softmax(-1)
    torch.testing.assert_close(PooledAmateur(amateurs, weights=[2.0, -1.0]).logits(batch.ids), product.log())
    with pytest.raises(ValueError, match="amateurs is empty"):
        PooledAmateur([])
    with pytest.raises(ValueError, match="weights: 1 for 2 amateurs"):
        PooledAmateur(amateurs, weights=[1.0])


@dataclass
class Void:
    """An amateur that says the same of every token; like every data class it can be no key of a dictionary."""

    value: float

    def logits(self, input_ids: Tensor) -> Tensor:
        """The same."""
        return torch.full((len(input_ids), VOCABULARY), self.value)


@pytest.mark.parametrize(("value", "error"), [(torch.nan, "gives NaN"), (torch.inf, "gives .inf"), (-torch.inf, "-inf; give them")])
def test_an_amateur_that_knows_nothing_is_named(model: PreTrainedModel, batch: Batch, value: float, error: str) -> None:
    with pytest.raises(ValueError, match=f"Void {error}|Void .*{error}"):
        laws.generate(model, batch, [ContrastiveDecodingLogitsProcessor(Void(value))])


def test_a_form_of_ones_own_may_give_infinity(model: PreTrainedModel, batch: Batch) -> None:
    """The ratio of probabilities, where the amateur's is too small for float32."""

    def ratio(positive: Tensor, negative: Tensor) -> Tensor:
        return positive.softmax(dim=-1) / negative.softmax(dim=-1)

    class Sure(Void):
        def logits(self, input_ids: Tensor) -> Tensor:
            return super().logits(input_ids).index_fill_(1, torch.tensor([4]), 0.0)

    output = laws.generate(model, batch, [ContrastiveDecodingLogitsProcessor(Sure(-300.0), form=ratio)])
    assert (output.scores[0] == torch.inf).any()


@pytest.mark.parametrize(
    ("alpha", "processor"), [(-0.1, ContrastiveDecodingLogitsProcessor), (1.1, ContrastiveDecodingLogitsProcessor)]
)
def test_alpha_out_of_range(model: PreTrainedModel, alpha: float, processor: Any) -> None:
    with pytest.raises(ValueError, match=rf"alpha={alpha}.*\[0, 1\]"):
        processor(model, alpha=alpha)


def test_context_strength_out_of_range(model: PreTrainedModel, batch: Batch) -> None:
    for beta in (-0.5, float("nan")):
        with pytest.raises(ValueError, match=rf"beta={beta}.*needs 0 or more"):
            ContextAwareLogitsProcessor(model, {"input_ids": batch.ids}, beta=beta)


def test_degenerate_settings_are_greedy(model: PreTrainedModel, batch: Batch) -> None:
    """Law L5: nothing but the best token is plausible, or the context makes no difference."""
    greedy = laws.tokens(model, batch, [])
    assert laws.tokens(model, batch, [ContrastiveDecodingLogitsProcessor(sibling(LLAMA), alpha=1.0)]) == greedy
    assert laws.tokens(model, batch, [ContextAwareLogitsProcessor(model, other_prompts(model), beta=0.0)]) == greedy
    same = {"input_ids": batch.ids, "attention_mask": batch.mask}
    assert laws.tokens(model, batch, [ContextAwareLogitsProcessor(model, same, beta=3.0)]) == greedy
    assert laws.tokens(model, batch, [ContrastiveDecodingLogitsProcessor(sibling(LLAMA))]) != greedy


def test_a_pool_knows_what_its_members_were_compared_by(model: PreTrainedModel) -> None:
    """Heads that are padded differently, each compared with the expert's tokenizer of fewer tokens."""
    number = VOCABULARY - 4
    words = Tokenizer(WordLevel({f"w{index}": index for index in range(number)}, unk_token="w0"))  # noqa: S106
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="w0")  # noqa: S106
    one, two = sibling(LLAMA, 7), wider(sibling(LLAMA, 8), 8)
    members = [ModelAmateur(each, tokenizer=tokenizer, expert_tokenizer=tokenizer) for each in (one, two)]
    ids = torch.tensor([[3, 4, 5]])
    parts = [member.logits(ids)[..., :number].log_softmax(dim=-1) for member in members]
    torch.testing.assert_close(PooledAmateur(members).logits(ids), (parts[0] + parts[1]) / 2, **CLOSE)
    scores = ContrastiveDecodingLogitsProcessor(PooledAmateur(members), alpha=0.0)(ids, model(ids).logits[:, -1])
    assert scores.isfinite()[0].tolist() == [True] * number + [False] * 4
    with pytest.raises(ValueError, match=f"amateurs: logits over {VOCABULARY}, {VOCABULARY + 8} tokens"):
        PooledAmateur([ModelAmateur(one), ModelAmateur(two)]).logits(ids)


def test_padding_of_a_decoder_is_not_read() -> None:
    """T5's decoder, begun by texts of two lengths, and what its encoder reads instead."""
    model: Any = FAMILY["t5"].build()
    generator = torch.Generator().manual_seed(0)
    encoder, other = (torch.randint(3, VOCABULARY, (2, length), generator=generator) for length in (8, 5))
    begun, mask = torch.tensor([[0, 0, 0, 7, 8], [0, 9, 10, 11, 12]]), torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    arguments: dict[str, Any] = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}

    def written(rows: list[int], ids: Tensor, seen: Tensor) -> list[int]:
        processor = ContextAwareLogitsProcessor(model, {"input_ids": other[rows]}, beta=1.0)
        given = {"decoder_input_ids": ids, "decoder_attention_mask": seen, "logits_processor": [processor]}
        found: list[int] = model.generate(encoder[rows], **given, **arguments)[0, ids.shape[1] :].tolist()
        return found

    assert written([0, 1], begun, mask) == written([0], begun[:1, 2:], mask[:1, 2:])
