"""Bad input is refused with the argument's name and value before any token is generated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

import laws
from counterpoint.decoders import (
    ContrastiveDecodingLogitsProcessor,
    ContrastiveSearchLogitsProcessor,
    DoLaLogitsProcessor,
    FrustratinglySimpleLogitsProcessor,
    LayerFusionLogitsProcessor,
    SLEDLogitsProcessor,
    TopNSigmaLogitsProcessor,
    adaptive_contrastive_search,
    contrastive_search,
    speculative_contrastive_decoding,
)
from families import FAMILY, prompts

EVERY: dict[str, Callable[[PreTrainedModel], dict[str, Any]]] = {
    "contrastive search": lambda model: {"custom_generate": contrastive_search, "penalty_alpha": 0.6, "top_k": 4},
    "adaptive contrastive search": lambda model: {"custom_generate": adaptive_contrastive_search},
    "speculative": lambda model: {"custom_generate": speculative_contrastive_decoding, "amateur": model},
    **{
        build.__name__: lambda model, build=build: {"logits_processor": [build(model)]}
        for build in (
            ContrastiveSearchLogitsProcessor,
            ContrastiveDecodingLogitsProcessor,
            DoLaLogitsProcessor,
            SLEDLogitsProcessor,
        )
    },
    "layer fusion": lambda model: {"logits_processor": [LayerFusionLogitsProcessor(model, model, layers=[1])]},
    "frustratingly simple": lambda model: {"logits_processor": [FrustratinglySimpleLogitsProcessor()]},
    "top-n-sigma": lambda model: {"logits_processor": [TopNSigmaLogitsProcessor()]},
}
"""What ``generate`` is given for each method."""


@pytest.fixture
def model() -> PreTrainedModel:
    return FAMILY["llama"].build()


def own_model() -> LlamaForCausalLM:
    """A model that a test may damage."""
    shape: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    return LlamaForCausalLM(LlamaConfig(vocab_size=96, pad_token_id=0, **shape)).eval()


def refused(model: PreTrainedModel, ids: Tensor, mask: Tensor | None, message: str, **kwargs: Any) -> None:
    """``generate`` raises ``ValueError`` with this message and no token reaches the streamer."""
    listener = laws.Listener()
    with pytest.raises(ValueError, match=message):
        laws.new_tokens(model, ids, mask, streamer=listener, **kwargs)
    assert len(listener.tokens) == ids.numel()


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan"), float("inf"), True, None])
def test_penalty_alpha(model: PreTrainedModel, alpha: Any) -> None:
    refused(model, *prompts(model, (5,)), rf"penalty_alpha={alpha!r}: .* a number in \[0, 1\]", penalty_alpha=alpha)


@pytest.mark.parametrize("k", [0, -3, 2.0, True])
def test_top_k(model: PreTrainedModel, k: Any) -> None:
    refused(model, *prompts(model, (5,)), f"top_k={k!r}: .* at least one candidate", top_k=k)


def test_top_k_over_the_vocabulary(model: PreTrainedModel) -> None:
    refused(model, *prompts(model, (5,)), "top_k=97 is more than the vocabulary's 96 tokens", top_k=97)


def test_empty_prompt(model: PreTrainedModel) -> None:
    ids = torch.zeros(1, 0, dtype=torch.long)
    with pytest.raises(ValueError, match="input_ids are empty"):
        contrastive_search_directly(model, ids)


def contrastive_search_directly(model: PreTrainedModel, ids: Tensor) -> Tensor:
    """``generate`` puts a BOS token into an empty prompt where it can; without one, the decoder sees it empty."""
    bos = model.generation_config.bos_token_id
    model.generation_config.bos_token_id = None
    try:
        return model.generate(ids, **(laws.PLAIN | laws.RULE))
    finally:
        model.generation_config.bos_token_id = bos


def test_rows_of_padding_only(model: PreTrainedModel) -> None:
    ids, mask = prompts(model, (5, 3))
    mask[1] = 0
    refused(model, ids, mask, r"attention_mask: rows \[1\] are all padding")


def test_right_padding(model: PreTrainedModel) -> None:
    refused(model, *prompts(model, (5, 3), padding="right"), r"rows \[1\] end in padding; pad on the left")


def test_nan_logits() -> None:
    model = own_model()
    model.lm_head.weight.data[3] = float("nan")
    refused(model, *prompts(model, (5, 3)), r"logits are NaN in rows \[0, 1\]")


@pytest.mark.parametrize("build", EVERY.values(), ids=EVERY)
def test_an_infinite_logit(build: Callable[[PreTrainedModel], dict[str, Any]], model: PreTrainedModel) -> None:
    """As float16 makes it where it overflows: softmax turns it into NaN, and an argmax of NaN is any token."""

    def overflown(ids: Tensor, scores: Tensor) -> Tensor:
        return scores.masked_fill(torch.arange(scores.shape[1]) == 7, torch.inf)

    arguments = build(model)
    processors = [overflown, *arguments.pop("logits_processor", [])]
    ids, mask = prompts(model, (5,))
    with pytest.raises(ValueError, match=r"logits are \+inf in rows \[0\]"):
        model.generate(ids, attention_mask=mask, max_new_tokens=2, do_sample=False, logits_processor=processors, **arguments)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_of_an_amateur_that_are_no_numbers(value: float, model: PreTrainedModel) -> None:
    class Broken:
        def logits(self, input_ids: Tensor) -> Tensor:
            return torch.full((len(input_ids), 96), 0.0).index_fill(1, torch.tensor([3]), value)

    with pytest.raises(ValueError, match=r"Broken gives (NaN|\+inf) as a logit"):
        ContrastiveDecodingLogitsProcessor(Broken())(torch.tensor([[5]]), torch.zeros(1, 96))


def test_nan_from_a_processor(model: PreTrainedModel) -> None:
    def broken(ids: Tensor, scores: Tensor) -> Tensor:
        return scores.masked_fill(torch.arange(len(scores))[:, None] == 1, float("nan"))

    refused(model, *prompts(model, (5, 3)), r"NaN in rows \[1\]", logits_processor=[broken])


def test_all_tokens_banned(model: PreTrainedModel) -> None:
    refused(
        model,
        *prompts(model, (5, 3)),
        r"every token is banned in rows \[0, 1\]",
        logits_processor=[lambda ids, scores: torch.full_like(scores, -torch.inf)],
    )


@pytest.mark.filterwarnings("ignore:You are calling .generate")  # some releases warn of weights that lie elsewhere
def test_model_on_another_device() -> None:
    model = own_model().to("meta")
    with pytest.raises(ValueError, match=r"input_ids are on cpu, the model on meta: move them with .to\(model.device\)"):
        laws.new_tokens(model, *prompts(own_model(), (5,)))


class Unhooked(LlamaForCausalLM):
    """Unembeds by hand, past its output embedding module."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        kwargs.pop("logits_to_keep", None)
        output = self.model(*args, **kwargs)
        output["logits"] = nn.functional.linear(output.last_hidden_state, self.lm_head.weight)
        return output


