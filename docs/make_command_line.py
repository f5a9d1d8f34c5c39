"""Write ``command_line.md``, the options of every command, from the parsers themselves.

Usage: ``python make_command_line.py``; a test holds the page equal to what this makes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from counterpoint.eval.cli.main import build_parser
from counterpoint.eval.cli.options import SHARED

PAGE = Path(__file__).parent / "command_line.md"
EVERYWHERE = ("help", "debug")
"""Options of all commands."""

INTRODUCTION = """# Command line

`counterpoint COMMAND --help` says the same in a terminal. All commands have `--help` and `--debug`, which shows the traceback of an
error. A command returns 0 if all went well, 1 after a failure and 2 if it was asked for something wrong; the reason is one line on
standard error.

A decoder is `NAME:key=value,...` wherever one is named, or `NAME key=value ...` where only one can be; the same holds for rankers.
[Decoders](README.md#decoders) have a page each, with their parameters. `counterpoint generate --decoder nucleus --top-p 0.9` is
`counterpoint generate --decoder nucleus:top_p=0.9`.

This page is made from the parsers by `python docs/make_command_line.py`.

## The same in all commands
"""


def page() -> str:
    """The whole page."""
    parsers = list(commands(build_parser()))
    parts = [INTRODUCTION, shared_table(parsers)]
    for parser in parsers:
        description = str(parser.description).replace("\n  ", "\n    ")  # indented by four, it is code
        parts += [f"## {parser.prog}", description, *tables(parser, parsers)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parsers of the commands, each before those of its own commands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield command
                yield from commands(command)


def shared_table(parsers: list[argparse.ArgumentParser]) -> str:
    """The options that several commands share, and which commands have them."""
    rows = []
    for name, settings in SHARED.items():
        owners = [parser.prog.removeprefix("counterpoint ") for parser in parsers if name in parser._option_string_actions]
        rows.append(f"| `{name}` | {settings['help'].split(' (default')[0]} | {', '.join(owners)} |")
    return "\n".join(["| option | what it says | commands |", "|---|---|---|", *rows])


def tables(parser: argparse.ArgumentParser, parsers: list[argparse.ArgumentParser]) -> list[str]:
    """A table for every group of arguments, or the command that has the same ones."""
    found = groups(parser)
    for other in parsers[: parsers.index(parser)]:
        if found and groups(other) == found:
            return [f"The options are those of `{other.prog}`."]
    return found


def groups(parser: argparse.ArgumentParser) -> list[str]:
    """A table for every group of arguments that has any, those without a title of their own together."""
    positional, options, *titled = parser._action_groups
    parts = table(parser, [*positional._group_actions, *options._group_actions])
    for group in titled:
        if rows := table(parser, group._group_actions):
            title = f"{str(group.title)[:1].upper()}{str(group.title)[1:]}"
            parts += [f"{title}: {group.description}" if group.description else f"{title}:", *rows]
    return parts


def table(parser: argparse.ArgumentParser, actions: Sequence[argparse.Action]) -> list[str]:
    """A table of the arguments that are the command's own, if there are any."""
    rows = [row(parser, action) for action in actions if shown(action)]
    return ["\n".join(["| argument | what it says |", "|---|---|", *rows])] if rows else []


def shown(action: argparse.Action) -> bool:
    """Whether an argument is the command's own."""
    return action.dest not in EVERYWHERE and not isinstance(action, argparse._SubParsersAction)


def row(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """An argument with its values, and what its help says."""
    formatter = parser._get_formatter()
    values = formatter._format_args(action, action.dest.upper()) if action.nargs != 0 else ""
    name = " ".join(filter(None, [*action.option_strings, values]))
    required = " (required)" if action.required and action.option_strings else ""
    meaning = formatter._expand_help(action).replace("|", "\\|")
    return f"| `{name}` | {meaning}{required} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
