"""A Hugging Face model in this process as an engine, for rankers and searches that are written for any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from counterpoint.decoders import score
from counterpoint.eval import building, generation
from counterpoint.eval.choosing import DecoderSpec
from counterpoint.eval.generation import Request
from counterpoint.eval.loading import Loaded
from counterpoint.eval.trimming import Trimming, trim_tokens
from counterpoint.rankers.continuation_texts import prompt_text
from counterpoint.rankers.engines import Beginning, Written


class HuggingFaceEngine:
    """A model with ``generate``; an :class:`~counterpoint.rankers.engines.Engine`.

    Args:
        model: The model.
        tokenizer: Its tokenizer.

    Example:
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer
        >>> from counterpoint.eval import AMATEUR
        >>> from counterpoint.eval.choosing import parse_decoder
        >>> from counterpoint.eval.engines.in_process import HuggingFaceEngine
        >>> model, tokenizer = AutoModelForCausalLM.from_pretrained(AMATEUR), AutoTokenizer.from_pretrained(AMATEUR)
        >>> engine = HuggingFaceEngine(model, tokenizer)
        >>> ((text,),) = engine.write(["The whale rose"], parse_decoder("greedy"), max_new_tokens=4)
        >>> text.tokens
        4
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.loaded = Loaded.given(model, tokenizer)

    @property
    def name(self) -> str:
        """The name that the model was loaded by."""
        return self.loaded.name

    def write(
        self,
        prompts: Sequence[Beginning],
        decoder: DecoderSpec,
        *,
        max_new_tokens: int,
        n: int = 1,
        seeds: Sequence[int] = (),
        stop: Sequence[str] = (),
        log_probabilities: bool = False,
    ) -> list[list[Written]]:
        """Continue each prompt ``n`` times; see :class:`~counterpoint.rankers.engines.Engine`."""
        if "ranker" in decoder.row.needs:
            raise ValueError(f"decoder {decoder.name}: an engine proposes and a ranker chooses; take generate() for both at once")
        if n > 1 and not decoder.sampling:
            raise ValueError(f"n={n}: {decoder.name} has one text for a prompt; take a decoder that draws, such as nucleus")
        trimming = Trimming(tuple(stop), all_of_it=False)
        found = []
        for place, prompt in enumerate(prompts):
            request = self._request(prompt, max_new_tokens, trimming)
            torch.manual_seed(seeds[place] if seeds else 0)
            found.append([self._written(request, decoder, max_new_tokens, log_probabilities) for _ in range(n)])
        return found

    def log_probabilities(self, texts: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
        """Ln p of every token of given continuations; see :class:`~counterpoint.rankers.engines.Engine`."""
        found = score(self.loaded.model, None, [list(before) for before, _ in texts], [[list(after)] for _, after in texts])
        return [list(each.log_probabilities) for (each,) in found]

    def _request(self, prompt: Beginning, most: int, trimming: Trimming) -> Request:
        if isinstance(prompt, tuple):
            return Request(prompt_text(self.loaded.tokenizer, prompt), prompt, trimming=trimming)
        return generation.request(self.loaded, prompt, most, trimming)

    def _written(self, request: Request, decoder: DecoderSpec, most: int, scores: bool) -> Written:
        """One text, with the next random numbers."""
        model: Any = self.loaded.model
        ids = torch.tensor([request.ids], device=model.device)
        output = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=most,
            **request.inputs,
            **generation.stopping(self.loaded, request.trimming),
            **building.generate_arguments(decoder, self.loaded, [request.prompt]),
        )
        new = output[0, ids.shape[1] :].tolist()
        own = trim_tokens(self.loaded.tokenizer, request.ids, new, model.generation_config.eos_token_id, request.trimming)
        kept = tuple(new[: own.tokens])
        told = tuple(self.log_probabilities([(request.ids, kept)])[0]) if scores and kept else None
        return Written(own.text, own.tokens, own.finished, kept, told)
