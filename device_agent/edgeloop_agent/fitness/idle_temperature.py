"""What temperature this board has when it is left alone."""

from __future__ import annotations

import math

__all__ = ["IdleTemperature"]

_PERIOD_NS = 3_600_000_000_000


class IdleTemperature:
    """The coolest reading of the last hour or two.

    Not the coolest ever: a board that was measured on a cold morning would be too warm for the rest of the summer.
    """

    def __init__(self) -> None:
        self._since_ns = 0
        self._previous = self._current = math.inf

    def observe(self, now_ns: int, celsius: float) -> float:
        """Take in a reading and return the temperature when left alone, as far as it is known."""
        if now_ns - self._since_ns >= _PERIOD_NS:
            self._since_ns = now_ns
            self._previous, self._current = self._current, celsius
        self._current = min(self._current, celsius)
        return min(self._previous, self._current)
