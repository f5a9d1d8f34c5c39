"""A model under another text than the one being continued: without its context, misled, or with next to none of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from typing_extensions import override

from counterpoint.decoders.amateurs.models import Amateur, ModelAmateur, TextAmateur
from counterpoint.decoders.forwards.given_texts import GivenTexts
from counterpoint.decoders.forwards.lifetime import Lifetime
from counterpoint.decoders.forwards.readable import check_known
from counterpoint.decoders.forwards.recording import ForwardOutputs, Positions
from counterpoint.decoders.forwards.text_forward import (
    encoder_arguments,
    encoder_outputs,
    forward_decoded_rows,
)
from counterpoint.decoders.hf.devices import moved_to
from counterpoint.decoders.hf.generate_call import current_generate_call, origins_of
from counterpoint.decoders.hf.outputs import ModelOutput
from counterpoint.decoders.hf.padding import seen_tokens
from counterpoint.decoders.hf.side_forward import side_forward
from counterpoint.decoders.hf.wrappers import Model, plain_model
from counterpoint.decoders.locks import Lock
from counterpoint.decoders.showing import Shown


class PromptAmateur(ModelAmateur):
    """A model under another prompt: what it would say without the context, or with a misleading instruction.

    The tokens generated so far follow the other prompt as they follow the real one. With the expert itself as ``model`` there is
    no second copy of the weights.

    Args:
        model: The decoder-only model.
        prompt: ``input_ids [prompts, width]`` of the other prompts and, if they are padded (on the left), their
            ``attention_mask``: what ``tokenizer(..., return_tensors="pt", padding=True)`` gives. One for every row of the batch.
        prompt_length: Width of the real prompts, for loops other than ``generate``, which knows it.

    Raises:
        ValueError: For prompts without tokens ("none" is the BOS token), padding on the right, or neither one prompt for all rows
            nor one for each.

    Example:
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer
        >>> from counterpoint.decoders import PromptAmateur
        >>> from counterpoint.eval import AMATEUR
        >>> model, tokenizer = AutoModelForCausalLM.from_pretrained(AMATEUR), AutoTokenizer.from_pretrained(AMATEUR)
        >>> inputs = tokenizer("Seen from the ship, the whale", return_tensors="pt")
        >>> without = PromptAmateur(model, tokenizer("The whale", return_tensors="pt"), prompt_length=inputs.input_ids.shape[1])
        >>> without.logits(inputs.input_ids).shape
        torch.Size([1, 8192])
    """

    def __init__(self, model: Model, prompt: Mapping[str, Tensor], *, prompt_length: int | None = None) -> None:
        super().__init__(model)
        self.prompt = prompt["input_ids"]
        if self.prompt.ndim != 2 or self.prompt.shape[1] == 0:
            raise ValueError(f"prompt: input_ids of shape {tuple(self.prompt.shape)}; at least one token a row is needed, e.g. BOS")
        mask = prompt.get("attention_mask")
        self.prompt_seen = torch.ones_like(self.prompt, dtype=torch.bool) if mask is None else mask.bool()
        if not bool(self.prompt_seen[:, -1].all()):
            raise ValueError("prompt: a row ends in padding or has no token; pad on the left (tokenizer.padding_side = 'left')")
        self.prompt_length = prompt_length

    @override
    def text(self, input_ids: Int[Tensor, "rows length"]) -> tuple[Int[Tensor, "rows own"], Bool[Tensor, "rows own"]]:
        origins = self.origins(len(input_ids))
        new = input_ids[:, prompt_width(self.prompt_length) :]
        prompt, seen = (given[origins.to(given.device)].to(input_ids.device) for given in (self.prompt, self.prompt_seen))
        return torch.cat([prompt, new], dim=1), torch.cat([seen, torch.ones_like(new, dtype=torch.bool)], dim=1)

    def origins(self, rows: int) -> Int[Tensor, "rows"]:
        """Index of the other prompt that each row continues.

        Raises:
            ValueError: If the rows cannot be divided evenly among the prompts.
        """
        return text_origins(rows, len(self.prompt), "prompt has")

    @override
    def text_outputs(self, texts: GivenTexts, positions: Positions, layers: Sequence[int] = ()) -> ForwardOutputs:
        return super().text_outputs(replace(texts.under(unpadded(self.prompt, self.prompt_seen)), start=()), positions, layers)


class LastTokenAmateur(ModelAmateur):
    """A model that sees the prompt's last token and what was generated since, so that it knows even less.

    That is how Li et al. (2022, arXiv 2210.15097) ran their amateurs: the released code has it on by default, as ``ignore_prefix``.
    Positions count from that token.

    Args:
        model: The decoder-only amateur.
        prompt_length: Width of the prompts, for loops other than ``generate``, which knows it.

    Example:
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer
        >>> from counterpoint.decoders import ContrastiveDecodingLogitsProcessor, LastTokenAmateur
        >>> from counterpoint.eval import AMATEUR, EXPERT
        >>> expert, amateur = (AutoModelForCausalLM.from_pretrained(path) for path in (EXPERT, AMATEUR))
        >>> inputs = AutoTokenizer.from_pretrained(EXPERT)("The whale rose", return_tensors="pt")
        >>> processor = ContrastiveDecodingLogitsProcessor(LastTokenAmateur(amateur))
        >>> ids = expert.generate(**inputs, logits_processor=[processor], max_new_tokens=10, do_sample=False)
    """

    def __init__(self, model: Model, *, prompt_length: int | None = None) -> None:
        super().__init__(model)
        self.prompt_length = prompt_length

    @override
    def text(self, input_ids: Int[Tensor, "rows length"]) -> tuple[Int[Tensor, "rows own"], Bool[Tensor, "rows own"]]:
        width = prompt_width(self.prompt_length)
        if width == 0:
            raise ValueError("input_ids are empty (inputs_embeds?): the prompt's last token is needed; pass input_ids as well")
        own = input_ids[:, width - 1 :]
        return own, torch.ones_like(own, dtype=torch.bool)

    @override
    def text_outputs(self, texts: GivenTexts, positions: Positions, layers: Sequence[int] = ()) -> ForwardOutputs:
        texts = texts.decoder_only()
        return super().text_outputs(replace(texts, prompts=[prompt[-1:] for prompt in texts.prompts], beside=()), positions, layers)


class EncoderDecoderAmateur(Shown, Amateur, TextAmateur):
    """An encoder-decoder model: another one, or the expert with another text in its encoder.

    It computes the decoder's whole text each step, without a cache.

    Args:
        model: The encoder-decoder model.
        inputs: What its encoder takes: ``input_ids [prompts, length]`` or a speech model's ``input_features``, and
            ``attention_mask``, padded as that encoder is used to (most on the right).

    Raises:
        ValueError: For a decoder-only model, inputs without the one that the encoder reads, ids that the model does not know, or
            rows that are not a multiple of the prompts.

    Example:
        >>> import torch
        >>> from transformers import BartConfig, BartForConditionalGeneration
        >>> from counterpoint.decoders import EncoderDecoderAmateur
        >>> config = BartConfig(vocab_size=50, d_model=8, encoder_layers=1, decoder_layers=1, encoder_attention_heads=1,
        ...     decoder_attention_heads=1, encoder_ffn_dim=8, decoder_ffn_dim=8)
        >>> amateur = EncoderDecoderAmateur(BartForConditionalGeneration(config).eval(), {"input_ids": torch.tensor([[5, 6, 7]])})
        >>> amateur.logits(torch.tensor([[2, 9]])).shape
        torch.Size([1, 50])
    """

    def __init__(self, model: Model, inputs: Mapping[str, Tensor]) -> None:
        model = plain_model(model)
        if not model.config.is_encoder_decoder:
            raise ValueError(f"{type(model).__name__} has no encoder; use ModelAmateur or PromptAmateur")
        self.model: Any = model
        if model.main_input_name not in inputs:
            raise ValueError(f"inputs={sorted(inputs)}: the encoder of {type(model).__name__} reads {model.main_input_name}")
        self.inputs = dict(inputs)
        self.prompts = len(inputs[model.main_input_name])
        self.lifetime = Lifetime(model)
        self.encoded: ModelOutput | None = None
        self.lock = Lock()

    @override
    def logits(self, input_ids: Int[Tensor, "rows length"]) -> Float[Tensor, "rows vocabulary"]:
        rows = len(input_ids)
        origins = text_origins(rows, self.prompts, "inputs have")
        check_known(self.model, [int(input_ids.max())])
        with torch.no_grad(), side_forward(self) as own, own:
            ids, seen = (moved_to(self.model, each) for each in (input_ids, seen_tokens(None, input_ids, None)))
            padded = {} if bool(seen.all()) else {"decoder_attention_mask": seen.long()}
            output = self.model(**self._encoder_arguments(origins), **padded, decoder_input_ids=ids, use_cache=False)
        logits: Tensor = output.logits[:, -1].float().to(input_ids.device)
        return logits

    @override
    def text_outputs(self, texts: GivenTexts, positions: Positions, layers: Sequence[int] = ()) -> ForwardOutputs:
        check_known(self.model, chain(*texts.continuations))
        of_text = torch.tensor([row for (row,) in texts.under([(row,) for row in range(self.prompts)]).prompts])
        with torch.no_grad(), side_forward(self) as own, own:
            return forward_decoded_rows(self.model, self._encoder_arguments(of_text), texts, positions)

    def _encoder_arguments(self, rows: Int[Tensor, "rows"]) -> dict[str, Any]:
        """What the model takes of its encoder for these rows of the inputs, whose states are computed once in a call."""
        with self.lock:
            if self.lifetime.ended():
                self.encoded = None
            if self.encoded is None:
                self.encoded = encoder_outputs(self.model, {name: moved_to(self.model, each) for name, each in self.inputs.items()})
            return encoder_arguments(self.encoded, self.inputs.get("attention_mask"), rows)


def text_origins(rows: int, given: int, what: str) -> Int[Tensor, "rows"]:
    """Index of the other text, of ``given`` ones, that each row continues.

    Raises:
        ValueError: If there is neither one for all prompts nor one for each.
    """
    call = current_generate_call()
    copies = None if call is None else call.copies
    found = origins_of(rows, given) if copies is None or given in (1, rows // copies) else None
    if found is None:
        raise ValueError(f"{what} {given} rows, the batch {rows // (copies or 1)}: give one other text for every prompt")
    return found


def prompt_width(given: int | None) -> int:
    """How many of the ids are the prompt: as given, or what the ``generate`` in progress began with."""
    if given is not None:
        return given
    call = current_generate_call()
    if call is None or call.input_ids is None:
        raise ValueError("prompt_length=None: outside of generate() say how many tokens of input_ids are the prompt")
    return call.input_ids.shape[1]


def unpadded(ids: Int[Tensor, "rows width"], seen: Bool[Tensor, "rows width"]) -> list[tuple[int, ...]]:
    """Each row's tokens without its padding."""
    return [tuple(row[kept].tolist()) for row, kept in zip(ids, seen, strict=True)]