class Headless(LlamaForCausalLM):
    """Has no output embedding to offer."""

    def get_output_embeddings(self) -> None:
        return None


@pytest.mark.parametrize("kind", [Unhooked, Headless])
def test_no_usable_hidden_state(kind: type[LlamaForCausalLM]) -> None:
    model = kind(own_model().config).eval()
    refused(model, *prompts(model, (5,)), f"{kind.__name__} has no usable hidden state")


class LastOnly(LlamaForCausalLM):
    """Hides the states of all but the last position from its unembedding."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        kwargs["logits_to_keep"] = 1
        return super().forward(*args, **kwargs)


def test_hidden_states_of_the_prompt_out_of_reach() -> None:
    model = LastOnly(own_model().config).eval()
    refused(model, *prompts(model, (5,)), "LastOnly unembeds 1 positions of a text of 5")


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_entropy_scale(model: PreTrainedModel, scale: float) -> None:
    refused(
        model,
        *prompts(model, (5,)),
        "entropy_scale=.*: adaptive contrastive search needs a number above 0",
        custom_generate=adaptive_contrastive_search,
        entropy_scale=scale,
    )


def test_adaptive_search_does_not_sample(model: PreTrainedModel) -> None:
    refused(model, *prompts(model, (5,)), "do_sample=True", custom_generate=adaptive_contrastive_search, do_sample=True)


def test_processor_of_an_encoder_decoder() -> None:
    with pytest.raises(ValueError, match="T5ForConditionalGeneration is an encoder-decoder model"):
        ContrastiveSearchLogitsProcessor(FAMILY["t5"].build())


def test_processor_cannot_see_embeddings(model: PreTrainedModel) -> None:
    processor = ContrastiveSearchLogitsProcessor(model, penalty_alpha=laws.ALPHA, top_k=laws.K)
    embeds = model.get_input_embeddings()(prompts(model, (5,))[0])
    with pytest.raises(ValueError, match="input_ids are empty"):
        model.generate(inputs_embeds=embeds, logits_processor=[processor], **laws.PLAIN)


def test_misspelt_argument_is_not_swallowed(model: PreTrainedModel) -> None:
    with pytest.raises(ValueError, match="candidate"):
        laws.new_tokens(model, *prompts(model, (5,)), candidate="tree")
