"""A model under another prompt with pictures: a worse view, none, or the same one with a misleading instruction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from typing_extensions import override

from counterpoint.decoders.amateurs.prompts import PromptAmateur, unpadded
from counterpoint.decoders.forwards.given_texts import GivenTexts
from counterpoint.decoders.forwards.pictured_texts import forward_pictured
from counterpoint.decoders.forwards.readable import check_causal, check_known
from counterpoint.decoders.forwards.recording import ForwardOutputs, Positions
from counterpoint.decoders.hf.model_inputs import TOKEN_TYPES, sent_to
from counterpoint.decoders.hf.positions import picture_positions, positions
from counterpoint.decoders.hf.side_forward import side_forward
from counterpoint.decoders.hf.wrappers import Model


class InputsAmateur(PromptAmateur):
    """A model under another prompt that is a processor's whole output: text, pictures and what tells where they stand.

    With it the contrasts of image-text models are those of any two distributions. For ``ContrastiveDecodingLogitsProcessor(
    InputsAmateur(model, inputs), form=partial(extrapolation, beta=1.0))`` the inputs may be

    - the prompt with noised pictures, ``{**inputs, "pixel_values": diffusion_noise(inputs["pixel_values"])}``: visual contrastive
      decoding (Leng et al. 2023, arXiv 2311.16922);
    - the prompt with the same pictures after an instruction that disturbs: instruction contrastive decoding (Wang et al. 2024,
      arXiv 2403.18715).

    The prompts but for their last tokens are read with the pictures, once a call; beams and samples share that, and what is
    generated follows as text, at positions of its own. Nothing is left in the model, whose own positions stay those of the prompt
    that generates.

    Args:
        model: The decoder-only image-text model.
        inputs: What its processor gives for the other prompts, padded on the left: ``input_ids``, ``attention_mask``,
            ``pixel_values``, grids and token types. One prompt for every prompt of the batch. Or a list of that for each prompt
            alone, which scoring needs where there are several.
        prompt_length: Width of the real prompts, for loops other than ``generate``, which knows it.

    Raises:
        ValueError: For what :class:`~counterpoint.decoders.PromptAmateur` refuses, prompts that end in a picture, and models that
            read prompts in both directions or keep their state outside of a cache; where texts after several prompts are scored,
            for inputs that are not a list.

    Example:
        >>> from functools import partial
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer
        >>> from counterpoint.decoders import ContrastiveDecodingLogitsProcessor, InputsAmateur, extrapolation
        >>> from counterpoint.eval import EXPERT
        >>> model, tokenizer = AutoModelForCausalLM.from_pretrained(EXPERT), AutoTokenizer.from_pretrained(EXPERT)
        >>> inputs, other = (tokenizer(text, return_tensors="pt") for text in ("The white whale", "A whale"))
        >>> processor = ContrastiveDecodingLogitsProcessor(InputsAmateur(model, other), form=partial(extrapolation, beta=1.0))
        >>> ids = model.generate(**inputs, logits_processor=[processor], max_new_tokens=5, do_sample=False)
    """

    def __init__(
        self, model: Model, inputs: Mapping[str, Tensor] | Sequence[Mapping[str, Tensor]], *, prompt_length: int | None = None
    ) -> None:
        self.each = [inputs] if isinstance(inputs, Mapping) else list(inputs)
        inputs = joined(self.each)
        super().__init__(model, inputs, prompt_length=prompt_length)
        self.others = {name: value for name, value in inputs.items() if name not in ("input_ids", "attention_mask")}
        types = [value for name, value in self.others.items() if name in TOKEN_TYPES]
        if any(bool(marks[:, -1].any()) for marks in types) or (self.others and self.prompt.shape[1] < 2):
            raise ValueError("inputs: a prompt ends in a picture; text has to follow it, as a chat template's does")

        self.deltas: Tensor | None = None
        """What the pictures of each prompt add to later positions; None where the model numbers pictures as it does text."""

    @override
    def next_logits(self, ids: Int[Tensor, "rows own"], seen: Bool[Tensor, "rows own"]) -> Float[Tensor, "rows vocabulary"]:
        if not self.others:
            return super().next_logits(ids, seen)
        origins = self.origins(len(ids)).to(ids.device)
        key, read = keyed(ids, origins), self.prompt.shape[1] - 1
        held, _ = self.prefix.hold(key, seen, most=ids.shape[1] - 1)
        if held < read:
            self._read_prompts(torch.arange(len(self.prompt), device=ids.device))
            held, _ = self.prefix.hold(key, seen, most=ids.shape[1] - 1)
        if held < read:
            raise ValueError(
                f"{type(self.model).__name__} keeps its state where rows cannot be chosen; InputsAmateur needs a cache"
            )
        check_known(self.model, [self.prefix.largest])
        arguments = self.prefix.arguments(seen, held)
        if self.deltas is not None:
            text = positions(seen)
            places = text + self.deltas[origins.to(self.deltas.device)].to(text)
            arguments["position_ids"] = torch.stack([text, places, places, places])[..., held:]
        if "logits_to_keep" in self.prefix.parameters:
            arguments["logits_to_keep"] = 1
        with side_forward(self) as own, own:
            logits: Tensor = self.model(input_ids=ids[:, held:], **arguments).logits[:, -1]
        self.prefix.keep(key, seen)
        return logits

    def _read_prompts(self, rows: Int[Tensor, "prompts"]) -> None:
        """Bring the cache to hold the prompts but for their last tokens, with their pictures."""
        check_causal(self.model)
        inputs = sent_to(rows.device, self.others)
        ids, seen = self.prompt.to(rows.device), self.prompt_seen.to(rows.device)
        places, self.deltas = picture_positions(self.model, {"input_ids": ids, "attention_mask": seen.long(), **inputs}, seen)
        cut = {name: value[:, :-1] if name in TOKEN_TYPES else value for name, value in inputs.items()}
        self.prefix.hold(keyed(ids, rows)[:, :-1], seen[:, :-1], most=0)  # of nothing else
        arguments = self.prefix.arguments(seen[:, :-1], 0)
        if "position_ids" in arguments:
            arguments["position_ids"] = places[..., :-1]
        with side_forward(self) as own, own:
            self.model(input_ids=ids[:, :-1], **arguments, **cut)
        self.prefix.keep(keyed(ids, rows)[:, :-1], seen[:, :-1])

    @override
    def text_outputs(self, texts: GivenTexts, positions: Positions, layers: Sequence[int] = ()) -> ForwardOutputs:
        if not self.others:
            return super().text_outputs(texts, positions, layers)
        if len(self.each) < len(self.prompt):
            raise ValueError(
                "inputs of several prompts together: scoring takes a list of them, a processor's output for each prompt"
            )
        beside = [{name: each[name] for name in each if name in self.others} for each in self.each]
        texts = texts.under(unpadded(self.prompt, self.prompt_seen))
        own = replace(texts, beside=beside * (texts.number_of_prompts // len(beside)))
        with self.lock, torch.no_grad(), side_forward(self) as aside, aside:
            check_causal(self.model)
            return forward_pictured(self.model, own, positions, layers)


def joined(inputs: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """A processor's outputs for several prompts as one for all: texts and their marks padded on the left, pictures in a row.

    Raises:
        ValueError: If their pictures cannot be put together.
    """
    if len(inputs) == 1:
        return dict(inputs[0])
    each_token = ("input_ids", "attention_mask", *TOKEN_TYPES)
    width = max(each["input_ids"].shape[1] for each in inputs)
    found: dict[str, Tensor] = {}
    for name in dict.fromkeys(name for each in inputs for name in ("attention_mask", *each)):
        parts = []
        for each in inputs:
            ids = each["input_ids"]
            if name in each_token:
                value = each.get(name, (torch.ones_like if name == "attention_mask" else torch.zeros_like)(ids))
                parts.append(torch.nn.functional.pad(value, (width - ids.shape[1], 0)))
            elif name in each:
                parts.append(each[name])
        try:
            found[name] = torch.cat(parts)
        except RuntimeError as error:
            raise ValueError(f"{name} of the prompts differ in shape; give pictures of one size: {error}") from error
    return found


def keyed(ids: Int[Tensor, "rows length"], origins: Int[Tensor, "rows"]) -> Int[Tensor, "rows length"]:
    """What the cache knows rows by: their ids, the first one replaced, since prompts of equal ids may have other pictures.

    Example:
        >>> import torch
        >>> keyed(torch.tensor([[5, 6], [5, 6]]), torch.tensor([0, 1]))
        tensor([[-1,  6],
                [-2,  6]])
    """
    return torch.cat([-1 - origins[:, None], ids[:, 1:]], dim=1)
