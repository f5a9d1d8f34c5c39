"""MC1, MC2 and MC3 by hand, and the traps that published scripts fell into."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counterpoint.eval import mc1, mc2, mc3

INF = math.inf


@pytest.mark.parametrize(
    ("best", "true", "false", "expected"),
    [
        (math.log(0.4), [math.log(0.4), math.log(0.1)], [math.log(0.2), math.log(0.3)], (1.0, 0.5, 0.5)),
        (math.log(0.1), [math.log(0.4), math.log(0.1)], [math.log(0.2), math.log(0.3)], (0.0, 0.5, 0.5)),
        (-1.0, [-1.0], [-1.0, -1.0], (0.0, 1 / 3, 0.0)),  # a tie is no preference
        (-3000.0, [-3000.0, -3001.0], [-1005.0], (0.0, 0.0, 0.0)),  # halving until nothing underflows gave 1.0
        (-1000.0, [-1000.0], [-2000.0], (1.0, 1.0, 1.0)),  # and 0.5
        (-5000.0, [-5000.0], [-5000.0], (0.0, 0.5, 0.0)),  # exponentials without their maximum gave NaN
        (-INF, [-INF, -INF], [-INF], (0.0, 0.0, 0.0)),  # argmax over equals gave 1.0, exponentials NaN
        (-INF, [-INF, -7.0], [-INF], (0.0, 1.0, 0.5)),
        (-4.0, [-4.0], [-INF], (1.0, 1.0, 1.0)),
        (900.0, [900.0, 1.0], [899.0], (1.0, math.e / (math.e + 1), 0.5)),  # contrasts may be above 0
    ],
)
def test_by_hand(best: float, true: list[float], false: list[float], expected: tuple[float, float, float]) -> None:
    assert (mc1(best, false), mc2(true, false), mc3(true, false)) == pytest.approx(expected)


scores = st.lists(st.floats(-1e4, 1e3), min_size=1, max_size=6)


@given(scores, scores, st.floats(-1e3, 1e3))
def test_a_constant_changes_nothing(true: list[float], false: list[float], constant: float) -> None:
    moved = [[score + constant for score in some] for some in (true, false)]
    assert mc2(*moved) == pytest.approx(mc2(true, false), abs=1e-6)
    assert 0 <= mc2(true, false) <= 1
    assert mc2(true, false) + mc2(false, true) == pytest.approx(1)


@pytest.mark.parametrize("measure", [mc2, mc3])
def test_nan_is_an_error_and_no_answer(measure: object) -> None:
    for true, false in (([math.nan], [0.0]), ([0.0], [math.nan])):
        with pytest.raises(ValueError, match="NaN among the scores"):
            measure(true, false)  # type: ignore[operator]
        with pytest.raises(ValueError, match="NaN among the scores"):
            mc1(true[0], false)
    with pytest.raises(ValueError, match="0 true and 1 false answers"):
        measure([], [0.0])  # type: ignore[operator]
    with pytest.raises(ValueError, match="1 true and 0 false answers"):
        mc1(0.0, [])
