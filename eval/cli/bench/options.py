"""The options of ``counterpoint bench run``, which the command line and a file give; the command line wins."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from counterpoint.decoders.choosing.grammar import OWN
from counterpoint.decoders.choosing.sweeps import expanded
from counterpoint.eval import EXPERT
from counterpoint.eval.choosing import parse_decoder
from counterpoint.eval.cli.bench.score import add_score_options
from counterpoint.eval.cli.decoder_aliases import ALIASES, add_aliases, check_one, option_of
from counterpoint.eval.cli.errors import CommandError, UsageError, usage_errors
from counterpoint.eval.cli.options import add_chat_options, add_engine_options, add_output_dir, add_shared, positive
from counterpoint.eval.cli.parser import Parser, did_you_mean
from counterpoint.eval.inputs import yaml_mapping

DECODERS = ("greedy", "beam", "nucleus", "top_k", "typical", "min_p", "contrastive_search", "dola")
"""Decoders that run unless others are named; with the embedded expert, contrastive decoding runs too, by the embedded amateur."""

SERVED_DECODERS = ("greedy", "nucleus")
"""Decoders that every server has, which run on one unless others are named."""

DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "model": str(EXPERT),
        "decoders": None,
        "file": None,
        "metrics": None,
        "scorer": None,
        "embedder": None,
        "mauve_protocol": None,
        "featurizer": None,
        "formats": None,
        "limit": None,
        "max_new_tokens": 128,
        "prompt_tokens": None,
        "chat_template": "none",
        "system": "",
        "thinking": "keep",
        "num_seeds": 1,
        "batch_size": 16,
        "dtype": "auto",
        "device": None,
        "device_map": None,
        "engine": "transformers",
        "base_url": None,
        "tokenizer": None,
        "api_key_env": None,
        "concurrency": None,
        "output_dir": Path("bench"),
        "config": None,
        "shard": None,
        "dry_run": False,
        "quiet": False,
        "json": False,
        "trust_remote_code": False,
        **dict.fromkeys(ALIASES),
    }
)


def shard(text: str) -> tuple[int, int]:
    """Parse which share of how many.

    Example:
        >>> from counterpoint.eval.cli.bench.options import shard
        >>> shard("0/4")
        (0, 4)
    """
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and len(text) < 20 and int(index) < int(count)):
        raise argparse.ArgumentTypeError(f"{text!r} is no share I/N, I from 0 to N - 1")
    return int(index), int(count)


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options; those not given are missing from the result, so that a file can give them."""
    group = parser.add_argument_group("what is run")

    def add(*names: str, **settings: Any) -> None:
        group.add_argument(*names, default=argparse.SUPPRESS, **settings)

    add_shared(group, "--model", default=argparse.SUPPRESS)
    add_engine_options(group, default=argparse.SUPPRESS)
    add(
        "--decoders",
        nargs="+",
        metavar=("NAME", "NAME:key=value,..."),
        help="decoders to compare, key=a|b|c for each of several values "
        f"(default: {', '.join(DECODERS)}; and contrastive_decoding, if the model is the embedded expert; "
        f"by a server {', '.join(SERVED_DECODERS)})",
    )
    add(
        "--file",
        metavar="FILE_OR_ID",
        help='prompts, one a line, or JSON Lines with "prompt" (or "messages") and "reference", or the name of a data set on '
        "the hub (default: 200 passages that come with the package)",
    )
    add_shared(group, "--limit", default=argparse.SUPPRESS)
    add("--max-new-tokens", metavar="N", type=positive, help=f"tokens to add at most (default: {DEFAULTS['max_new_tokens']})")
    add("--prompt-tokens", metavar="N", type=positive, help="cut every passage after N tokens: prompt before, reference after")
    add_chat_options(group, "none", default=argparse.SUPPRESS)
    add("--num-seeds", metavar="N", type=positive, help="texts that samplers write for each prompt (default: 1)")
    add("--batch-size", metavar="N", type=positive, help=f"prompts that are continued together (default: {DEFAULTS['batch_size']})")
    add_shared(group, "--dtype", "--device", default=argparse.SUPPRESS)
    add("--device-map", metavar="MAP", help="auto spreads a model that is larger than one device over all of them")
    add_shared(group, "--trust-remote-code", default=argparse.SUPPRESS)
    add_output_dir(group, str(DEFAULTS["output_dir"]), default=argparse.SUPPRESS)
    add("--config", metavar="FILE.yaml", type=Path, help="these options by the same names; the command line wins")
    add(
        "--shard",
        metavar="I/N",
        type=shard,
        help="write the I-th of N shares, counted from 0, beside processes that write the others into the same folder, and "
        "score nothing; `counterpoint bench score` merges them",
    )
    add("--dry-run", action="store_true", help="print the plan and what it costs, and run nothing")
    add_shared(group, "--json", "--quiet", default=argparse.SUPPRESS)
    add_aliases(parser, "--decoders", default=argparse.SUPPRESS)
    add_score_options(parser)


