"""Generated texts on standard output: streamed, compared, or as JSON Lines."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Callable, Sequence
from importlib.metadata import version

from counterpoint.eval.choosing import DecoderSpec
from counterpoint.eval.cli.terminal import BOLD, DIM, fits_columns, side_by_side, style, write
from counterpoint.eval.generation import Emit, Generated
from counterpoint.eval.loading import Loaded

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


def print_records(prompt: str, specs: Sequence[DecoderSpec], continue_prompt: Continue, loaded: Loaded, seed: int) -> None:
    """Print a JSON object for each decoder; rep_n is a percentage, diversity a fraction, and both are null for very short texts."""
    for spec in specs:
        generated = continue_prompt(spec, lambda _: None)
        record = {
            "prompt": prompt,
            "decoder": spec.name,
            "parameters": spec.plain(),
            **({"origins": origins} if (origins := spec.origins()) else {}),
            "text": generated.text,
            "tokens": generated.tokens,
            **generated.measures(),
            **generated.details,
            "seed": seed,
            "model": loaded.name,
            "dtype": str(loaded.model.dtype).removeprefix("torch."),
            "device": str(loaded.model.device),
            "versions": {
                "counterpoint": version("counterpoint"),
                "transformers": version("transformers"),
                "torch": version("torch"),
                "python": platform.python_version(),
            },
        }
        write(json.dumps(record) + "\n")


def summary(generated: Generated) -> str:
    """The measures in words."""
    measures = generated.measures()
    shown = [("rep-2", "rep_2", ".2%"), ("rep-4", "rep_4", ".2%"), ("diversity", "diversity", ".2f")]
    values = [(name, measures[key], digits) for name, key, digits in shown]
    parts = [f"{name} {'n/a' if value is None else format(value, digits)}" for name, value, digits in values]
    return ", ".join([f"{generated.tokens} tokens", f"{measures['tokens_per_second']:.1f} tokens/s", *parts])
