"""The options of ``counterpoint bench run``, from the command line and from a file, the command line first."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from counterpoint.eval import EXPERT
from counterpoint.eval.cli.bench_score import add_score_options
from counterpoint.eval.cli.options import positive
from counterpoint.eval.cli.parser import Parser
from counterpoint.eval.errors import CommandError, UsageError
from counterpoint.eval.key_values import suggestion

DECODERS = ("greedy", "beam", "nucleus", "top_k", "typical", "min_p", "contrastive_search", "dola")
"""What runs unless decoders are given; beside the embedded expert, whose amateur is at hand, contrastive decoding as well."""

DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "model": str(EXPERT),
        "decoders": None,
        "prompts": None,
        "metrics": None,
        "scorer": None,
        "embedder": None,
        "mauve_protocol": None,
        "featurizer": None,
        "samples": None,
        "max_new_tokens": 128,
        "prompt_tokens": None,
        "seeds": 1,
        "batch_size": 16,
        "dtype": "auto",
        "device": None,
        "device_map": None,
        "output_dir": Path("bench"),
        "config": None,
        "dry_run": False,
        "quiet": False,
        "json": False,
        "trust_remote_code": False,
    }
)


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options; those not given are not in the result, so that a file can give them."""
    group = parser.add_argument_group("what is run")

    def add(*names: str, **settings: Any) -> None:
        group.add_argument(*names, default=argparse.SUPPRESS, **settings)

    add("--model", metavar="ID_OR_PATH", help="default: the embedded expert")
    add(
        "--decoders",
        nargs="+",
        metavar=("NAME", "NAME:key=value,..."),
        help=f"default: {', '.join(DECODERS)}; and contrastive_decoding, if the model is the embedded expert",
    )
    add("--prompts", metavar="FILE_OR_ID", help='lines of text, JSON Lines with "prompt" and "reference", or a data set of the hub')
    add("--samples", metavar="N", type=positive, help="only the first N prompts")
    add("--max-new-tokens", metavar="N", type=positive, help=f"default: {DEFAULTS['max_new_tokens']}")
    add("--prompt-tokens", metavar="N", type=positive, help="cut every passage after N tokens: prompt before, reference after")
    add("--seeds", metavar="K", type=positive, help="samplers continue every prompt K times (default: 1)")
    add("--batch-size", metavar="N", type=positive, help=f"default: {DEFAULTS['batch_size']}")
    add("--dtype", choices=("auto", "float32", "bfloat16", "float16"), help="default: auto")
    add("--device", metavar="NAME", help="cpu, cuda, cuda:1, mps; default: an accelerator if there is one")
    add("--device-map", metavar="MAP", help="auto: a model larger than one device is spread over all")
    add("--output-dir", metavar="DIR", type=Path, help="default: bench")
    add("--config", metavar="FILE.yaml", type=Path, help="these options by the same names; the command line wins")
    add("--dry-run", action="store_true", help="print the plan and what it costs")
    add("--quiet", action="store_true", help="no progress, no table")
    add("--json", action="store_true", help="print the results as JSON")
    add("--trust-remote-code", action="store_true", help="run code that comes with the models")
    add_score_options(parser)


def resolve(given: argparse.Namespace) -> argparse.Namespace:
    """The options with what the file and the defaults say of those not given.

    Raises:
        CommandError: If the file cannot be read.
        UsageError: If an option of the file is unknown or has a wrong value.
    """
    chosen = {name: value for name, value in vars(given).items() if name in DEFAULTS}
    file = chosen.get("config")
    return argparse.Namespace(**{**DEFAULTS, **(read_options(file) if file else {}), **chosen})


def read_options(path: Path) -> dict[str, Any]:
    """The options of a YAML file, checked as on the command line."""
    import yaml  # type: ignore[import-untyped]  # transformers depends on it

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CommandError(f"--config {path}: {error}") from error
    if not isinstance(content, dict):
        raise UsageError(f"--config {path}: not a mapping of options, e.g. `max-new-tokens: 64`")
    known = [name for name in DEFAULTS if name != "config"]
    words: list[str] = []
    for key, value in content.items():
        name = str(key).replace("-", "_")
        if name not in known:
            close = suggestion(name, dict.fromkeys(known))
            raise UsageError(f"--config {path}: unknown option {key!r}{close}; known: {', '.join(known)}")
        words += option_words(name, value)
    parser = Parser(prog=f"--config {path}", add_help=False, allow_abbrev=False)
    add_run_options(parser)
    return vars(parser.parse_args(words))


def option_words(name: str, value: object) -> list[str]:
    """An option of a file as on the command line; null and false are as if it were not there."""
    if value is None or value is False:
        return []
    flag = f"--{name.replace('_', '-')}"
    if value is True:
        return [flag]
    return [flag, *map(str, value)] if isinstance(value, list) else [f"{flag}={value}"]
