"""The language model that a command line names, and how prompts become chats for it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from counterpoint.decoders.forwards.chats import Prompt
from counterpoint.eval import EXPERT
from counterpoint.eval.cli.decoder_aliases import option_of
from counterpoint.eval.cli.errors import CommandError, UsageError, option_names

if TYPE_CHECKING:
    from counterpoint.eval.chat import ChatFormat
    from counterpoint.eval.engines.served import AnyModel
    from counterpoint.eval.loading import Loaded


def load_model(arguments: argparse.Namespace) -> Loaded:
    """Load the model of ``--model``, ``--device``, ``--dtype`` and ``--trust-remote-code``.

    Raises:
        CommandError: If there is no such model or device, or the model cannot be loaded whole.
    """
    from counterpoint.eval import loading  # imports torch

    with model_errors():
        return loading.load(arguments.model, arguments.device, arguments.dtype, arguments.trust_remote_code)


ENGINE_OPTIONS = ("base_url", "tokenizer", "api_key_env", "concurrency")


def check_engine(arguments: argparse.Namespace) -> None:
    """Refuse options of a server without one, and a server without its options.

    Raises:
        UsageError: With the way out.
    """
    if arguments.engine == "transformers":
        given = next((name for name in ENGINE_OPTIONS if getattr(arguments, name) is not None), None)
        if given is not None:
            raise UsageError(f"{option_of(given)} goes with a server: add --engine openai")
        return
    if arguments.base_url is None:
        raise UsageError("--engine openai needs the server's address: --base-url http://HOST:PORT/v1")
    if arguments.model == str(EXPERT):
        raise UsageError("--engine openai needs --model NAME, as the server lists it at /v1/models")
    if arguments.dtype != "auto":
        raise UsageError(f"--dtype {arguments.dtype} is the server's: start it with that, and leave it out here")


def find_model(arguments: argparse.Namespace, known_as: str | None = None) -> AnyModel:
    """The model of ``--model``, in this process or by ``--engine openai`` behind an endpoint.

    Args:
        arguments: The command's.
        known_as: The fingerprint that earlier results have.

    Raises:
        CommandError: As for :func:`load_model`, and if the server cannot be reached or has no such model.
    """
    if arguments.engine == "transformers":
        return load_model(arguments)
    from counterpoint.eval.engines.served import connect  # imports torch

    with option_names("device", *ENGINE_OPTIONS):
        return connect(
            arguments.base_url,
            arguments.model,
            tokenizer=arguments.tokenizer,
            api_key_env=arguments.api_key_env,
            concurrency=arguments.concurrency or CONCURRENCY,
            device=arguments.device,
            trust_remote_code=arguments.trust_remote_code,
            known_as=known_as,
        )


CONCURRENCY = 8
"""Requests that are open at a time, unless ``--concurrency`` says otherwise."""


@contextmanager
def model_errors(*arguments: str) -> Iterator[None]:
    """Report errors of loading the model of ``--model``, with the way out where there is no such model.

    Args:
        *arguments: Names of further arguments that are options of the command.

    Raises:
        CommandError: In place of a ``ValueError`` or an ``OSError``.
    """
    with option_names("device", *arguments):
        try:
            yield
        except FileNotFoundError as error:
            raise CommandError(f"{error}; or omit --model to use the embedded model") from error


CHAT_OPTIONS = ("chat_template", "system", "thinking")


def chosen_format(arguments: argparse.Namespace, loaded: AnyModel, prompts: Sequence[Prompt] = ()) -> ChatFormat:
    """How the prompts become chats by ``--chat-template``, ``--system`` and ``--thinking``, with a note if a template is left out.

    Raises:
        CommandError: If the model does not allow it.
    """
    from counterpoint.eval.engines.served import format_of  # imports torch

    thinking = vars(arguments).get("thinking", "keep")
    with option_names(*CHAT_OPTIONS):
        chats = format_of(loaded, arguments.chat_template, arguments.system, thinking, prompts)
    if not vars(arguments).get("quiet"):
        note_template(chats, loaded, prompts)
    return chats


def note_template(chats: ChatFormat, loaded: AnyModel, prompts: Sequence[Prompt] = ()) -> None:
    """Say so if texts are continued without the template that the model has."""
    texts = not prompts or any(isinstance(each, str) for each in prompts)
    if chats.template and not chats.used and texts:
        tell("note", f"{loaded.name} has a chat template, and is used without it: --chat-template auto puts texts into it")


def warn_of_empty(texts: Sequence[str], chats: ChatFormat, loaded: AnyModel) -> None:
    """Warn if all texts are empty, with the likely cause."""
    if not texts or any(text.strip() for text in texts):
        return
    if chats.thinking == "cut":
        cause = "the thinking that was cut did not end; raise --max-new-tokens, or take --thinking keep"
    elif chats.template and not chats.used:
        cause = f"{loaded.name} has a chat template, without which it ends a text at once; take --chat-template auto"
    elif chats.template:
        cause = f"{loaded.name} ends its turn at once; is its chat template the right one?"
    else:
        cause = f"{loaded.name} ends a text at once; if it was trained on chats, give it their template: --chat-template FILE"
    count = "the text is" if len(texts) == 1 else f"all {len(texts)} texts are"
    tell("warning", f"{count} empty: {cause}")


def tell(kind: str, message: str) -> None:
    """A line on standard error."""
    print(f"counterpoint: {kind}: {message}", file=sys.stderr)
