"""What every command makes of a prompt: the text itself, or a chat that goes through the model's template."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from counterpoint.decoders.forwards.chats import Chat, Prompt, with_system
from counterpoint.eval.trimming import marks_of, without_thinking

SWITCHES = ("enable_thinking", "thinking")
"""Variables by which templates switch thinking off."""


@dataclass(frozen=True)
class ChatFormat:
    """How prompts become chats, as a command was told and the model allows.

    Args:
        used: Whether texts go through the template; messages always do.
        source: Where the template is from; "" if there is none.
        template: The template itself.
        system: The system's message; "" is none.
        thinking: "keep", "cut" or "off".
    """

    used: bool = False
    source: str = ""
    template: str = ""
    system: str = ""
    thinking: str = "keep"

    @property
    def options(self) -> dict[str, bool]:
        """What the template is told besides the messages."""
        return dict.fromkeys(switches(self.template), False) if self.thinking == "off" else {}

    @property
    def marks(self) -> tuple[str, str] | None:
        """Where the thinking that is cut begins and ends; None if it is kept."""
        return marks_of(self.template) if self.thinking == "cut" else None

    def measured(self, text: str) -> str:
        """A given answer as it is measured: without its thinking where that is cut."""
        return without_thinking(text, self.marks) if self.marks else text

    def facts(self, prompts: Sequence[Prompt] = ()) -> dict[str, Any]:
        """What results say of it; nothing where no prompt is a chat and all is kept."""
        if not self.used and not any(isinstance(each, Chat) for each in prompts):
            return {} if self.thinking == "keep" else {"thinking": self.thinking}
        return {
            "chat_template": {"source": self.source, "sha256": hashlib.sha256(self.template.encode()).hexdigest()},
            "system": self.system,
            "thinking": self.thinking,
        }


TEXTS = ChatFormat()
"""No prompt but messages becomes a chat."""


def make_prompt(prompt: Prompt, chats: ChatFormat) -> Prompt:
    """What the model is to continue: the one place where a command's prompt becomes a chat.

    A text stays one, or is the user's message where the template is used. The system's message, if there is one, comes first.
    """
    if isinstance(prompt, str) and not chats.used:
        return prompt
    messages = ({"role": "user", "content": prompt},) if isinstance(prompt, str) else prompt.messages
    return Chat(with_system(messages, chats.system) if chats.system else messages, chats.options)


@runtime_checkable
class Named(Protocol):
    """A model with its tokenizer, wherever it runs."""

    @property
    def name(self) -> str:
        """The model's name."""

    @property
    def tokenizer(self) -> Any:
        """Its tokenizer."""


def chat_format(
    loaded: Named, template: str = "none", system: str = "", thinking: str = "keep", prompts: Sequence[Prompt] = ()
) -> ChatFormat:
    """Check what was asked for against the model.

    Args:
        loaded: The model; a template from a file becomes its tokenizer's.
        template: "auto", the model's own if it has one; "own", the model's own; "none", for messages alone; or a file that has one.
        system: The system's message.
        thinking: "keep", "cut" or "off".
        prompts: What is to be continued.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If messages or a system's message need a template and there is none, a chat has two system messages, or the
            template cannot switch thinking off.
    """
    tokenizer: Any = loaded.tokenizer
    source = f"the tokenizer of {loaded.name}"
    if template not in ("auto", "own", "none"):
        source, tokenizer.chat_template = template, read_template(template)
    found = tokenizer.get_chat_template() if tokenizer.chat_template else ""
    if template == "own" and not found:
        raise ValueError(f"chat_template=own: the tokenizer has no chat template, that of {loaded.name}; take chat_template=FILE")
    chats = [each for each in prompts if isinstance(each, Chat)]
    used = template != "none" and bool(found)
    if not found and (chats or system):
        what = "prompts are messages" if chats else f"system={system!r} is a message of a chat"
        raise ValueError(f"{what}, and {loaded.name} has no chat template: give one by chat_template=FILE")
    if system and template == "none" and not chats:
        raise ValueError(f"system={system!r} is a message of a chat, and chat_template=none makes none: take chat_template=auto")
    if system and any(message["role"] == "system" for chat in chats for message in chat.messages):
        raise ValueError(f"system={system!r}: a prompt has a system message of its own; leave one of them out")
    if thinking == "off" and not (used or chats):
        raise ValueError("thinking=off is said to a chat template, and none is used: take chat_template=auto")
    if thinking == "off" and not switches(found):
        raise ValueError(f"thinking=off: the chat template of {source} has no {' or '.join(SWITCHES)} to switch; take thinking=cut")
    return ChatFormat(used, source if found else "", found, system, thinking)


def read_template(path: str) -> str:
    """A template from a file."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OSError(f"chat_template={path} is neither auto, own, none nor a file of a template: {error}") from error
    if not text.strip():
        raise ValueError(f"chat_template={path}: nothing in it")
    return text


def switches(template: str) -> list[str]:
    """The variables by which a template switches thinking off."""
    from jinja2 import Environment, meta
    from jinja2.exceptions import TemplateError

    try:
        asked = meta.find_undeclared_variables(Environment(autoescape=True, extensions=EXTENSIONS).parse(template))
    except TemplateError:  # with what transformers adds to the language: it is met when the template is used
        asked = {name for name in SWITCHES[:1] if name in template}
    return [name for name in SWITCHES if name in asked]


EXTENSIONS = ("jinja2.ext.loopcontrols",)
