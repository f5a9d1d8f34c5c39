"""The model ``counterpoint`` of lm-evaluation-harness: a Hugging Face model under a decoder. Needs the extra ``lm-eval``."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import torch
from lm_eval.api.registry import register_model
from lm_eval.models.huggingface import HFLM
from torch import Tensor
from tqdm import tqdm  # type: ignore[import-untyped]

from counterpoint.decoders import score_each
from counterpoint.decoders.forwards.chats import Chat, Prompt
from counterpoint.decoders.forwards.encoding import encode_pair
from counterpoint.decoders.named import PENALTIES
from counterpoint.eval import building
from counterpoint.eval.choosing import TABLE, DecoderSpec, parse_decoder
from counterpoint.eval.loading import Loaded, drop_generation_settings

Request = tuple[Any, list[int], list[int]]
"""Context and continuation as text, or None, and the tokens of each."""

MODEL = "counterpoint"
"""The name under which the harness knows the model."""

LOGGER = logging.getLogger(__name__)
SAMPLING = ("temperature", "top_k", "top_p", "min_p", "typical_p")
"""Arguments of a task that would change what a decoder's name means."""

PARAMETERS = {*PENALTIES, *(name for row in TABLE.rows.values() for name in row.parameters)}
IDENTITY = "counterpoint"
"""Key, in a cache of answers, of whose answers they are."""


def words_of(decoder: str, arguments: Mapping[str, Any]) -> list[str]:
    """A decoder's name, and those of a model's arguments that are its parameters."""
    return [decoder, *(f"{key}={arguments[key]}" for key in sorted(PARAMETERS & arguments.keys()))]


