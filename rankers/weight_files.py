"""What the folder of a model may hold that is neither read nor run: its own code, pickles, damaged weights."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager

from safetensors import SafetensorError

RUN = "read it, then let it run by trust_remote_code=True"
"""The way out where a model's own code may run."""


@contextmanager
def refusals(what: str, own_code: str = RUN) -> Iterator[None]:
    """Report in one line what loading within the context refuses.

    Args:
        what: What is loaded, as the message names it.
        own_code: The way out where it comes with its own code.

    Raises:
        ValueError: For a model that needs its own code, a pickle that holds more than weights, and damaged weights.
    """
    try:
        yield
    except (pickle.UnpicklingError, EOFError) as error:
        raise ValueError(
            f"{what} has weights in a pickle that holds more than weights, or is damaged, and is not read, since reading it would "
            "run code; convert it where you trust it: save_pretrained() of the model there writes safetensors"
        ) from error
    except SafetensorError as error:
        raise ValueError(f"{what} has damaged weights, fetch or write them again: {error}") from error
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        raise ValueError(f"{what} comes with its own code; {own_code}") from error
