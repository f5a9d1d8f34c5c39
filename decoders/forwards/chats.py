"""Chats as prompts: messages, the text that a tokenizer's template makes of them, and where another text stands in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = Mapping[str, Any]
"""``{"role": "user", "content": TEXT}``, or a list of parts (``{"type": "text", "text": TEXT}``, images) in place of the text."""

MESSAGES = ("user", "system")
"""Which message of a chat has a context, a guide or an amateur's prompt: the last of the user, or the system's."""


@dataclass(frozen=True)
class Chat:
    r"""A chat that is to be continued by the assistant.

    Args:
        messages: Its messages, each with a "role" and a "content". If the last one is the assistant's, it is continued.
        options: Further arguments of the template, such as ``{"enable_thinking": False}``.

    Example:
        >>> from counterpoint.decoders.forwards.chats import Chat
        >>> chat = Chat(({"role": "user", "content": "The ship sank.\n\nWhat sank?"},))
        >>> chat.without_context("user").shown()
        'What sank?'
    """

    messages: tuple[Message, ...]
    options: Mapping[str, Any] = field(default_factory=dict)

    def text(self, tokenizer: Any) -> str:
        """What the template makes of it, up to where the assistant's words begin or go on.

        Args:
            tokenizer: A tokenizer with a chat template, or a processor with one.

        Raises:
            ValueError: If there is no template, it refuses the messages, or it leaves the words of one out; for images, which
                need a processor.
        """
        from jinja2.exceptions import TemplateError  # transformers needs it for templates too

        if not tokenizer.chat_template:
            raise ValueError("a prompt is a chat, and the tokenizer has no chat template: set tokenizer.chat_template")
        if self.pictures:
            raise ValueError(
                "a chat with images is read as text here: texts are scored, and other prompts put beside a prompt, without images"
            )
        problem = ""
        for content in (plain, parts_of):  # some templates read texts alone, and some parts alone
            try:
                text = rendered(tokenizer, [{**each, "content": content(each["content"])} for each in self.messages], self.options)
            except (TemplateError, TypeError) as error:
                problem = problem or str(error)
                continue
            if all(words in text for words in asked(self.messages)):
                return text
        raise ValueError(f"the chat template refuses the messages: {problem or 'it leaves out the words of one of them'}")

    def ids(self, tokenizer: PreTrainedTokenizerBase) -> list[int]:
        """The tokens of the text; special tokens are those that the template writes, and no others."""
        from counterpoint.decoders.forwards.encoding import encode_prompt  # imports transformers

        return encode_prompt(tokenizer, self.text(tokenizer), from_template=True)

    @property
    def pictures(self) -> list[Mapping[str, Any]]:
        """The parts that are images."""
        return [part for each in self.messages for part in parts_of(each["content"]) if part.get("type") == "image"]

    def shown(self) -> str:
        """The words of all messages but the system's, as people and rankers read them."""
        return "\n\n".join(content_text(each["content"]) for each in self.messages if each["role"] != "system")

    def with_text(self, text: str, message: str) -> Chat:
        """The chat with a text before the user's last message, or at the end of the system's."""
        if message == "system":
            return replace(self, messages=with_system(self.messages, text))
        return self.with_last_of_user(lambda content: f"{text}\n\n{content}")

    def without_context(self, message: str) -> Chat:
        """The chat without its context: what precedes the last blank line of the user's last message, or the system's message.

        Raises:
            ValueError: If there is none.
        """
        if message == "system":
            rest = tuple(each for each in self.messages if each["role"] != "system")
            if len(rest) == len(self.messages):
                raise ValueError("message=system: the chat has no system message to be its context")
            return replace(self, messages=rest)

        def question(content: str) -> str:
            context, _, rest = content.rpartition("\n\n")
            if not context.strip():
                raise ValueError(
                    "a chat has no context in the user's last message: put it before the question, with a blank line between "
                    "them, or into the system's message and take message=system"
                )
            return rest

        return self.with_last_of_user(question)

    def with_last_of_user(self, change: Any) -> Chat:
        """The chat with the text of the user's last message changed."""

        def changed(content: Any) -> Any:
            if not is_text(content):
                raise ValueError("message=user: the user's last message has parts that are no text; take message=system")
            return change(content_text(content))

        return self.with_last_content(changed)

    def with_last_content(self, change: Callable[[Any], Any]) -> Chat:
        """The chat with the content of the user's last message changed."""
        places = [place for place, each in enumerate(self.messages) if each["role"] == "user"]
        if not places:
            raise ValueError("message=user: the chat has no message of the user")
        messages = list(self.messages)
        last = messages[places[-1]]
        messages[places[-1]] = {**last, "content": change(last["content"])}
        return replace(self, messages=tuple(messages))

    def with_picture(self, place: str) -> Chat:
        """The chat with the picture of a file or an address before the words of the user's last message."""
        picture = {"type": "image", "url" if "://" in place else "path": place}
        return self.with_last_content(lambda content: [picture, *parts_of(content)])

    def without_pictures(self) -> Chat:
        """The chat without any."""
        return replace(
            self,
            messages=tuple(
                {**each, "content": [part for part in parts_of(each["content"]) if part.get("type") != "image"]}
                for each in self.messages
            ),
        )


