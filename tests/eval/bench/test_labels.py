"""Labels of points lie on nothing else, and within their frame, however crowded the points are."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from counterpoint.eval.report import labels
from counterpoint.eval.report.drawing import ticks
from counterpoint.eval.report.labels import RADIUS, Box, Label, nearest, place

FRAME = Box(0.0, 0.0, 460.0, 330.0)


def crowded(seed: int, count: int) -> list[tuple[float, float]]:
    """Points around a few places, some of them equal."""
    draw = random.Random(seed)  # noqa: S311, no secret
    middles = [(draw.uniform(60, 400), draw.uniform(40, 290)) for _ in range(3)]
    near = [(x + draw.gauss(0, 8), y + draw.gauss(0, 8)) for x, y in draw.choices(middles, k=count)]
    return [*near[:-1], near[0]]


def check(found: list[Label | None], points: list[tuple[float, float]]) -> None:
    """No label lies on another, on a point, or outside; what is far from its point has a line."""
    boxes = [label.box for label in found if label is not None]
    assert len(boxes) == len(points)
    for index, box in enumerate(boxes):
        assert FRAME.left <= box.left < box.right <= FRAME.right
        assert FRAME.top <= box.top < box.bottom <= FRAME.bottom
        for other in boxes[:index]:
            assert box.right <= other.left or other.right <= box.left or box.bottom <= other.top or other.bottom <= box.top
        for x, y in points:
            near_x, near_y = nearest(box, x, y)
            assert max(abs(near_x - x), abs(near_y - y)) >= RADIUS - 1e-9
    for label, (x, y) in zip(found, points, strict=True):
        assert label is not None
        near_x, near_y = nearest(label.box, x, y)
        assert label.led or abs(near_x - x) + abs(near_y - y) < 3 * RADIUS


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("count", [2, 10, 18])
def test_no_label_lies_on_another(seed: int, count: int) -> None:
    points = crowded(seed, count)
    check(place(points, [(105.0, 15.0)] * count, FRAME), points)


@pytest.mark.parametrize("name", ["meets", "holds"])
def test_the_check_catches_labels_that_overlap(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    broken: Callable[[Box, Box], bool] = lambda one, other: name == "holds"  # noqa: E731
    monkeypatch.setattr(labels.Box, name, broken)
    points = [(455.0, 100.0), (455.0, 104.0), (452.0, 90.0)]
    with pytest.raises(AssertionError):
        check(place(points, [(105.0, 15.0)] * 3, FRAME), points)


def test_where_there_is_no_room_there_is_no_label() -> None:
    assert place([(5.0, 5.0)], [(50.0, 15.0)], Box(0.0, 0.0, 30.0, 30.0)) == [None]


@pytest.mark.parametrize(("low", "high"), [(0.1, 0.97), (-8.3, -1.2), (0.0, 1e-5), (3.0, 40000.0)])
def test_ticks_are_round_and_within(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 3 <= len(found) <= 8
    assert low <= found[0] < found[-1] <= high
    assert all(len(f"{each:g}") <= 7 for each in found)
