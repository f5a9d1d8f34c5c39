"""Which version of a model a name stands for."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig


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
