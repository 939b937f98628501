"""Heat: two thermal masses in a row, solved exactly at constant power, and what fan and firmware do about it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgeloop_profiles.profile import FanStep, Profile, ThrottleStep

__all__ = ["ThermalState"]


class ThermalState:
    """Temperatures of die and board, and the speed of the fan and the clock cap that follow from them.

    With die temperature ``d``, board temperature ``b`` and power split by ``die_fraction``::

        C_d d' = f P - (d - b) / R_d
        C_b b' = (1 - f) P + (d - b) / R_d - (b - ambient) / R_b

    R_b is that of the fan's present step. What the fan itself draws warms neither mass.
    """

    def __init__(self, profile: Profile) -> None:
        """Start in equilibrium at idle power, with the fan no faster than that needs."""
        self._profile = profile
        self._fan_level = self._level = 0
        self.throttle_count = 0
        self.die_celsius, self.board_celsius = self.equilibrium(profile.power.idle_w)
        steps = profile.thermal.fan
        while self._fan_level < len(steps) and self.die_celsius >= steps[self._fan_level].temperature_celsius:
            self._fan_level += 1
            self.die_celsius, self.board_celsius = self.equilibrium(profile.power.idle_w)

    def equilibrium(self, power_w: float) -> tuple[float, float]:
        """Return die and board temperature in degree Celsius after a long time at this power and speed of the fan."""
        thermal = self._profile.thermal
        board = thermal.ambient_celsius + power_w * self.board_k_per_w
        return board + power_w * self._profile.power.die_fraction * thermal.die_k_per_w, board

    @property
    def board_k_per_w(self) -> float:
        """Return the resistance from board to ambient at the present speed of the fan."""
        fan = self._fan
        return self._profile.thermal.board_k_per_w if fan is None else fan.board_k_per_w

    @property
    def fan_level(self) -> int:
        """Return the step of the fan, 0 at rest."""
        return self._fan_level

    @property
    def fan_power_w(self) -> float:
        """Return what the fan draws now."""
        return 0.0 if self._fan is None else self._fan.power_w

    @property
    def _fan(self) -> FanStep | None:
        return self._profile.thermal.fan[self._fan_level - 1] if self._fan_level else None

    @property
    def throttled(self) -> bool:
        """Return whether the clock is capped now."""
        return self._level > 0

    @property
    def frequency_hz(self) -> float:
        """Return the highest clock that the firmware allows now."""
        highest = self._profile.processor.max_frequency_hz
        return highest if self.cap is None else min(self.cap.frequency_hz, highest)

    @property
    def cap(self) -> ThrottleStep | None:
        """Return the step of throttling that holds now; None without."""
        return self._profile.throttle.steps[self._level - 1] if self._level else None

    def advance(self, power_w: float, seconds: float) -> None:
        """Let time pass at constant power, then let fan and firmware react to the temperature.

        ``seconds`` may be long; throttling within it is seen at its end, so advance in steps that are short
        against the die's time constant while under load.
        """
        die_end, board_end = self.equilibrium(power_w)
        die, board = self._decay(self.die_celsius - die_end, self.board_celsius - board_end, seconds)
        self.die_celsius, self.board_celsius = die_end + die, board_end + board
        self._react()

    def _decay(self, die: float, board: float, seconds: float) -> tuple[float, float]:
        """Return what is left of two deviations from equilibrium: the matrix exponential of the system."""
        t = self._profile.thermal
        a = -1 / (t.die_j_per_k * t.die_k_per_w)
        b = -a
        c = 1 / (t.board_j_per_k * t.die_k_per_w)
        d = -c - 1 / (t.board_j_per_k * self.board_k_per_w)
        mean = (a + d) / 2
        # Real and positive for any passive pair of masses: b and c have the same sign.
        root = math.sqrt(((a - d) / 2) ** 2 + b * c)
        slow, fast = math.exp((mean + root) * seconds), math.exp((mean - root) * seconds)
        even, odd = (slow + fast) / 2, (slow - fast) / (2 * root)
        return (
            even * die + odd * ((a - mean) * die + b * board),
            even * board + odd * (c * die + (d - mean) * board),
        )

    def _react(self) -> None:
        thermal, throttle = self._profile.thermal, self._profile.throttle
        before = self._level
        self._level = _settled(self._level, throttle.steps, throttle.hysteresis_kelvin, self.die_celsius)
        if self._level > before:
            self.throttle_count += 1
        self._fan_level = _settled(
            self._fan_level, thermal.fan, thermal.fan_hysteresis_kelvin, self.die_celsius
        )


def _settled(
    level: int, steps: Sequence[FanStep] | Sequence[ThrottleStep], hysteresis_kelvin: float, celsius: float
) -> int:
    """Return the step that holds at this temperature, coming from ``level``."""
    while level < len(steps) and celsius >= steps[level].temperature_celsius:
        level += 1
    while level and celsius < steps[level - 1].temperature_celsius - hysteresis_kelvin:
        level -= 1
    return level
