"""The language model that a command line names."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from counterpoint.eval.cli.errors import CommandError, option_names

if TYPE_CHECKING:
    from counterpoint.eval.loading import Loaded


def load_model(arguments: argparse.Namespace) -> Loaded:
    """Load the model of ``--model``, ``--device``, ``--dtype`` and ``--trust-remote-code``.

    Raises:
        CommandError: If there is no such model or device, or the model cannot be loaded whole.
    """
    from counterpoint.eval import loading  # imports torch

    with model_errors():
        return loading.load(arguments.model, arguments.device, arguments.dtype, arguments.trust_remote_code)


@contextmanager
def model_errors(*arguments: str) -> Iterator[None]:
    """Report errors of loading the model of ``--model``, with the way out where there is no such model.

    Args:
        *arguments: Names of further arguments that are options of the command.

    Raises:
        CommandError: In place of a ``ValueError`` or an ``OSError``.
    """
    with option_names("device", "trust_remote_code", *arguments):
        try:
            yield
        except FileNotFoundError as error:
            raise CommandError(f"{error}; or omit --model to use the embedded model") from error
