"""Decoders side by side on a few prompts: their texts, their speed and the measures that cost nothing."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from counterpoint.decoders.choosing.sweeps import expanded
from counterpoint.decoders.forwards.chats import Chat, Message, as_prompt
from counterpoint.eval.chat import chat_format, make_prompt
from counterpoint.eval.choosing import parse_decoder
from counterpoint.eval.generation import Generated, generate, request
from counterpoint.eval.loading import Loaded
from counterpoint.eval.metrics.repetition import diversity, rep_n
from counterpoint.eval.trimming import Trimming
from counterpoint.rankers.ngrams import words

MEASURES = ("diversity", "rep_2", "rep_4", "tokens_per_second")


@dataclass(frozen=True)
class Comparison:
    """What :func:`compare` found: a row for each decoder, in the order given. A notebook shows it as a table.

    Args:
        prompts: The prompts.
        decoders: The decoders, as their choices are written in full.
        texts: For each decoder the continuation of each prompt.
        measures: For each decoder its measures over all prompts, None where texts are too short for one.
    """

    prompts: tuple[str, ...]
    decoders: tuple[str, ...]
    texts: tuple[tuple[str, ...], ...]
    measures: tuple[dict[str, float | None], ...]

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary for each decoder and prompt, with the decoder's measures."""
        return [
            {"decoder": decoder, "prompt": prompt, "text": text, **measures}
            for decoder, texts, measures in zip(self.decoders, self.texts, self.measures, strict=True)
            for prompt, text in zip(self.prompts, texts, strict=True)
        ]

    def to_pandas(self) -> Any:
        """The rows as a ``pandas.DataFrame``.

        Raises:
            ImportError: Without pandas.
        """
        import pandas  # type: ignore[import-untyped]  # whoever asks for it has it

        return pandas.DataFrame(self.rows())

    def __str__(self) -> str:
        lines = []
        for decoder, texts, measures in zip(self.decoders, self.texts, self.measures, strict=True):
            lines.append(f"{decoder}  ({', '.join(f'{name} {shown(value)}' for name, value in measures.items())})")
            lines += [f"  {prompt}|{text}" for prompt, text in zip(self.prompts, texts, strict=True)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """The table of a notebook."""
        head = ["decoder", *MEASURES, *self.prompts]
        body = [
            [decoder, *(shown(measures[name]) for name in MEASURES), *texts]
            for decoder, texts, measures in zip(self.decoders, self.texts, self.measures, strict=True)
        ]
        cells = "".join(f"<th>{html.escape(each)}</th>" for each in head)
        rows = "".join(f"<tr>{''.join(f'<td>{html.escape(each)}</td>' for each in row)}</tr>" for row in body)
        return f"<table><thead><tr>{cells}</tr></thead><tbody>{rows}</tbody></table>"


def compare(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: str | Sequence[str | Sequence[Message]],
    decoders: Sequence[str] = ("greedy", "contrastive_search"),
    *,
    max_new_tokens: int = 64,
    seed: int = 0,
    chat_template: str = "none",
    system: str = "",
    thinking: str = "keep",
) -> Comparison:
    """Continue prompts with several decoders.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        prompts: A text, or several texts or chats, each chat a list of messages.
        decoders: Choices such as "dola:layers=low", or "dola:layers=low|high" for both; paths of amateurs and rankers are loaded.
        max_new_tokens: The most tokens of a continuation.
        seed: Seed of the random numbers, set anew for every text.
        chat_template: "auto" puts texts into the tokenizer's chat template if it has one, "none" leaves them as they are, and a
            file's name stands for the template in it. Chats always go through a template.
        system: The system's message of every chat.
        thinking: "keep", "cut" (before anything is measured), or "off" (said to the template).

    Returns:
        Texts, ``diversity`` and ``rep_n`` over a decoder's texts, and its tokens per second over all of them.

    Raises:
        ValueError: If there is no prompt or no list of decoders, a choice is wrong, a decoder refuses the model, or a prompt leaves
            no room for new tokens.

    Example:
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer
        >>> from counterpoint.eval import AMATEUR, compare
        >>> model, tokenizer = AutoModelForCausalLM.from_pretrained(AMATEUR), AutoTokenizer.from_pretrained(AMATEUR)
        >>> found = compare(model, tokenizer, "The whale rose", ["greedy", "contrastive_search"], max_new_tokens=8)
        >>> found.decoders
        ('greedy', 'contrastive_search:penalty_alpha=0.6,top_k=5')
    """
    if isinstance(decoders, str) or not decoders or not prompts:
        raise ValueError(f"decoders={decoders!r}, prompts={prompts!r}: a list of decoders and at least one prompt are needed")
    loaded = Loaded.given(model, tokenizer)
    specs = [parse_decoder(each) for choice in decoders for each in expanded(choice)]
    given = [as_prompt(each) for each in ([prompts] if isinstance(prompts, str) else prompts)]
    chats = chat_format(loaded, chat_template, system, thinking, given)
    trimming = Trimming(thinking=chats.marks)
    requests = [request(loaded, make_prompt(prompt, chats), max_new_tokens, trimming) for prompt in given]
    found = [[generate(loaded, each, max_new_tokens, seed, spec, lambda _: None) for each in requests] for spec in specs]
    return Comparison(
        prompts=tuple(each.shown() if isinstance(each, Chat) else each for each in given),
        decoders=tuple(map(str, specs)),
        texts=tuple(tuple(each.text for each in texts) for texts in found),
        measures=tuple(measures_of(texts) for texts in found),
    )


def measures_of(generated: Sequence[Generated]) -> dict[str, float | None]:
    """The measures of a decoder's texts together."""
    texts = [each.text for each in generated]
    shortest = min(len(words(text)) for text in texts)
    speed = sum(each.tokens for each in generated) / sum(each.seconds for each in generated)
    values = {
        "diversity": diversity(texts) if shortest >= 4 else None,
        "rep_2": rep_n(texts, 2) if shortest >= 2 else None,
        "rep_4": rep_n(texts, 4) if shortest >= 4 else None,
        "tokens_per_second": speed,
    }
    return {name: values[name] for name in MEASURES}


def shown(value: float | None) -> str:
    """A measure as people read it."""
    return "n/a" if value is None else f"{value:.3g}"
