"""Where the labels of points go, so that none lies on another or on a point."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

RADIUS = 7.0
"""Room around a point."""
RINGS, ANGLES = 40, 16


@dataclass(frozen=True)
class Box:
    """A rectangle, by two corners."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        """Whether the two have any area in common."""
        return self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom

    def holds(self, other: Box) -> bool:
        """Whether the other lies within this one."""
        return self.left <= other.left and self.top <= other.top and self.right >= other.right and self.bottom >= other.bottom


@dataclass(frozen=True)
class Label:
    """Where a label lies, and whether it is so far from its point that a line has to lead to it."""

    box: Box
    led: bool


def place(points: Sequence[tuple[float, float]], sizes: Sequence[tuple[float, float]], frame: Box) -> list[Label | None]:
    """A place within ``frame`` for each point's label of this width and height, as near as the points and earlier labels allow.

    Those of the most crowded points are placed last, as they find room only farther out; None if there is no room at all.

    Example:
        >>> from counterpoint.eval.report.labels import Box, place
        >>> first, second = place([(50.0, 50.0), (52.0, 50.0)], [(40.0, 10.0)] * 2, Box(0.0, 0.0, 200.0, 100.0))
        >>> first.box.meets(second.box)
        False
    """
    taken = [Box(x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS) for x, y in points]
    found: list[Label | None] = [None] * len(points)
    for index in sorted(range(len(points)), key=lambda index: crowd(points[index], points)):
        (x, y), (width, height) = points[index], sizes[index]
        for ring, box in around(x, y, width, height):
            if frame.holds(box) and not any(box.meets(other) for other in taken):
                found[index] = Label(box, ring > 0)
                taken.append(box)
                break
    return found


def crowd(point: tuple[float, float], points: Sequence[tuple[float, float]]) -> float:
    """How many other points are near, the nearer the more."""
    return sum(1 / (1 + math.dist(point, other)) for other in points)


def around(x: float, y: float, width: float, height: float) -> list[tuple[int, Box]]:
    """Boxes ever farther from a point: to the right first, then all around."""
    found = []
    for ring in range(RINGS):
        distance = RADIUS + 1 + 9 * ring
        for turn in range(ANGLES):
            angle = math.tau * (turn // 2 if turn % 2 == 0 else -(turn // 2 + 1)) / ANGLES
            across, down = math.cos(angle), math.sin(angle)
            middle_x = x + across * (distance + width / 2)
            middle_y = y + down * (distance + height / 2)
            found.append((ring, Box(middle_x - width / 2, middle_y - height / 2, middle_x + width / 2, middle_y + height / 2)))
    return found


def nearest(box: Box, x: float, y: float) -> tuple[float, float]:
    """The place of a box that is nearest to a point, where its line ends."""
    return min(max(x, box.left), box.right), min(max(y, box.top), box.bottom)
