"""What a model is, by its content: which weights a name stands for, in a folder, on the hub or in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from counterpoint.eval.embedded import AMATEUR, EXPERT
from counterpoint.eval.engines.served import Served
from counterpoint.eval.journal import key_of
from counterpoint.rankers import SMALL

if TYPE_CHECKING:
    from counterpoint.decoders.choosing.specs import Spec
    from counterpoint.eval.loading import Loaded

WHOLE = 2 * 10**9
"""Bytes up to which weights are hashed whole; of more than that, samples of every file or tensor stand for them."""
SAMPLE = 2**20
"""Bytes of a sample: each file or tensor has one at its beginning, in its middle and at its end."""
MODELS = ("amateur", "amateur_adapter", "path")
"""Parameters of decoders and rankers that name a model."""
FILES = ("heads",)
"""Parameters that may name a file."""

File = tuple[str, str, int, int]
"""A file's name below its folder, its path, its size and when it was changed, in nanoseconds."""


def revision(name: str) -> str:
    """The commit of a model of the hub, or a hash of a file or of all files of a folder, whatever it is called.

    Files of sub-folders count, those whose names begin with a dot do not. A folder of more than 2 GB is known by the names, sizes,
    times of change and three samples of its files, which takes seconds.

    Raises:
        OSError: If there is no such model.

    Example:
        >>> from counterpoint.eval import AMATEUR, EXPERT
        >>> from counterpoint.eval.revisions import revision
        >>> revision(str(EXPERT)) == revision(str(AMATEUR))
        False
    """
    folder = Path(name)
    if folder.is_file():
        status = folder.stat()
        return hash_of((("", str(folder.absolute()), status.st_size, status.st_mtime_ns),))
    return hash_of(tuple(files_of(folder))) if folder.is_dir() else commit(name)


def files_of(folder: Path) -> Iterator[File]:
    """The files of a folder and of those in it, but for what begins with a dot."""
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in place.parts):
            status = path.stat()
            yield place.as_posix(), str(path.absolute()), status.st_size, status.st_mtime_ns


@lru_cache(maxsize=64)
def hash_of(files: tuple[File, ...]) -> str:
    """A hash of files, which is not computed again while sizes and times are the same."""
    digest = hashlib.sha256()
    sampled = sum(size for _, _, size, _ in files) > WHOLE
    for place, path, size, changed in files:
        with open(path, "rb") as file:  # noqa: PTH123 - a path in a key
            content = hashlib.sha256()
            for start, stop in samples(size) if sampled else [(0, size)]:
                file.seek(start)
                while start < stop and (block := file.read(min(SAMPLE, stop - start))):
                    content.update(block)
                    start += len(block)
        digest.update(f"{place} {content.hexdigest()}{f' {size} {changed}' if sampled else ''}\n".encode())
    return f"sha256:{digest.hexdigest()}"


def samples(size: int) -> list[tuple[int, int]]:
    """Where the three samples of so many bytes begin and end.

    Example:
        >>> from counterpoint.eval.revisions import samples
        >>> samples(5 * 2**20)
        [(0, 1048576), (2097152, 3145728), (4194304, 5242880)]
    """
    if size <= 3 * SAMPLE:
        return [(0, size)]
    starts = (0, (size - SAMPLE) // 2, size - SAMPLE)
    return [(start, start + SAMPLE) for start in starts]


def commit(name: str) -> str:
    """The commit of a repository of the hub, of a model or of an adapter."""
    found: str | None = None
    for options in ({}, {"_configuration_file": "adapter_config.json"}):
        try:
            config: dict[str, Any] = PreTrainedConfig.get_config_dict(name, **options)[0]
        except OSError:
            continue
        found = found or config.get("_commit_hash")
    if found is None:
        raise FileNotFoundError(f"{name} is neither a local folder nor a model of the Hugging Face hub that can be reached")
    return str(found)


def fingerprint(model: PreTrainedModel) -> str:
    """A hash of a model's weights and configuration in memory, wherever they came from; above 2 GB of samples of every tensor."""
    digest = hashlib.sha256(model.config.to_json_string().encode())
    weights = sorted(model.state_dict().items())
    sampled = sum(weight.numel() * weight.element_size() for _, weight in weights) > WHOLE
    for name, weight in weights:
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        flat = weight.detach().contiguous().flatten().view(torch.uint8)
        for start, stop in samples(len(flat)) if sampled else [(0, len(flat))]:
            digest.update(flat[start:stop].cpu().numpy().data)
    return digest.hexdigest()


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """A hash of all that makes tokens of a text and a chat."""
    known: Any = tokenizer
    fast = known.backend_tokenizer.to_str() if isinstance(tokenizer, PreTrainedTokenizerFast) else sorted(known.get_vocab().items())
    return key_of(
        type(tokenizer).__name__, fast, known.init_kwargs.get("add_bos_token"), known.all_special_ids, known.chat_template
    )


def dependencies(loaded: Loaded | Served, spec: Spec[Any]) -> dict[str, Any]:
    """All that a result of a command depends on besides its data and settings, as JSON has it.

    The one place for it: the model's files (its tokenizer and generation settings are among them), the precision and kind of device
    it computes in, the decoder with its parameters, and the files of every model and the code of one's own that it names. Releases
    of libraries are recorded beside a result, not in its key.
    """
    decoder = [spec.name, spec.plain(), spec.origins()]
    if isinstance(loaded, Served):
        return {"model": loaded.name, **loaded.facts(), "decoder": decoder, "models": models_of(spec, loaded.name, served=True)}
    return {
        "model": revision(loaded.name),
        "dtype": str(loaded.model.dtype).removeprefix("torch."),
        "device": loaded.model.device.type,
        "decoder": decoder,
        "models": models_of(spec, loaded.name),
    }


def models_of(spec: Spec[Any], model: str, *, served: bool = False) -> list[dict[str, str]]:
    """The revisions of the models and files that a choice names, and of those in the choices in it.

    A server's amateurs are names that it was started with, and no models here (``served``).

    Raises:
        FileNotFoundError: If there is no such model.
    """
    own: dict[str, str] = {}
    for name in ("path",) if served else MODELS:
        value = spec.values.get(name)
        if isinstance(value, str) and value:
            try:
                own[name] = revision(value)
            except OSError as error:
                raise FileNotFoundError(f"{spec.row.kind_of_name} {spec.name}: {name}={error}") from error
    for name in FILES:
        value = spec.values.get(name)
        if isinstance(value, str) and Path(value).is_file():
            own[name] = revision(value)
    if spec.values.get("amateur") == "" and not served and model == str(EXPERT):
        own["amateur"] = revision(str(AMATEUR))
    if spec.name == "small":
        own["path"] = revision(str(SMALL))
    return [own, *(found for each in spec.nested() for found in models_of(each, model, served=served))]
