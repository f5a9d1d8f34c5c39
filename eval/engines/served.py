"""A served model as commands know one: its endpoint, its tokenizer where there is one, and what results say of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from counterpoint.decoders.forwards.chats import Chat, Prompt
from counterpoint.eval.chat import ChatFormat, chat_format
from counterpoint.eval.engines.endpoint import Endpoint, same_model
from counterpoint.eval.loading import Loaded
from counterpoint.rankers.weight_files import refusals

Kept = TypeVar("Kept")


@dataclass(frozen=True)
class Served:
    """A model that a server has, ready to write."""

    endpoint: Endpoint
    fingerprint: str
    """The endpoint's, or that of the same model as earlier results have it."""
    device: str | None = None
    """Where rankers run."""
    trust_remote_code: bool = False
    kept: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """Rankers that were loaded for it."""
    chats: dict[str, Chat] = field(default_factory=dict, compare=False, repr=False)
    """Chats that are ranked, by the words that rankers read."""

    @property
    def name(self) -> str:
        """The model's name, as the server lists it."""
        return self.endpoint.name

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase | None:
        """The model's tokenizer, if it was named."""
        return self.endpoint.tokenizer

    def keep(self, name: str, make: Callable[[], Kept]) -> Kept:
        """What was made under this name before, or is made now."""
        if name not in self.kept:
            self.kept[name] = make()
        kept: Kept = self.kept[name]
        return kept

    def facts(self) -> dict[str, Any]:
        """What every text depends on besides its decoder and prompt; the address is not among it, nor how many ask at a time."""
        return {"engine": "openai", "server": self.endpoint.server.name, "fingerprint": self.fingerprint}


AnyModel = Loaded | Served
"""A model in this process, or one that is served."""


def connect(
    base_url: str,
    model: str,
    *,
    tokenizer: str | None = None,
    api_key_env: str | None = None,
    concurrency: int = 8,
    device: str | None = None,
    trust_remote_code: bool = False,
    known_as: str | None = None,
) -> Served:
    """Find a model behind an endpoint.

    Args:
        base_url: The server's address, with or without ``/v1``.
        model: The model's name, as the server lists it.
        tokenizer: Folder or name of its tokenizer.
        api_key_env: The variable of the environment that holds the key.
        concurrency: How many requests are open at a time.
        device: Where rankers run.
        trust_remote_code: Whether code that comes with a tokenizer or a ranker may run.
        known_as: The fingerprint that earlier results have, kept if the model is the same.

    Raises:
        ValueError: If the variable is empty, the server has no such model, or the tokenizer is another model's.
        OSError: If the server cannot be reached.
    """
    key = os.environ.get(api_key_env, "") if api_key_env else ""
    if api_key_env and not key:
        raise ValueError(f"api_key_env={api_key_env}: the environment has no such variable, or it is empty")
    read = read_tokenizer(tokenizer, trust_remote_code) if tokenizer else None
    endpoint = Endpoint(base_url, model, tokenizer=read, key=key, concurrency=concurrency)
    kept = known_as is not None and same_model(known_as, endpoint.fingerprint)
    return Served(endpoint, known_as if kept and known_as else endpoint.fingerprint, device, trust_remote_code)


def read_tokenizer(name: str, trust_remote_code: bool) -> PreTrainedTokenizerBase:
    """A tokenizer from a folder or the hub.

    Raises:
        ValueError: If there is none.
    """
    try:
        with refusals(f"tokenizer {name}"):
            return AutoTokenizer.from_pretrained(name, trust_remote_code=trust_remote_code)
    except OSError as error:
        raise ValueError(f"tokenizer={name}: {' '.join(str(error).split())[:300]}") from error


def format_of(
    model: AnyModel, template: str = "none", system: str = "", thinking: str = "keep", prompts: Sequence[Prompt] = ()
) -> ChatFormat:
    """How prompts become chats; see :func:`~counterpoint.eval.chat.chat_format`.

    Without the model's tokenizer, or where the server takes no tokens, chats go to it as messages, and its template is used: for
    texts too under "own".

    Raises:
        ValueError: As there, and for what cannot be said to a server's template.
    """
    if isinstance(model, Loaded):
        return chat_format(model, template, system, thinking, prompts)
    if model.endpoint.takes_ids:
        return chat_format(model, template, system, thinking, prompts)
    if template not in ("auto", "own", "none"):
        raise ValueError(f"chat_template={template} is used here, and this server takes no tokens: take chat_template=own, its own")
    used = template == "own"
    chats = [each for each in prompts if isinstance(each, Chat)]
    if system and not used and not chats:
        raise ValueError(f"system={system!r} is a message of a chat: take chat_template=own, which the server fills in")
    if system and any(message["role"] == "system" for chat in chats for message in chat.messages):
        raise ValueError(f"system={system!r}: a prompt has a system message of its own; leave one of them out")
    if thinking == "off":
        raise ValueError("thinking=off is said to a template that is known here: give tokenizer=PATH, or take thinking=cut")
    if any(chat.pictures for chat in chats):
        raise ValueError("prompts hold images, which engine=openai does not send; leave it out")
    return ChatFormat(used, f"the server of {model.name}", "", system, thinking)
