"""The parser of every command: argparse, whose errors are raised and say what may have been meant and which page lists it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from itertools import takewhile
from typing import Any, NoReturn

from counterpoint.eval.cli.decoder_aliases import decoders_with
from counterpoint.eval.cli.errors import UsageError

PAGE = "docs/command_line.md"


class Parser(argparse.ArgumentParser):
    """An argument parser that refuses unknown options by itself and reports errors like those of the commands.

    A command that passes unknown words on sets a default for ``others``.
    """

    def parse_known_args(  # type: ignore[override]  # the overloads concern other namespaces than argparse's own
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse as argparse does, but leave over only what a command passes on.

        Raises:
            UsageError: For unknown words, with what may have been meant.
        """
        words = [*(sys.argv[1:] if args is None else args)]
        if self.get_default("others") is None:
            self.refuse_unknown(self.own_words(words))  # before argparse complains of what is missing
        parsed, others = super().parse_known_args(words, namespace)
        if others and "others" not in parsed:
            self.refuse_unknown(others)
            self.error(f"unrecognized arguments: {' '.join(others)}")
        return parsed, others

    def own_words(self, words: Sequence[str]) -> list[str]:
        """The words up to the name of a command, or none if a command comes first, misspelt or not."""
        commands = {name for action in self._actions if isinstance(action, argparse._SubParsersAction) for name in action.choices}
        if commands and words and not words[0].startswith("-"):
            return []
        return [*takewhile(lambda word: word not in commands, words)]

    def refuse_unknown(self, words: Iterable[str]) -> None:
        """Raise for the first option among the words that this parser lacks."""
        known = [name for action in self._actions for name in action.option_strings]
        for word in words:
            name = word.partition("=")[0]
            if word == "--":
                return
            if name.startswith("--") and " " not in word and name not in known:
                self.error(f"unknown option {name}{meant_option(name, known)}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            choices = [*map(str, action.choices)]
            message = f"invalid choice: {value!r}{did_you_mean(str(value), choices)}; choose from {', '.join(choices)}"
            raise argparse.ArgumentError(action, message)

    def error(self, message: str) -> NoReturn:
        """Raise with the page that lists the options, instead of printing the usage and exiting."""
        _, _, command = self.prog.partition(" ")
        page = f"{PAGE}#{self.prog.replace(' ', '-')}" if command else PAGE
        raise UsageError(f"{message}; see {self.prog} --help or {page}")


def meant_option(option: str, known: Sequence[str]) -> str:
    """What may have been meant by an unknown option: another one, or a parameter of a decoder."""
    dashed = option.replace("_", "-")
    key = option.removeprefix("--").replace("-", "_")
    by_name = next((name for name in ("--decoder", "--decoders") if name in known), None)
    if by_name and dashed not in known and (names := decoders_with(key)):
        return f": {key} is a parameter, written behind its decoder: {by_name} {names[0]}:{key}=VALUE (docs/decoders/{names[0]}.md)"
    return did_you_mean(dashed, known)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A question to append to an error, if ``word`` resembles one that is known.

    Example:
        >>> did_you_mean("--js", ["--json", "--seed"])
        ' (did you mean --json?)'
    """
    close = get_close_matches(word, [*known], n=1)
    return f" (did you mean {close[0]}?)" if close else ""
