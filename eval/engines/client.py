"""JSON over HTTP to a server that may fail: what fails for the moment is tried again, and nothing else is."""

from __future__ import annotations

import json
import random
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

from typing_extensions import override

TRIES = 8
"""How often a request is sent before the server counts as gone; with the pauses between, a minute and a half at most."""
LONGEST_PAUSE = 600.0
"""Seconds that a server may ask to be left alone."""
TIMEOUT = 600.0
"""Seconds without an answer after which a request has failed."""


class EndpointError(OSError):
    """The server cannot be reached, or does not answer as it should; what was written is kept, and the same command goes on."""


class RefusedError(ValueError):
    """The server refuses a request for good (HTTP 4xx), with its own reason.

    Args:
        status: The HTTP status.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """An address that answers with another one is refused: a key is meant for the one that was given."""

    @override
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


class Client:
    """Requests to one server.

    A connection that breaks, a time-out, an answer that is cut or no JSON, HTTP 429 and 5xx are tried again: after the time that
    ``Retry-After`` says or, without it, after half a second, then one, two and so on, each by chance up to a half shorter, so that
    many clients do not come back at once. Other 4xx are final.

    Args:
        base_url: The server's address, with or without ``/v1``.
        key: Sent as a bearer token; it is in no error, and in no ``repr``.
        timeout: Seconds without an answer after which a request has failed.
        sleep: Waits so many seconds.

    Raises:
        ValueError: If the address is not of HTTP, or holds a password.
    """

    def __init__(
        self, base_url: str, key: str = "", *, timeout: float = TIMEOUT, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"base_url={base_url} is no address of a server: write http://HOST:PORT/v1")
        if parts.password is not None or parts.username is not None or parts.query:
            raise ValueError(
                "base_url holds a password or a query, which would be shown: name the variable of a key by api_key_env"
            )
        path = parts.path.rstrip("/").removesuffix("/v1")
        self.root = f"{parts.scheme}://{parts.netloc}{path}"
        self._key, self.timeout, self.sleep = key, timeout, sleep
        self._opener = urllib.request.build_opener(NoRedirect)

    def __repr__(self) -> str:
        return f"Client({self.root!r})"

    def get(self, path: str) -> Any:
        """What the server has at a path below its root."""
        return self._ask(path, None)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """What the server answers to a body.

        Raises:
            RefusedError: If it refuses it for good.
            EndpointError: If it cannot be reached.
        """
        return self._ask(path, json.dumps(body).encode())

    def _ask(self, path: str, body: bytes | None) -> Any:
        problem = ""
        for attempt in range(TRIES):
            pause = min(30.0, 0.5 * 2**attempt) * random.uniform(0.5, 1.0)  # noqa: S311 - of pauses
            try:
                return self._answer(path, body)
            except urllib.error.HTTPError as error:
                reason = self._masked(told(error))
                problem = f"HTTP {error.code}: {reason}"
                if error.code != 429 and error.code < 500:
                    raise RefusedError(f"{self.root} refuses the request ({problem})", error.code) from None
                pause = asked_pause(error.headers.get("Retry-After")) or pause
            except (OSError, HTTPException, ValueError) as error:  # URLError and time-outs are OSErrors; cut JSON is a ValueError
                problem = self._masked(str(getattr(error, "reason", "") or error) or type(error).__name__)
            if pause > LONGEST_PAUSE:
                raise EndpointError(
                    f"{self.root} asks to be left alone for {pause:.0f} s ({problem}); the same command goes on after that"
                )
            if attempt + 1 < TRIES:
                self.sleep(pause)
        raise EndpointError(
            f"{self.root} does not answer, tried {TRIES} times: {problem}; what was written is kept, and the same command goes on "
            "once the server is there"
        )

    def _answer(self, path: str, body: bytes | None) -> Any:
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "counterpoint"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(self.root + path, data=body, headers=headers)  # noqa: S310 - the scheme was checked
        with self._opener.open(request, timeout=self.timeout) as answer:
            return json.loads(answer.read())

    def _masked(self, text: str) -> str:
        """A server's words without the key, which some repeat."""
        return text.replace(self._key, "***") if self._key else text


def told(error: urllib.error.HTTPError) -> str:
    """A server's reason in a line: what OpenAI's servers have under "error" and FastAPI's under "detail"."""
    try:
        text = error.read(4096).decode(errors="replace")
    except (OSError, HTTPException):
        text = ""
    try:
        found = json.loads(text)
        inner = found.get("error", found.get("detail", found))
        text = str(inner.get("message", inner) if isinstance(inner, dict) else inner)
    except (ValueError, AttributeError):
        pass
    return " ".join(text.split())[:500] or str(error.reason)


def asked_pause(header: str | None) -> float:
    """The seconds of ``Retry-After``, which has a number or a date; 0 where it has none.

    Example:
        >>> from counterpoint.eval.engines.client import asked_pause
        >>> asked_pause("7"), asked_pause(None), asked_pause("Thu, 01 Jan 1970 00:00:00 GMT")
        (7.0, 0.0, 0.0)
    """
    if not header:
        return 0.0
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(header) - datetime.now(timezone.utc)).total_seconds())
    except (ValueError, TypeError):
        return 0.0
