"""The table by which ``generate`` finds the method of a mode, and the check that precedes it; both can be restored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from inspect import signature
from typing import Any

from transformers import GenerationConfig, GenerationMixin
from transformers.generation.configuration_utils import GenerationMode
from transformers.generation.utils import GENERATION_MODES_MAPPING

__all__ = ["GenerationMode", "give_back_modes", "missing_modes", "take_over_modes"]

Method = Callable[..., Any]
Check = Callable[[GenerationMode, GenerationConfig], None]
CheckBatch = Callable[[GenerationConfig, Mapping[str, Any]], None]
"""The configuration and the other arguments of a continuous batch."""

VALIDATE = "_validate_generation_mode"
BATCHES = ("generate_batch", "init_continuous_batching")
"""The methods that a continuous batch goes through, which :class:`GenerationMixin` inherits."""
_before: dict[GenerationMode, str] = {}
_validate: list[Callable[..., None]] = []


def missing_modes(modes: Iterable[GenerationMode]) -> set[GenerationMode]:
    """The ``modes`` that this release of transformers does not have."""
    return set(modes) - GENERATION_MODES_MAPPING.keys()


def take_over_modes(methods: Mapping[GenerationMode, Method], check: Check, check_batch: CheckBatch) -> None:
    """Let ``generate`` of every model run ``methods``, and check the settings of every mode and every continuous batch.

    A second call changes nothing.
    """
    if _before:
        return
    validate = getattr(GenerationMixin, VALIDATE)

    def validated(self: GenerationMixin, mode: GenerationMode, config: GenerationConfig, mode_kwargs: dict[str, Any]) -> None:
        check(mode, config)
        validate(self, mode, config, mode_kwargs)

    _validate.append(validate)
    setattr(GenerationMixin, VALIDATE, validated)
    for name in BATCHES:
        setattr(GenerationMixin, name, _checked(getattr(GenerationMixin, name), check_batch))
    for mode, method in methods.items():
        setattr(GenerationMixin, _name(mode), method)
        _before[mode] = GENERATION_MODES_MAPPING[mode]
        GENERATION_MODES_MAPPING[mode] = _name(mode)


def give_back_modes() -> None:
    """Undo :func:`take_over_modes`; if it was not called before, nothing happens."""
    if not _before:
        return
    setattr(GenerationMixin, VALIDATE, _validate.pop())
    for name in BATCHES:
        delattr(GenerationMixin, name)
    for mode, name in _before.items():
        GENERATION_MODES_MAPPING[mode] = name
        delattr(GenerationMixin, _name(mode))
    _before.clear()


def _checked(method: Callable[..., Any], check: CheckBatch) -> Callable[..., Any]:
    takes = signature(method)

    @wraps(method)
    def checked(self: GenerationMixin, *args: Any, **kwargs: Any) -> Any:
        given = takes.bind(self, *args, **kwargs).arguments
        check(given.get("generation_config") or self.generation_config, given.get("kwargs", {}))
        return method(self, *args, **kwargs)

    return checked


def _name(mode: GenerationMode) -> str:
    return f"_counterpoint_{mode.name.lower()}"
