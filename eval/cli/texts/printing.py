"""Generated texts on standard output: streamed, compared, or as JSON Lines."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence

from counterpoint.decoders.forwards.chats import Chat, shown
from counterpoint.eval.choosing import DecoderSpec
from counterpoint.eval.cli.terminal import BOLD, DIM, fits_columns, side_by_side, style, write
from counterpoint.eval.generation import Emit, Generated
from counterpoint.eval.texts import Texts

Continue = Callable[[DecoderSpec, Emit], Generated]


def print_text(prompt: str, spec: DecoderSpec, continue_prompt: Continue) -> None:
    """Print the prompt, and its continuation as it comes."""
    write(style(prompt, DIM))
    try:
        continue_prompt(spec, write)
    finally:
        write("\n")


def print_comparison(prompt: str, specs: Sequence[DecoderSpec], continue_prompt: Continue) -> None:
    """Print the prompt, then the text and the measures of each decoder: in columns if they fit, or one under the other."""
    write(style(prompt, DIM) + "\n\n")
    width = shutil.get_terminal_size().columns
    if fits_columns(len(specs), width):
        print_columns(specs, continue_prompt, width)
    else:
        print_stacked(specs, continue_prompt)


def print_stacked(specs: Sequence[DecoderSpec], continue_prompt: Continue) -> None:
    """Print one text under the other, as they come."""
    for index, spec in enumerate(specs):
        write(("\n" if index else "") + style(str(spec), BOLD) + "\n")
        try:
            generated = continue_prompt(spec, write)
        finally:
            write("\n")
        write(style(summary(generated), DIM) + "\n")


def print_columns(specs: Sequence[DecoderSpec], continue_prompt: Continue, width: int) -> None:
    """Print the texts side by side when all are complete, or as much as there is if one is interrupted or fails."""
    columns: list[list[str]] = []
    try:
        for spec in specs:
            pieces = [f"{spec}\n\n"]
            columns.append(pieces)
            generated = continue_prompt(spec, pieces.append)
            pieces.append(f"\n\n{summary(generated)}")
    finally:
        write(side_by_side(["".join(pieces) for pieces in columns], width) + "\n")


def summary(generated: Generated) -> str:
    """The measures in words."""
    measures = generated.measures()
    shown = [("rep-2", "rep_2", ".2%"), ("rep-4", "rep_4", ".2%"), ("diversity", "diversity", ".2f")]
    values = [(name, measures[key], digits) for name, key, digits in shown]
    parts = [f"{name} {'n/a' if value is None else format(value, digits)}" for name, value, digits in values]
    return ", ".join([f"{generated.tokens} tokens", f"{measures['tokens_per_second']:.1f} tokens/s", *parts])


def print_all(texts: Texts) -> list[str]:
    """Print the texts of every prompt; they are also returned."""
    written: list[str] = []
    for first, (number, seed) in enumerate((number, seed) for number in range(len(texts.prompts)) for seed in texts.seeds()):

        def continue_prompt(spec: DecoderSpec, emit: Emit, number: int = number, seed: int = seed) -> Generated:
            found = texts.text(number, seed, spec, emit)
            written.append(found.text)
            return found

        if texts.arguments.json:
            for spec in texts.specs:
                write(json.dumps(texts.record(number, spec, seed, continue_prompt(spec, lambda _: None))) + "\n")
            continue
        prompt = texts.prompts[number]
        in_chat = texts.chats.used or isinstance(prompt, Chat)
        if first:
            write("\n")
        if texts.arguments.compare:
            print_comparison(shown(prompt), texts.specs, continue_prompt)
        else:
            print_text(f"{shown(prompt)}\n\n" if in_chat else shown(prompt), texts.specs[0], continue_prompt)
    return written
