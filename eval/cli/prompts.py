"""Prompts from the command line, a file or standard input."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from counterpoint.decoders.forwards.chats import Chat, Prompt, about_picture
from counterpoint.eval.choosing import DecoderSpec
from counterpoint.eval.cli.errors import CommandError, UsageError, usage_errors
from counterpoint.eval.inputs import decoded
from counterpoint.eval.prompts import checked, parse_prompts


def read_prompts(prompt: str | None, file: str | None) -> list[Prompt]:
    """The prompts to continue, in order.

    Args:
        prompt: The prompt itself; "-" is standard input.
        file: A file of prompts; "-" is standard input, which is also read if there is neither and it is not a terminal.

    Raises:
        UsageError: If there is nothing to read.
        CommandError: If the file cannot be read.
        ValueError: If there are no prompts, or one of them is empty.
    """
    if file is not None and file != "-":
        return parse_prompts(read_file(file), file)
    if prompt is not None and prompt != "-":
        return [checked(prompt, "the prompt")]
    if prompt is None and file is None and sys.stdin.isatty():
        raise UsageError("no prompt: give one as an argument, or more by --file or on standard input")
    return parse_prompts(sys.stdin.read(), "standard input")


@usage_errors()
def about_pictures(prompts: Sequence[Prompt], specs: Sequence[DecoderSpec]) -> list[Prompt]:
    """The prompts, those without pictures about the one that a decoder's ``image`` names, for all decoders alike.

    Raises:
        UsageError: If decoders name several, there is no such file, or a decoder needs a picture and a prompt has none.
    """
    images = sorted({str(spec.values["image"]) for spec in specs if "processor" in spec.row.needs and spec.values["image"]})
    if len(images) > 1:
        raise ValueError(f"decoders name several images, {' and '.join(images)}: a prompt is about the same for all of them")
    for image in images:
        if "://" not in image and not Path(image).is_file():
            raise ValueError(f"image={image}: there is no such file")
    found: list[Prompt] = [about_picture(each, images[0]) if images else each for each in prompts]
    seeing = next((spec for spec in specs if "processor" in spec.row.needs), None)
    if seeing and not all(isinstance(each, Chat) and each.pictures for each in found):
        raise ValueError(f"decoder {seeing.name}: a prompt has no picture; give image=FILE, or messages with an image")
    return found


def read_file(path: str, option: str = "--file") -> str:
    """The text of a UTF-8 file, without a byte order mark; errors name the option that it was given by."""
    try:
        return decoded(Path(path).read_bytes(), f"{option} {path}")
    except OSError as error:
        raise CommandError(f"{option} {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise CommandError(str(error)) from error