def resolve(given: argparse.Namespace) -> argparse.Namespace:
    """Complete the options: those that the command line lacks come from the file, and the rest are defaults.

    Raises:
        CommandError: If the file cannot be read.
        UsageError: If an option of the file is unknown or has a wrong value.
    """
    chosen = {name: value for name, value in vars(given).items() if name in DEFAULTS}
    file = chosen.get("config")
    return argparse.Namespace(**{**DEFAULTS, **(read_options(file) if file else {}), **chosen}, command=command_of(chosen))


def command_of(chosen: Mapping[str, Any]) -> str:
    """The command line that gives these options, those of a file by its name; a server's address stays with its user.

    Example:
        >>> command_of({"decoders": ["greedy", "nucleus:top_p=0.9"], "limit": 20, "base_url": "http://10.0.0.1:8000"})
        'counterpoint bench --decoders greedy nucleus:top_p=0.9 --limit 20 --base-url URL'
    """
    words = ["counterpoint", "bench"]
    for name, value in {**chosen, **({"base_url": "URL"} if chosen.get("base_url") else {})}.items():
        if value is not None and value is not False:
            values = [] if value is True else value if isinstance(value, list) else [value]
            words += [option_of(name), *map(str, values)]
    return shlex.join(words)


def read_options(path: Path) -> dict[str, Any]:
    """Read the options of a YAML file and check them as on the command line."""
    where = f"--config {path}"
    try:
        with usage_errors():
            content = yaml_mapping(path, where)
    except OSError as error:
        raise CommandError(f"{where}: {error}") from error
    known = [name for name in DEFAULTS if name != "config"]
    words: list[str] = []
    for key, value in content.items():
        name = str(key).replace("-", "_")
        if name not in known:
            raise UsageError(f"{where}: unknown option {key!r}{did_you_mean(name, known)}; known: {', '.join(known)}")
        words += option_words(name, value, f"{where}: {key}")
    parser = Parser(prog="counterpoint bench", allow_abbrev=False)
    add_run_options(parser)
    try:
        options = vars(parser.parse_args(words))
        for choice in options.get("decoders", ()):
            check_one("--decoders", choice)
            with usage_errors():
                for each in expanded(choice):
                    parse_decoder(each, own=False)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error
    for name in options.get("metrics", ()):
        if OWN.fullmatch(name):
            raise UsageError(f"{where}: {name} is code of somebody's own, which runs only where a command line names it")
    return options


def option_words(name: str, value: object, where: str) -> list[str]:
    """Write an option of a file as on the command line; one that is null or false is left out.

    Raises:
        UsageError: For a value of another kind than the option has.
    """
    if value is None or value is False:
        return []
    flag, several, switch = option_of(name), name in SEVERAL, isinstance(DEFAULTS[name], bool)
    if switch != (value is True) and (switch or name != "chat_template"):
        raise UsageError(
            f"{where} is {value!r}: " + ("true or false is needed" if switch else "a value is needed, not true or false")
        )
    if value is True:
        return [flag]
    values = value if isinstance(value, list) and several else [value]
    for each in values:
        if not isinstance(each, str | int | float):
            needed = "a list of names" if several else "one value"
            raise UsageError(f"{where} is {' '.join(str(type(each)).split())[8:-2]} {str(each)[:40]!r}: {needed} is needed")
    return [flag, *map(str, values)] if several else [f"{flag}={value}"]


SEVERAL = ("decoders", "metrics")
"""Options that take a list."""
