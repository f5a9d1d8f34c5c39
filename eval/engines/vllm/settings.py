"""What a server was started with for contrasts: amateurs and adapters by name, from ``--additional-config``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

KEY = "counterpoint"
"""The key of ``--additional-config`` that is ours; others belong to vLLM and to other plugins."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
KEYS = ("amateurs", "adapters", "expert_copy")


@dataclass(frozen=True)
class Settings:
    """The models that requests choose among, by name.

    Args:
        amateurs: Models with the served model's vocabulary: a folder or a repository each.
        adapters: PEFT adapters of the served model: a folder or a repository each.
        expert_copy: Whether the served model is loaded once more, by transformers, to read prompts without their context.
    """

    amateurs: Mapping[str, str] = field(default_factory=dict)
    adapters: Mapping[str, str] = field(default_factory=dict)
    expert_copy: bool = False

    @classmethod
    def of(cls, vllm_config: Any) -> Settings:
        """The settings among a server's own.

        Raises:
            ValueError: For a key, a name or a value that is wrong.

        Example:
            >>> from types import SimpleNamespace
            >>> Settings.of(SimpleNamespace(additional_config={"counterpoint": {"amateurs": {"small": "/models/small"}}}))
            Settings(amateurs={'small': '/models/small'}, adapters={}, expert_copy=False)
        """
        given = vllm_config.additional_config
        own = given.get(KEY, {}) if isinstance(given, Mapping) else {}
        if not isinstance(own, Mapping) or set(own) - set(KEYS):
            raise ValueError(f"--additional-config: {KEY}={own!r} takes {', '.join(KEYS)}")
        amateurs, adapters = (names(key, own.get(key, {})) for key in KEYS[:2])
        if both := sorted(amateurs.keys() & adapters.keys()):
            raise ValueError(f"--additional-config: {both[0]} names an amateur and an adapter; give them different names")
        expert_copy = own.get("expert_copy", False)
        if not isinstance(expert_copy, bool):
            raise ValueError(f"--additional-config: expert_copy={expert_copy!r} is neither true nor false")
        return cls(amateurs, adapters, expert_copy)

    @property
    def copies_expert(self) -> bool:
        """Whether the served model is needed in transformers' form: under an adapter, or under another prompt."""
        return self.expert_copy or bool(self.adapters)


def names(key: str, given: Any) -> dict[str, str]:
    """Folders or repositories by name.

    Raises:
        ValueError: If it is anything else.
    """
    if not isinstance(given, Mapping) or not all(isinstance(where, str) and where for where in given.values()):
        raise ValueError(f'--additional-config: {key}={given!r} is not {{"NAME": "FOLDER OR REPOSITORY", ...}}')
    if wrong := [name for name in given if not NAME.fullmatch(name)]:
        raise ValueError(f"--additional-config: {key} has the name {wrong[0]!r}; names are letters, digits, '-' and '_'")
    return dict(given)
