"""Which version of a model a name stands for, and which weights it has."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel


def revision(name: str) -> str:
    """The commit of a model of the hub, or a hash of all files of a folder, whatever the folder is called.

    Example:
        >>> from counterpoint.eval import AMATEUR, EXPERT
        >>> from counterpoint.eval.revisions import revision
        >>> revision(str(EXPERT)) == revision(str(AMATEUR))
        False
    """
    folder = Path(name)
    if not folder.is_dir():
        config: dict[str, Any] = PreTrainedConfig.get_config_dict(name)[0]
        return str(config.get("_commit_hash"))
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        with path.open("rb") as file:
            content = hashlib.sha256()
            while block := file.read(2**20):
                content.update(block)
        digest.update(f"{path.name} {content.hexdigest()}\n".encode())
    return f"sha256:{digest.hexdigest()}"


def fingerprint(model: PreTrainedModel) -> str:
    """A hash of a model's weights and configuration, wherever they came from."""
    digest = hashlib.sha256(model.config.to_json_string().encode())
    for name, weight in sorted(model.state_dict().items()):
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        digest.update(weight.detach().contiguous().cpu().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
