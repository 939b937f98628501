"""Which points no other beats for certain, and the volume that a set of points dominates."""

from __future__ import annotations

from collections.abc import Sequence

from edgeloop_foundation.errors import InvalidInputError

__all__ = ["Interval", "dominates", "hypervolume", "pareto_front"]

Interval = tuple[float, float]
"""Lower and upper end; less is better."""


def dominates(a: Sequence[Interval], b: Sequence[Interval]) -> bool:
    """Return whether ``a`` beats ``b`` for certain: nowhere worse even at worst, somewhere better even at
    worst.

    Overlapping intervals decide nothing, so of two points that may be equal both stay. A quantity with the
    very same interval in both, such as one exact size, is a tie and does not keep ``a`` from winning
    elsewhere.
    """
    pairs = list(zip(a, b, strict=True))
    if not all(x[1] <= y[0] or x == y for x, y in pairs):
        return False
    return any(x[1] < y[0] for x, y in pairs)


def pareto_front(points: Sequence[Sequence[Interval]]) -> tuple[int, ...]:
    """Return the indices of the points that no other dominates for certain, in order."""
    return tuple(
        i
        for i, point in enumerate(points)
        if not any(dominates(other, point) for j, other in enumerate(points) if j != i)
    )


def hypervolume(points: Sequence[Sequence[float]], reference: Sequence[float]) -> float:
    """Return the volume between ``points`` and ``reference`` in two or three quantities, less being better.

    Points beyond the reference in any quantity add nothing.

    Raises:
        InvalidInputError: other than two or three quantities, or points of another dimension.
    """
    if len(reference) not in (2, 3) or any(len(point) != len(reference) for point in points):
        raise InvalidInputError(
            f"hypervolume takes points of two or three quantities like the reference's {len(reference)}."
        )
    inside = [tuple(p) for p in points if all(x < r for x, r in zip(p, reference, strict=True))]
    if len(reference) == 2:
        return _area([(p[0], p[1]) for p in inside], (reference[0], reference[1]))
    return _volume(inside, reference)


def _area(points: Sequence[tuple[float, float]], reference: tuple[float, float]) -> float:
    total, ceiling = 0.0, reference[1]
    for x, y in sorted(points):
        if y < ceiling:
            total += (reference[0] - x) * (ceiling - y)
            ceiling = y
    return total


def _volume(points: Sequence[tuple[float, ...]], reference: Sequence[float]) -> float:
    """Sweep along the third quantity: between two values the area of the points met stays the same."""
    levels = sorted({p[2] for p in points})
    total = 0.0
    for level, above in zip(levels, [*levels[1:], reference[2]], strict=True):
        met = [(p[0], p[1]) for p in points if p[2] <= level]
        total += _area(met, (reference[0], reference[1])) * (above - level)
    return total
