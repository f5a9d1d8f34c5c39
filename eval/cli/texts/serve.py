"""``counterpoint serve``: a model with this library's decoders, behind OpenAI's protocol."""

from __future__ import annotations

import argparse

from counterpoint.eval.choosing import describe_decoders
from counterpoint.eval.cli.decoder_aliases import parse_named
from counterpoint.eval.cli.errors import CommandError, UsageError
from counterpoint.eval.cli.models import load_model
from counterpoint.eval.cli.options import add_shared, port


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declare the options of ``counterpoint serve``."""
    parser = subparsers.add_parser(
        "serve",
        help="serve a model with these decoders, at /v1/completions and /v1/chat/completions",
        description='Serve a model by `transformers serve`, with a decoder for each request: its field "decoder" is a choice\n'
        'such as "contrastive_search:top_k=4". One request is answered after the other. Needs pip install "counterpoint[serve]".',
        epilog=f"decoders and their defaults:\n{describe_decoders()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_shared(parser, "--model")
    parser.add_argument(
        "--decoder",
        nargs="+",
        metavar=("NAME", "key=value"),
        default=["contrastive_search"],
        help="the decoder of requests that name none (default: contrastive_search)",
    )
    parser.add_argument(
        "--amateur", metavar="NAME=ID_OR_PATH", action="append", help="an amateur that requests may name; give it again for several"
    )
    parser.add_argument(
        "--host", metavar="ADDRESS", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine)"
    )
    parser.add_argument("--port", metavar="N", type=port, default=8000, help="port to listen on (default: 8000)")
    add_shared(parser, "--device", "--dtype", "--trust-remote-code")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Serve until the process is stopped."""
    (default,) = parse_named("--decoder", [arguments.decoder], arguments)
    amateurs: dict[str, str] = {}
    for each in arguments.amateur or ():
        name, found, path = each.partition("=")
        if not (name and found and path):
            raise UsageError(f"--amateur {each}: write NAME=ID_OR_PATH")
        amateurs[name] = path

    from counterpoint.eval import building, loading  # these import torch
    from counterpoint.eval.engines.serving import Choices

    try:
        import uvicorn

        from counterpoint.decoders.hf.serving.app import build_app
    except ImportError as error:
        raise CommandError(
            f"serve needs transformers with `transformers serve`, and its packages: pip install 'counterpoint[serve]' ({error})"
        ) from error
    with loading.quiet():
        loaded = load_model(arguments)
        if "prompts" not in default.row.needs:
            building.generate_arguments(default, loaded, ["It was"])  # what refuses the model does so before anything is served
        app = build_app(loaded.name, loaded.model, loaded.tokenizer, Choices(loaded, default, amateurs).choose)
        uvicorn.run(app, host=arguments.host, port=arguments.port, log_level="warning")
    return 0
