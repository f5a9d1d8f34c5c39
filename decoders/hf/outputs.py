"""What ``generate`` returns and streams, by names that ``transformers`` itself does not have, and how a loop gathers it."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from torch import Tensor
from transformers import Cache, GenerationConfig, PreTrainedModel
from transformers.generation.streamers import BaseStreamer
from transformers.generation.utils import GenerateDecoderOnlyOutput, GenerateEncoderDecoderOutput
from transformers.utils.generic import ModelOutput

from counterpoint.decoders.hf.caches import CACHE

__all__ = [
    "BaseStreamer",
    "GenerateDecoderOnlyOutput",
    "GenerateEncoderDecoderOutput",
    "GenerateOutputs",
    "ModelOutput",
    "Streamer",
]


class GenerateOutputs:
    """What ``return_dict_in_generate`` returns beside the ids, gathered step by step."""

    def __init__(self, model: PreTrainedModel, config: GenerationConfig, model_kwargs: dict[str, Any]) -> None:
        self.config, self.encoder_decoder = config, bool(model.config.is_encoder_decoder)
        self.encoder = model_kwargs.get("encoder_outputs") or {}
        prefix = "decoder_" if self.encoder_decoder else ""
        self.wanted = {
            f"{prefix}attentions": config.output_attentions,
            "cross_attentions": config.output_attentions and self.encoder_decoder,
            f"{prefix}hidden_states": config.output_hidden_states,
        }
        self.scores: tuple[Tensor, ...] = ()
        self.logits: tuple[Tensor, ...] = ()
        self.layers: dict[str, tuple[Any, ...]] = {name: () for name, wanted in self.wanted.items() if wanted}

    def step(self, output: ModelOutput, logits: Tensor, scores: Tensor) -> None:
        """Keep those outputs of this step's forward that the call asked for."""
        if not self.config.return_dict_in_generate:
            return
        if self.config.output_scores:
            self.scores += (scores,)
        if self.config.output_logits:
            self.logits += (logits,)
        for name in self.layers:
            self.layers[name] += (output.get(name),)

    @property
    def told(self) -> tuple[Tensor, ...] | None:
        """What ``generate`` gives stopping criteria beside the ids: the scores so far, if the call asked for them."""
        return self.scores if self.config.return_dict_in_generate and self.config.output_scores else None

    def result(self, sequences: Tensor, cache: Cache | None) -> GenerateDecoderOnlyOutput | GenerateEncoderDecoderOutput | Tensor:
        """The ids alone, or the output class that transformers has for this kind of model."""
        if not self.config.return_dict_in_generate:
            return sequences
        common: dict[str, Any] = {
            "sequences": sequences,
            "scores": self.scores if self.config.output_scores else None,
            "logits": self.logits if self.config.output_logits else None,
            CACHE: cache,
            **self.layers,
        }
        if not self.encoder_decoder:
            return GenerateDecoderOnlyOutput(**common)
        if self.config.output_attentions:
            common["encoder_attentions"] = self.encoder.get("attentions")
        if self.config.output_hidden_states:
            common["encoder_hidden_states"] = self.encoder.get("hidden_states")
        return GenerateEncoderDecoderOutput(**common)


@runtime_checkable
class Streamer(Protocol):
    """What is told of tokens as they come; that of ``transformers serve`` is no ``BaseStreamer``."""

    def put(self, value: Any) -> Any:
        """Take the prompt, then token after token."""

    def end(self) -> Any:
        """The text has ended."""
