"""The application of ``transformers serve`` for one model, whose requests bring what ``generate`` is to be given besides."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from fastapi import FastAPI, HTTPException
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.cli.serving.chat_completion import ChatCompletionHandler
from transformers.cli.serving.completion import CompletionHandler
from transformers.cli.serving.model_manager import ModelManager
from transformers.cli.serving.server import build_server
from transformers.cli.serving.utils import GenerateManager, GenerationState
from typing_extensions import override

Body = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """What a request asks for.

    Args:
        arguments: For ``generate``.
        seed: Of its random numbers.
        body: What is left of the request for transformers.
    """

    arguments: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    body: Body = field(default_factory=dict)


Choose = Callable[[Body], Asked]
"""Reads a request; its ``ValueError`` is answered with HTTP 400."""

ASKED: ContextVar[Asked] = ContextVar("asked")
"""Of the request in whose task code runs."""


def build_app(name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, choose: Choose) -> FastAPI:
    """The application.

    Args:
        name: The model's name in requests.
        model: The model, which alone is served: a request cannot load another.
        tokenizer: Its tokenizer.
        choose: Reads each request to ``/v1/completions`` and ``/v1/chat/completions``; other paths that generate answer 400.
    """
    manager, state, other = OneModel(name, model, tokenizer), OneState(), Refused()
    chats, completions = Chats(manager, state), Completions(manager, state)
    chats.choose = completions.choose = choose
    build: Any = build_server  # whose handlers are typed more narrowly than they are used
    app: FastAPI = build(
        manager,
        chats,
        completion_handler=completions,
        response_handler=other,
        transcription_handler=other,
        systemone_handler=other,
        generation_state=state,
    )
    return app


class OneModel(ModelManager):
    """The one model that there is."""

    def __init__(self, name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__()
        self.force_model, self.model, self.tokenizer = name, model, tokenizer

    @override
    def load_model_and_processor(self, *_: Any, **__: Any) -> Any:
        return self.model, self.tokenizer

    @override
    async def load_model_streaming(self, *_: Any, **__: Any) -> Any:
        yield f'data: {{"status": "error", "message": "this server has {self.force_model} alone"}}\n\n'

    @override
    def list_models(self, *_: Any) -> list[Body]:
        return [{"id": self.force_model, "object": "model", "created": 0, "owned_by": "counterpoint"}]


class Refused:
    """What is not served here."""

    async def handle_request(self, *_: Any) -> None:
        """Refuse."""
        raise HTTPException(400, "this server has /v1/completions and /v1/chat/completions alone")


class ChoosingHandler:
    """Reads a request before transformers does."""

    choose: Choose

    async def handle_request(self, body: Body, request_id: str) -> Any:
        """Answer it."""
        try:
            asked = self.choose(body)
            ASKED.set(asked)
            return await super().handle_request(dict(asked.body), request_id)  # type: ignore[misc]
        except (ValueError, OSError) as error:
            raise HTTPException(400, str(error)) from error


class Completions(ChoosingHandler, CompletionHandler):
    """``/v1/completions``."""


class Chats(ChoosingHandler, ChatCompletionHandler):
    """``/v1/chat/completions``."""


class OneState(GenerationState):
    """One thread that generates: a request after the other."""

    def __init__(self) -> None:
        super().__init__()
        make: Any = DecoderManager
        self.manager: GenerateManager = make()

    @override
    def get_manager(self, model_id: str, use_cb: bool = False) -> GenerateManager:
        return self.manager


class DecoderManager(GenerateManager):
    """Gives ``generate`` what the request asked for, and seeds it in the thread that draws."""

    @override
    def generate_streaming(self, model: Any, processor: Any, inputs: Any, gen_config: Any, *rest: Any, **named: Any) -> Any:
        return super().generate_streaming(model, processor, with_arguments(inputs, gen_config), gen_config, *rest, **named)

    @override
    async def generate_non_streaming(
        self, model: Any, processor: Any, inputs: Any, gen_config: Any, *rest: Any, **named: Any
    ) -> Any:
        given = with_arguments(inputs, gen_config)
        return await super().generate_non_streaming(model, processor, given, gen_config, *rest, **named)

    @override
    def submit(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Future[Any]:
        return super().submit(seeded(fn, ASKED.get().seed), *args, **kwargs)

    @override
    def async_submit(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> asyncio.Future[Any]:
        return super().async_submit(seeded(fn, ASKED.get().seed), *args, **kwargs)


def with_arguments(inputs: Mapping[str, Any], config: GenerationConfig) -> dict[str, Any]:
    """The inputs with what the request asked for, but for settings, which go into the configuration."""
    return {**inputs, **config.update(**ASKED.get().arguments)}


def seeded(fn: Callable[..., Any], seed: int) -> Callable[..., Any]:
    """The same, after its random numbers begin."""

    def run(*args: Any, **kwargs: Any) -> Any:
        torch.manual_seed(seed)
        return fn(*args, **kwargs)

    return run