Prompt = str | Chat
"""What is continued: a text, or a chat."""


def about_picture(prompt: Prompt, place: str) -> Chat:
    """A prompt as a chat about a picture, unless it is one already.

    Example:
        >>> about_picture("What is it?", "photo.png").messages[0]["content"][0]
        {'type': 'image', 'path': 'photo.png'}
    """
    chat = prompt if isinstance(prompt, Chat) else Chat(({"role": "user", "content": prompt},))
    return chat if chat.pictures else chat.with_picture(place)


def picture_place(part: Mapping[str, Any]) -> str | None:
    """Where an image is."""
    return next((str(part[key]) for key in ("path", "url", "image") if isinstance(part.get(key), str)), None)


def shown(prompt: Prompt) -> str:
    """A prompt as people and rankers read it."""
    return prompt.shown() if isinstance(prompt, Chat) else prompt


def as_prompt(given: str | Chat | Sequence[Message]) -> Prompt:
    """A prompt; a list of messages is a chat.

    Raises:
        ValueError: If it is neither.
    """
    return given if isinstance(given, str | Chat) else Chat(checked_messages(given, "a prompt"))


def checked_messages(messages: Any, where: str) -> tuple[Message, ...]:
    """Messages with a role and a content each.

    Raises:
        ValueError: If one lacks a role or a content; the message begins with ``where``.
    """
    wanted = f'{where}: "messages" is a list of {{"role": ..., "content": TEXT or a list of parts}} with a text or an image'
    if not isinstance(messages, list | tuple) or not messages:
        raise ValueError(wanted)
    for message in messages:
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise ValueError(wanted)
        content = message.get("content")
        parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
        for part in parts:
            known = isinstance(part, Mapping) and (part.get("type") == "image" or isinstance(part.get("text"), str))
            if not known:
                raise ValueError(f"{wanted}; found {part!r}"[:400])
    return tuple(messages)


def with_system(messages: Sequence[Message], text: str) -> tuple[Message, ...]:
    """Messages that begin with the system's, which ends with the text."""
    if messages and messages[0]["role"] == "system":
        before = content_text(messages[0]["content"])
        return ({"role": "system", "content": f"{before}\n\n{text}"}, *messages[1:])
    return ({"role": "system", "content": text}, *messages)


def rendered(tokenizer: Any, messages: Sequence[Message], options: Mapping[str, Any]) -> str:
    """What the template writes."""
    continued = messages[-1]["role"] == "assistant"
    return str(
        tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=not continued, continue_final_message=continued, **options
        )
    )


def parts_of(content: Any) -> list[Mapping[str, Any]]:
    """A content as a list of parts."""
    return list(content) if isinstance(content, list) else [{"type": "text", "text": content}]


def content_text(content: Any) -> str:
    """The words of a content."""
    return "\n".join(str(part["text"]) for part in parts_of(content) if "text" in part)


def is_text(content: Any) -> bool:
    """Whether a content is nothing but text."""
    return all("text" in part for part in parts_of(content))


def plain(content: Any) -> Any:
    """A content that is nothing but text as one."""
    return content_text(content) if is_text(content) else content


def asked(messages: Sequence[Message]) -> list[str]:
    """The words of system and user, without the spaces around them, which many templates take off."""
    asking = [each for each in messages if each["role"] in MESSAGES]
    return [str(part["text"]).strip() for each in asking for part in parts_of(each["content"]) if "text" in part]
