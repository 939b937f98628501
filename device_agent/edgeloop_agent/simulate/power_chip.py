"""What one sensor of power or energy sees of the board over job time: its scope, its lag, its rate, its counter."""

from __future__ import annotations

import math
import random

from edgeloop_profiles.predict import sensor_power_w
from edgeloop_profiles.profile import Sensor

__all__ = ["PowerChip"]

_NS = 1e-9
_MICRO = 1e-6
_HELD_S_MIN = 0.01
"""Nobody asks a sensor more often, so that a value held for less is as good as that of the moment."""


class PowerChip:
    """Follows the board's power step by step; between two updates of a held value it shows the last one.

    Args:
        sensor: what the profile declares.
        board_w: power of the board at the begin.
        fan_w: power of its fan at the begin.
        seed: decides where the counter of energy stands at the begin, and the noise of updates.
    """

    def __init__(self, sensor: Sensor, board_w: float, fan_w: float, seed: str) -> None:
        self._sensor = sensor
        self._random = random.Random(seed)  # noqa: S311 - noise, no secret
        turns = self._random.random()
        self._trailing_w = self._shown_w = sensor_power_w(sensor, board_w, fan_w)
        held_s = sensor.period_s or 0.0
        self._start_uj = turns * (sensor.range_j or 0.0) / _MICRO
        #: Time between two updates; 0 when what is shown is of the moment.
        self.period_ns = round(held_s / _NS) if held_s >= _HELD_S_MIN else 0
        #: Energy seen since the begin, not rounded.
        self.energy_j = 0.0

    def follow(self, board_w: float, fan_w: float, seconds: float) -> None:
        """Let time pass at constant power; no time at all is a change of power."""
        seen_w = sensor_power_w(self._sensor, board_w, fan_w)
        lag_s = self._sensor.lag_s
        left = math.exp(-seconds / lag_s) if lag_s else 0.0
        self._trailing_w = seen_w + (self._trailing_w - seen_w) * left
        self.energy_j += seen_w * seconds
        if not self.period_ns:
            self._shown_w = self._trailing_w

    def update(self) -> None:
        """Show the power of now, with its noise, until the next update."""
        noise = self._sensor.noise_fraction
        self._shown_w = self._trailing_w * max(0.0, self._random.gauss(1.0, noise) if noise else 1.0)

    def power_w(self, channel: int) -> float:
        """Return what is shown of a channel, in watt."""
        return self._shown_w * self._share(channel)

    def counter_uj(self, channel: int) -> int:
        """Return the counter of a channel in whole microjoules, in steps of its unit, wrapped at its range."""
        counted_uj = self._start_uj + self.energy_j * self._share(channel) / _MICRO
        unit_uj = (self._sensor.resolution or _MICRO) / _MICRO
        counted = int(math.floor(counted_uj / unit_uj) * unit_uj)
        return counted % self.range_uj if self.range_uj else counted

    @property
    def range_uj(self) -> int:
        """Return the range of the counter in microjoules; 0 when none is declared."""
        return round((self._sensor.range_j or 0.0) / _MICRO)

    def _share(self, channel: int) -> float:
        return self._sensor.shares[channel] if self._sensor.shares else 1.0
