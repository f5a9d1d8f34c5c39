"""The number of a trainer's devices, which its arguments detect and do not let anybody set."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a trainer imports extras, where they are installed
    from transformers import TrainingArguments


def train_on_one_device(arguments: TrainingArguments) -> None:
    """Let this process drive one device of several, so that minibatches stay whole."""
    arguments._n_gpu = min(arguments.n_gpu, 1)
