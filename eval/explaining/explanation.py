"""A text with all that its decoder computed for each of its tokens, from the very generation that wrote it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from counterpoint.decoders.base import DistributionProcessor
from counterpoint.decoders.forwards.chats import Message, as_prompt, shown
from counterpoint.decoders.watching import SearchStep, watched
from counterpoint.eval import building
from counterpoint.eval.chat import chat_format, make_prompt
from counterpoint.eval.choosing import DecoderSpec, parse_decoder
from counterpoint.eval.explaining.page import html_page
from counterpoint.eval.explaining.steps import told
from counterpoint.eval.generation import Request, details_of_tree, request, stopping
from counterpoint.eval.loading import Loaded
from counterpoint.rankers.continuation_texts import continuation_text

DRAFTED = {"speculative_contrastive_decoding": "it checks several tokens in one step"}
"""Decoders whose steps are not one token each."""


def check_shown(spec: DecoderSpec) -> None:
    """Refuse a decoder whose steps cannot be shown.

    Raises:
        ValueError: If it is one.
    """
    reason = "it keeps several texts at once" if "num_beams" in spec.row.parameters else DRAFTED.get(spec.name)
    if reason:
        raise ValueError(f"decoder {spec}: {reason}, so there is no step a token to show; take contrastive_decoding or greedy")


@dataclass(frozen=True)
class Explanation:
    """A text and how each of its tokens was chosen. A notebook shows it as the page that :meth:`html` gives.

    Args:
        record: All of it as JSON has it: "prompt", "decoder", "parameters", "prompt_tokens", "text", and "tokens", for each of
            which "text", "greedy_rank", "model_probability", "probability", "candidates" and what the decoder has beside them.
    """

    record: Mapping[str, Any]

    def json(self) -> str:
        """The record as one JSON object."""
        return json.dumps(self.record, ensure_ascii=False, allow_nan=False)

    def html(self) -> str:
        """One page that needs nothing else."""
        return html_page(self.record)

    def _repr_html_(self) -> str:
        return f'<iframe srcdoc="{escape(self.html())}" style="width: 100%; height: 40rem; border: 0"></iframe>'


def explain(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: str | Sequence[Message],
    decoder: str = "contrastive_search",
    *,
    max_new_tokens: int = 64,
    seed: int = 0,
    chat_template: str = "none",
    system: str = "",
) -> Explanation:
    """Continue a prompt, and keep what the decoder computed for each token.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        prompt: A text, or a chat as a list of messages.
        decoder: A choice such as "dola:layers=low", or one's own, "package.module:Class" or "file.py:Class".
        max_new_tokens: The most tokens of the continuation.
        seed: Seed of the random numbers.
        chat_template: "auto", "none" or a file, as for :func:`~counterpoint.eval.compare`.
        system: The system's message of a chat.

    Returns:
        The text with, token by token, the rank that greedy search would have given, the candidates with their probabilities
        under the model, the positive and the negative distribution and the contrast, what was cut, the layers with their
        divergences, or the token that contrastive search finds it most like.

    Raises:
        ValueError: If the choice is wrong, the decoder refuses the model, or its steps are not one token each of one text.

    Example:
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer
        >>> from counterpoint.eval import AMATEUR, explain
        >>> model, tokenizer = AutoModelForCausalLM.from_pretrained(AMATEUR), AutoTokenizer.from_pretrained(AMATEUR)
        >>> found = explain(model, tokenizer, "The whale rose", "contrastive_search:top_k=4", max_new_tokens=3)
        >>> [len(token["candidates"]) for token in found.record["tokens"]]
        [4, 4, 4]
    """
    loaded = Loaded.given(model, tokenizer)
    given = as_prompt(prompt)
    chats = chat_format(loaded, chat_template, system, "keep", [given])
    return explained(
        loaded, request(loaded, make_prompt(given, chats), max_new_tokens), max_new_tokens, seed, parse_decoder(decoder)
    )


def explained(loaded: Loaded, asked: Request, max_new_tokens: int, seed: int, spec: DecoderSpec) -> Explanation:
    """:func:`explain` for a loaded model and a prompt that was encoded.

    Raises:
        ValueError: As for :func:`explain`.
    """
    check_shown(spec)
    ranked = "ranker" in spec.row.needs
    seen: dict[int, dict[str, Any]] = {}

    def see(decoder: object, ids: Tensor, computed: Any) -> None:
        kind = "search" if isinstance(computed, SearchStep) else "parts"
        seen.setdefault(ids.shape[1], {})[kind] = computed

    input_ids = torch.tensor([asked.ids], device=loaded.model.device)
    torch.manual_seed(seed)
    arguments = building.generate_arguments(spec, loaded, [asked.prompt])
    tables = {} if ranked else {"output_logits": True, "output_scores": True}
    try:
        with watched(see):
            output: Any = loaded.model.generate(  # type: ignore[operator]
                input_ids=input_ids,
                attention_mask=torch.ones_like(input_ids),
                max_new_tokens=max_new_tokens,
                return_dict_in_generate=True,
                **tables,
                **asked.inputs,
                **stopping(loaded, asked.trimming),
                **arguments,
            )
    except ValueError as error:
        raise ValueError(f"decoder {spec}: {error}") from error
    start = len(asked.ids)
    new = list(output.tree[0][-1][0].tokens) if ranked else output.sequences[0, start:].tolist()
    speak = Speller(loaded.tokenizer)
    return Explanation(
        {
            "prompt": shown(asked.prompt),
            "decoder": spec.name,
            "parameters": spec.plain(),
            **({"origins": origins} if (origins := spec.origins()) else {}),
            "model": loaded.name,
            "seed": seed,
            "counterpoint": version("counterpoint"),
            "layers": layers_of(arguments),
            "text": continuation_text(loaded.tokenizer, list(asked.ids), new),
            "prompt_tokens": [{"id": one, "text": speak(one)} for one in asked.ids],
            "tokens": [{"id": one, "text": speak(one), "candidates": []} for one in new]
            if ranked
            else [
                told(output.logits[place][0], output.scores[place][0], one, seen.get(start + place, {}), speak)
                for place, one in enumerate(new)
            ],
            **(details_of_tree(spec, output.tree[0][-1]) | {"rounds": rounds_of(output.tree[0])} if ranked else {}),
        }
    )


def layers_of(arguments: Mapping[str, Any]) -> list[int]:
    """The early layers whose figures stand in the tokens' "choice", in order; none for decoders without."""
    processors = [each for each in arguments.get("logits_processor", ()) if isinstance(each, DistributionProcessor)]
    return [layer for processor in processors for tap in processor.taps[:1] for layer in tap.layers]


def rounds_of(tree: Sequence[Sequence[Any]]) -> list[list[dict[str, Any]]]:
    """A ranked search's candidates, round by round, the best first."""
    return [
        [
            {"text": each.text, "score": each.score if math.isfinite(each.score) else None, "parent": each.parent}
            for each in candidates
        ]
        for candidates in tree
    ]


class Speller:
    """The text of single tokens; "�" is part of a character that the next ones complete."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.known: dict[int, str] = {}

    def __call__(self, token: int) -> str:
        """Its text."""
        if token not in self.known:
            self.known[token] = str(self.tokenizer.decode([token], clean_up_tokenization_spaces=False))
        return self.known[token]
