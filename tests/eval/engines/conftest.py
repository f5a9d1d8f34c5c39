"""A server that answers as one of vLLM's would, on the loopback."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stub_server import Stub, StubModel, serving


@pytest.fixture(scope="module")
def model() -> StubModel:
    """The model that it serves."""
    return StubModel()


@pytest.fixture
def stub(model: StubModel) -> Iterator[Stub]:
    """The server."""
    with serving(Stub(model)) as running:
        yield running