@register_model(MODEL)
class DecoderLM(HFLM):  # type: ignore[misc] # lm_eval has no types
    """A model that scores and generates under a decoder.

    Likelihoods are those of :func:`counterpoint.decoders.score`; their greedy flag says whether each token is the decoder's most
    probable one. Generation tasks get the decoder's own arguments in place of the task's.

    Args:
        pretrained: As for the harness's model ``hf``.
        decoder: A decoder of the command line. For likelihoods its defaults are those of the methods' scoring code, such as no
            plausible set (alpha=0).
        renormalise: As for :func:`counterpoint.decoders.score`.
        banned: As there. Metrics of the harness count ties of -inf as right, and turn them into NaN; released code takes -1000.
        batch_tokens: As for :func:`counterpoint.decoders.score`; the harness's ``batch_size`` is that of generation.
        **arguments: The decoder's parameters, and whatever ``hf`` takes.

    Raises:
        ValueError: For an unknown decoder or wrong parameters; for likelihoods under a decoder that gives texts no probability,
            such as contrastive search; for a cache of another model's, or another decoder's, answers.
    """

    own = True
    """Whether ``decoder`` may name somebody's own code, which then runs."""

    def __init__(
        self,
        pretrained: Any,
        decoder: str = "greedy",
        renormalise: bool = True,
        banned: int | float = -math.inf,
        batch_tokens: int = 256,
        **arguments: Any,
    ) -> None:
        self.words = words_of(decoder, arguments)
        arguments = {key: value for key, value in arguments.items() if key not in PARAMETERS}
        self.spec = parse_decoder(self.words, own=self.own)
        self.renormalise, self.banned, self.batch_tokens = renormalise, banned, batch_tokens
        self.identity = json.dumps(
            [str(pretrained), str(self.spec), renormalise, self.banned, arguments], sort_keys=True, default=str
        )
        self.chats: dict[str, Chat] = {}
        self.contexts: Sequence[str] = ()
        super().__init__(pretrained, **arguments)
        drop_generation_settings(self.model)
        own_code = bool(arguments.get("trust_remote_code"))
        self.loaded = Loaded(str(pretrained), self.model, self.tokenizer, trust_remote_code=own_code)

    def set_cache_hook(self, cache_hook: Any) -> None:
        """Refuse a cache (``--use_cache``) that other answers are in: the harness looks them up by the request alone."""
        answers = cache_hook.dbdict
        if answers is not None:
            owner = answers.get(IDENTITY, "another model") if len(answers) else self.identity
            if owner != self.identity:
                raise ValueError(f"use_cache: the file has the answers of {owner}, not of {self.identity}: name another one")
            answers[IDENTITY] = owner
        super().set_cache_hook(cache_hook)

    def get_model_info(self) -> dict[str, Any]:
        """What the harness writes into the results' ``config``."""
        return {
            **super().get_model_info(),
            "decoder": str(self.spec),
            "decoder_of_likelihoods": str(self._scoring_choice()) if self.spec.row.distribution else None,
            "renormalised": self.renormalise,
            "banned": str(self.banned),
            "counterpoint_version": version("counterpoint"),
        }

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The harness's text of a chat (``--apply_chat_template``), which decoders that read another prompt know as a chat."""
        text = str(super().apply_chat_template(chat_history, add_generation_prompt))
        self.chats[text] = Chat(tuple(chat_history), dict(self.chat_template_args))
        return text

    def tok_batch_encode(self, strings: Sequence[str], *arguments: Any, **options: Any) -> tuple[Tensor, Tensor]:
        """The tokens of contexts, which are generated from next."""
        self.contexts = strings
        found: tuple[Tensor, Tensor] = super().tok_batch_encode(strings, *arguments, **options)
        return found

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """The tokens of both; a chat ends where its template ends, with the line break there."""
        if context not in self.chats:
            found: tuple[list[int], list[int]] = super()._encode_pair(context, continuation)
            return found
        before, after = encode_pair(self.tokenizer, context, continuation, from_template=True)
        return list(before), list(after)

    def _scoring_choice(self) -> DecoderSpec:
        return parse_decoder(self.words, scoring=True, own=self.own)

    def _loglikelihood_tokens(
        self, requests: Sequence[Request], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        spec = self._scoring_choice()
        groups: dict[tuple[int, ...], list[int]] = {}
        for index, (_, context, continuation) in enumerate(requests):
            groups.setdefault(self._kept(context, continuation), []).append(index)
        texts = [requests[indices[0]][0] for indices in groups.values()]
        prompts = [self._prompt(text and text[0], context) for text, context in zip(texts, groups, strict=True)]
        answers: list[tuple[float, bool]] = [(0.0, False)] * len(requests)
        bar = tqdm(total=len(requests), disable=disable_tqdm or self.rank != 0, desc="Running loglikelihood requests")
        with bar, torch.autocast(self.device.type, self.mixed_precision_dtype, enabled=self.mixed_precision_dtype is not None):
            found = score_each(
                self.model,
                None,
                list(groups),
                [[requests[index][2] for index in indices] for indices in groups.values()],
                building.scoring_processors(spec, self.loaded, prompts),
                renormalise=self.renormalise,
                banned=float(self.banned),
                batch_tokens=self.batch_tokens,
            )
            for indices, scores in zip(groups.values(), found, strict=True):
                for index, score in zip(indices, scores, strict=True):
                    answers[index] = (score.total, score.greedy)
                    if requests[index][0] is not None:  # else a window of a rolling request, which is written when it is whole
                        self.cache_hook.add_partial("loglikelihood", requests[index][0], answers[index])
                bar.update(len(indices))
        if impossible := sum(total == -math.inf for total, _ in answers):
            LOGGER.warning(
                "%d of %d continuations have a token that %s bans: metrics may count ties of -inf as right, or be NaN; take "
                "alpha=0 or banned=-1000",
                impossible,
                len(answers),
                spec,
            )
        return answers

    def _prompt(self, text: str | None, ids: Any) -> Prompt:
        """A context as decoders that read another prompt take it: the chat, or the text that the tokens are."""
        return self.chats.get(text or "") or str(self.tok_decode(ids))

    def _kept(self, context: list[int], continuation: list[int]) -> tuple[int, ...]:
        """The end of a context that fits in the model's, with its continuation."""
        room = self.max_length if self.backend == "seq2seq" else self.max_length + 1 - len(continuation)
        if room < 1:
            raise ValueError(f"a continuation of {len(continuation)} tokens exceeds the model's context of {self.max_length}")
        if len(context) > room:
            LOGGER.warning("context of %d tokens cut on the left to the %d that fit before its continuation", len(context), room)
        return tuple(context[-room:])

    def _model_generate(self, context: Tensor, max_length: int, stop: list[str], **arguments: Any) -> Tensor:
        texts = self.contexts if len(self.contexts) == len(context) else [None] * len(context)
        prompts = [self._prompt(text, row) for text, row in zip(texts, context, strict=True)]
        task = {key: value for key, value in arguments.items() if key not in SAMPLING}
        own = building.generate_arguments(self.spec, self.loaded, prompts)
        output: Tensor = super()._model_generate(context, max_length, stop, **{**task, **own})
        return output
