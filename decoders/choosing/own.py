"""Somebody's own code as a row: ``package.module:Class`` or ``path/to/file.py:Class``, described by its signature."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Collection
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

from counterpoint.decoders.choosing.rows import AMATEUR, DecoderRow, Parameter

FILLED = ("model", "tokenizer", "amateur", "prompts", "ranker", "trust_remote_code")
"""Arguments that are filled in where a signature has them."""
OF_GENERATE = ("input_ids", "logits_processor", "stopping_criteria", "generation_config", "streamer", "synced_gpus")
"""Arguments that ``generate`` gives to a ``custom_generate`` callable."""
SAMPLING = {
    "do_sample": Parameter(False),
    "temperature": Parameter(1.0, exclusive=True),
    "top_k": Parameter(0),
    "top_p": Parameter(1.0, 0, 1),
}
"""What somebody's own decoder takes besides, for ``generate``."""


def resolve(target: str) -> Any:
    """What ``module:name`` or ``file.py:name`` names.

    Raises:
        ValueError: If there is no such module or file, or nothing of that name in it.
    """
    place, _, name = target.rpartition(":")
    module = from_file(Path(place)) if place.endswith(".py") else from_module(place)
    try:
        return getattr(module, name)
    except AttributeError:
        public = ", ".join(each for each in vars(module) if not each.startswith("_")) or "nothing public"
        raise ValueError(f"{target}: {place} has no {name}; it has {public}") from None


def from_module(name: str) -> Any:
    """The module of that name, from the current folder too, as ``python -m`` finds it."""
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not name.startswith(error.name):
            raise  # a module that it imports is missing
        raise ValueError(f"{name}: no such module; a file is named with its .py") from error
    finally:
        if added:
            sys.path.remove(here)


def from_file(path: Path) -> Any:
    """The module that a file holds, executed once for each of its contents."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    name = f"counterpoint_own_{digest(path)}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} cannot be read as a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickles look it up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def digest(path: Path) -> str:
    """The beginning of a file's SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def origin(target: str) -> str:
    """The version of the distribution that a module is from, or the hash of its file."""
    place = target.rpartition(":")[0]
    if not place.endswith(".py"):
        distributions = packages_distributions().get(place.partition(".")[0], [])
        if distributions:
            return f"{distributions[0]} {version(distributions[0])}"
        place = str(inspect.getsourcefile(from_module(place)))
    return f"sha256 {digest(Path(place))}"


def parameters_of(target: Callable[..., Any], leave_out: Collection[str] = FILLED) -> dict[str, Parameter]:
    """The parameters of a callable that text can give: those whose default is a number, a truth value, a text or None.

    Raises:
        ValueError: For an argument that has no default and cannot be filled in, and whose kind is therefore unknown.

    Example:
        >>> def decoder(model, *, alpha=0.1, layers="high"): ...
        >>> list(parameters_of(decoder))
        ['alpha', 'layers']
    """
    found = {}
    for name, parameter in inspect.signature(target).parameters.items():
        if name in leave_out or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if parameter.default is parameter.empty:
            found[name] = Parameter(None, required=True)
        elif parameter.default is None or isinstance(parameter.default, bool | int | float | str):
            found[name] = Parameter(parameter.default, low=-float("inf"))
    return found


def own_decoder(target: str) -> DecoderRow:
    """The row of somebody's own decoder.

    A class of logits processors is called with what its signature asks for and defines a distribution; any other callable is
    a ``custom_generate`` of ``generate``.

    Raises:
        ValueError: If there is no such code, or it is neither.
    """
    from transformers import LogitsProcessor

    found = resolve(target)
    if isinstance(found, type) and issubclass(found, LogitsProcessor):
        return DecoderRow(target, summary(found), target, settings_of(found), "processor", **facts(target, found, True))
    if callable(found) and not isinstance(found, type):
        return DecoderRow(
            target, summary(found), target, settings_of(found, OF_GENERATE), "callable", **facts(target, found, False)
        )
    raise ValueError(f"{target} is neither a class of LogitsProcessor nor a function for generate(custom_generate=...)")


def settings_of(found: Callable[..., Any], leave_out: Collection[str] = ()) -> dict[str, Parameter]:
    """What a choice may say of somebody's own decoder: where its amateur comes from, its own parameters, and how it samples."""
    own = parameters_of(found, (*FILLED, *leave_out))
    amateur = AMATEUR if "amateur" in inspect.signature(found).parameters else {}
    return {**amateur, **own, **{name: each for name, each in SAMPLING.items() if name not in own}}


def facts(target: str, found: Callable[..., Any], distribution: bool) -> dict[str, Any]:
    """What else the row of somebody's own decoder says."""
    needs = tuple(name for name in ("amateur", "prompts") if name in inspect.signature(found).parameters)
    return {"distribution": distribution, "needs": needs, "origin": origin(target), "streams": distribution}


def summary(found: object) -> str:
    """The first line of a docstring."""
    return (inspect.getdoc(found) or "").partition("\n")[0]
