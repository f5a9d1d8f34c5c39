"""Options that several commands share, each declared once, and the kinds of values that options take."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from counterpoint.eval import EXPERT


def positive(text: str) -> int:
    """Parse a whole number above 0."""
    return at_least(1, text)


def non_negative(text: str) -> int:
    """Parse a whole number that is 0 or more."""
    return at_least(0, text)


def at_least(least: int, text: str) -> int:
    """Parse a whole number that is not below ``least``."""
    if text.isdecimal() and len(text) > 18:
        raise argparse.ArgumentTypeError(f"a number of {len(text)} digits is too large: {text[:18]}...")
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of {least} or more")
    return int(text)


def port(text: str) -> int:
    """Parse a number of a port, where 0 is any that is free."""
    number = non_negative(text)
    if number > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: 0 to 65535")
    return number


def above_zero(text: str) -> float:
    """Parse a number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


def share(text: str) -> float:
    """Parse a number between 0 and 1, both excluded."""
    number = above_zero(text)
    if number >= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share between 0 and 1")
    return number


def probability(text: str) -> float:
    """Parse a number above 0, 1 at most."""
    number = above_zero(text)
    if number > 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a probability above 0, 1 at most")
    return number


def below_one(text: str) -> float:
    """Parse a number of 0 or more that is below 1."""
    number = 0.0 if text in ("0", "0.0") else above_zero(text)
    if number >= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 0 or more, below 1")
    return number


def new_file(text: str) -> Path:
    """Parse the path of a file to write: its folder exists, and it is not a folder itself."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a folder: name a file")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: there is no folder {path.parent}")
    return path


def folder(text: str) -> Path:
    """Parse the path of a folder to write to, which may be new: no file is in its way."""
    path = Path(text)
    for each in (path, *path.parents):
        if each.exists() and not each.is_dir():
            raise argparse.ArgumentTypeError(f"{each} is a file: name a folder")
    return path


SHARED: Mapping[str, Mapping[str, Any]] = {
    "--model": {
        "metavar": "ID_OR_PATH",
        "default": str(EXPERT),
        "help": "the language model, a folder or a name on the Hugging Face hub (default: the embedded expert)",
    },
    "--engine": {
        "choices": ("transformers", "openai"),
        "help": "what runs the model: transformers, in this process (default), or openai, a server of that protocol (vLLM, "
        "counterpoint serve), with --base-url and --model as the server calls it",
    },
    "--base-url": {"metavar": "URL", "help": "the server's address, such as http://127.0.0.1:8000/v1"},
    "--tokenizer": {
        "metavar": "ID_OR_PATH",
        "help": "the served model's tokenizer, with which prompts go to the server as tokens where it takes them",
    },
    "--api-key-env": {"metavar": "NAME", "help": "the variable of the environment that holds the server's key"},
    "--concurrency": {"metavar": "N", "type": positive, "help": "requests that are open at a time (default: 8)"},
    "--limit": {"metavar": "N", "type": positive, "help": "use only the first N prompts or questions (default: all of them)"},
    "--seed": {"metavar": "N", "type": non_negative, "default": 0, "help": "seed of the random numbers (default: 0)"},
    "--device": {
        "metavar": "NAME",
        "help": "where to compute: cpu, cuda, cuda:1, mps (default: an accelerator if the machine has one)",
    },
    "--dtype": {
        "choices": ("auto", "float32", "bfloat16", "float16"),
        "default": "auto",
        "help": "precision of the model's weights (default: auto, the checkpoint's own)",
    },
    "--chat-template": {
        "nargs": "?",
        "const": "own",
        "metavar": "auto|own|none|FILE",
        "help": "put texts into a chat template as the user's message: auto, the model's own if it has one; own, or no value, the "
        "model's own; none, texts stay as they are; FILE, the template in it. Prompts that are messages always go through one",
    },
    "--system": {"metavar": "TEXT", "default": "", "help": "the system's message of every chat"},
    "--thinking": {
        "choices": ("keep", "cut", "off"),
        "default": "keep",
        "help": "the thinking of models that think before they answer: keep it in the text, cut it before anything is measured, or "
        "switch it off by the chat template (default: keep)",
    },
    "--trust-remote-code": {"action": "store_true", "help": "run code that comes with a model"},
    "--output-dir": {"metavar": "DIR", "type": folder, "help": "folder to write to"},
    "--output": {"metavar": "FILE", "type": new_file, "help": "write to this file instead of standard output"},
    "--no-renormalise": {
        "dest": "renormalise",
        "action": "store_false",
        "help": "sum the contrast ln p - ln q itself, as released code does, not the log-probability that it defines",
    },
    "--json": {"action": "store_true", "help": "print the results as JSON, and nothing else"},
    "--quiet": {"action": "store_true", "help": "show no progress and print no results"},
}
"""Options by name, as ``add_argument`` takes them."""


def add_shared(parser: argparse._ActionsContainer, *names: str, **settings: Any) -> None:
    """Declare shared options, with ``settings`` of the command's own in place of the shared ones.

    Example:
        >>> parser = argparse.ArgumentParser()
        >>> add_shared(parser, "--limit", "--json")
        >>> parser.parse_args(["--limit", "3"])
        Namespace(limit=3, json=False)
    """
    for name in names:
        parser.add_argument(name, **{**SHARED[name], **settings})


ENGINE = ("--base-url", "--tokenizer", "--api-key-env", "--concurrency")
"""Options of a served model."""


def add_engine_options(parser: argparse._ActionsContainer, **settings: Any) -> None:
    """Declare ``--engine`` and what goes with a server."""
    add_shared(parser, "--engine", **{"default": "transformers", **settings})
    add_shared(parser, *ENGINE, **settings)


def add_chat_options(parser: argparse._ActionsContainer, template: str, **settings: Any) -> None:
    """Declare ``--chat-template``, whose default is ``template``, ``--system`` and ``--thinking``."""
    told = f"{SHARED['--chat-template']['help']} (default: {template})"
    add_shared(parser, "--chat-template", **{"help": told, "default": template, **settings})
    add_shared(parser, "--system", "--thinking", **settings)


def add_output_dir(parser: argparse._ActionsContainer, folder: str, **settings: Any) -> None:
    """Declare ``--output-dir``, whose default is ``folder``."""
    help_text = f"{SHARED['--output-dir']['help']} (default: {folder})"
    add_shared(parser, "--output-dir", **{"default": Path(folder), "help": help_text, **settings})
