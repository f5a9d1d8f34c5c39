"""What is checked of a request before it is admitted: all that would fail in the engine, where it would end the server.

vLLM validates sampling parameters in the process that answers HTTP, by a class method that is given nothing else. What the server
was started with is read from the frame of the input processor that asks.
"""

from __future__ import annotations

import sys
from inspect import getargvalues
from types import FrameType
from typing import Any

from counterpoint.decoders.forwards.encoding import encode_prompt
from counterpoint.eval.engines.vllm.requests import Request, read_request
from counterpoint.eval.engines.vllm.settings import Settings

ASKS = "InputProcessor"
"""The class of vLLM that admits requests."""


def admit(sampling_params: Any) -> None:
    """A request's sampling parameters are those of a request that can be served.

    Raises:
        ValueError: If not, which vLLM answers with HTTP 400.
    """
    if not sampling_params.extra_args:
        return
    server = input_processor()
    request = read_request(sampling_params.extra_args, Settings.of(server.vllm_config))
    if request is not None and request.prompted:
        check_second_prompt(request, sampling_params.max_tokens, server)


def check_second_prompt(request: Request, max_tokens: int | None, server: Any) -> None:
    """The prompt without its context is of tokens that the model knows, and leaves room for the answer.

    Raises:
        ValueError: If not.
    """
    served, prompt = server.vllm_config.model_config, request.without_context
    tokens = encode_prompt(server.get_tokenizer(), prompt) if isinstance(prompt, str) else list(prompt)
    known, length = served.get_vocab_size(), served.max_model_len
    if not tokens or max(tokens) >= known:
        raise ValueError(f"without_context has the token {max(tokens, default=None)}; the model knows {known}, from 0")
    if max_tokens is None or len(tokens) + max_tokens > length:
        raise ValueError(
            f"without_context has {len(tokens)} tokens, max_tokens={max_tokens}: together they may be {length} at most; give a "
            "smaller max_tokens"
        )


def input_processor() -> Any:
    """The part of vLLM that admits a request right now, further up this thread's stack.

    Raises:
        RuntimeError: If there is none, in a vLLM other than those that this was written for.
    """
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        asking = getargvalues(frame).locals.get("self")
        if type(asking).__name__ == ASKS:
            return asking
        frame = frame.f_back
    raise RuntimeError(
        f"no {ASKS} of vLLM asks for a request's admission: this vLLM is not one of those that docs/engines.md names"
    )
