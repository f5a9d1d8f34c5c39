"""What every training is told, and the checks of what it is told."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """The settings that all trainings share.

    Args:
        learning_rate: The largest learning rate of AdamW.
        epochs: How many times every example is seen.
        batch_size: Number of examples in a step.
        micro_batch_size: Number of examples that go through the model at once; fewer than a step's save memory and leave the
            gradient as it is. None for all of a step.
        seed: Seed of the order of the examples, and of weights that are drawn.

    Raises:
        ValueError: For a number that is too small.
    """

    learning_rate: float
    epochs: int
    batch_size: int
    micro_batch_size: int | None = None
    seed: int = 0

    LEAST: ClassVar[Mapping[str, int]] = {"epochs": 1, "batch_size": 1, "micro_batch_size": 1}
    """The smallest value of each setting that counts something."""

    def __post_init__(self) -> None:
        check_least(self, self.LEAST)
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate={self.learning_rate!r}: a number above 0 is needed, e.g. learning_rate=3e-4")


def check_least(settings: Any, least: Mapping[str, int]) -> None:
    """Refuse settings that are too small; None, which leaves a setting open, is none of them.

    Raises:
        ValueError: For the first that is below its least value.

    Example:
        >>> from types import SimpleNamespace
        >>> from counterpoint.rankers.training.settings import check_least
        >>> check_least(SimpleNamespace(epochs=0), {"epochs": 1})
        Traceback (most recent call last):
        ValueError: epochs=0: at least 1 is needed
    """
    for name, smallest in least.items():
        value = getattr(settings, name)
        if value is not None and not smallest <= value < math.inf:
            raise ValueError(f"{name}={value!r}: at least {smallest} is needed")
