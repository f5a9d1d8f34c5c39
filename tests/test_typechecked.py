"""That the tests check what functions are given, and how: shapes by jaxtyping, types without shapes by beartype alone."""

from __future__ import annotations

import pytest
import torch
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import TypeCheckError

from counterpoint.decoders.amateurs.head_lists import parse_heads
from counterpoint.decoders.contrasts.forms import likelihood_ratio


def test_shapes_that_do_not_fit_are_refused() -> None:
    assert likelihood_ratio(torch.zeros(2, 3), torch.zeros(2, 3)).shape == (2, 3)
    with pytest.raises(TypeCheckError, match="parameters of"):
        likelihood_ratio(torch.zeros(2, 3), torch.zeros(2, 4))


def test_other_types_are_refused() -> None:
    assert parse_heads("1-0", count=50) == [(1, 0)]
    with pytest.raises(BeartypeCallHintViolation, match="count='50'"):
        parse_heads("1-0", count="50")  # type: ignore[arg-type]
