"""Heat: two thermal masses in a row, solved exactly at constant power, and the firmware's answer to it."""

from __future__ import annotations

import math

from edgeloop_profiles.profile import Profile

__all__ = ["ThermalState"]


class ThermalState:
    """Temperatures of die and board, and the clock cap that follows from them.

    With die temperature ``d``, board temperature ``b`` and power split by ``die_fraction``::

        C_d d' = f P - (d - b) / R_d
        C_b b' = (1 - f) P + (d - b) / R_d - (b - ambient) / R_b
    """

    def __init__(self, profile: Profile) -> None:
        """Start in equilibrium at idle power."""
        self._profile = profile
        self.die_celsius, self.board_celsius = self.equilibrium(profile.power.idle_w)
        self._level = 0
        self.throttle_count = 0

    def equilibrium(self, power_w: float) -> tuple[float, float]:
        """Return die and board temperature in degree Celsius after a long time at this power."""
        thermal = self._profile.thermal
        board = thermal.ambient_celsius + power_w * thermal.board_k_per_w
        return board + power_w * self._profile.power.die_fraction * thermal.die_k_per_w, board

    @property
    def throttled(self) -> bool:
        """Return whether the clock is capped now."""
        return self._level > 0

    @property
    def frequency_hz(self) -> float:
        """Return the highest clock that the firmware allows now."""
        if not self._level:
            return self._profile.processor.max_frequency_hz
        step = self._profile.throttle.steps[self._level - 1]
        return min(step.frequency_hz, self._profile.processor.max_frequency_hz)

    def advance(self, power_w: float, seconds: float) -> None:
        """Let time pass at constant power, then let the firmware react to the temperature.

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
        d = -c - 1 / (t.board_j_per_k * t.board_k_per_w)
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
        steps, hysteresis = self._profile.throttle.steps, self._profile.throttle.hysteresis_kelvin
        before = self._level
        while self._level < len(steps) and self.die_celsius >= steps[self._level].temperature_celsius:
            self._level += 1
        while self._level and self.die_celsius < steps[self._level - 1].temperature_celsius - hysteresis:
            self._level -= 1
        if self._level > before:
            self.throttle_count += 1
