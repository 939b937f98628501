"""Heat, clock, power and events of one simulated board over its job time."""

from __future__ import annotations

from collections.abc import Callable

from edgeloop_profiles.predict import ThermalState, board_power_w
from edgeloop_profiles.profile import Profile

from edgeloop_agent.simulate.clock import SimulatedJobClock
from edgeloop_agent.simulate.power_chip import PowerChip
from edgeloop_agent.simulate.stress import Stress

__all__ = ["BoardState", "Look"]

_STEP_NS = 500_000_000
"""Longest time between two looks of the firmware at the temperature; short against a die's time constant."""
_NS = 1e-9
_SOFT_LIMIT_CELSIUS = 80.0
"""A step below this is what the firmware of a Raspberry Pi calls its soft temperature limit."""
_UNDER_VOLTAGE, _CAPPED, _THROTTLED, _SOFT_LIMIT = 1, 2, 4, 8
_SEEN_SHIFT = 16


class Look:
    """Something that is done again and again on job time, until it is cancelled."""

    def __init__(self, due_ns: int, interval_ns: int, action: Callable[[], None]) -> None:
        self.due_ns, self.interval_ns, self.action = due_ns, interval_ns, action


class BoardState:
    """What work does to the board; job time drives it, wall time does not.

    Args:
        profile: what it is.
        clock: moves with what is done here.
        seed: decides where counters stand at the begin, and the noise of sensors.
        stress: what weighs on it beyond its profile.
    """

    def __init__(
        self, profile: Profile, clock: SimulatedJobClock, seed: int = 0, stress: Stress | None = None
    ) -> None:
        """Start cold: in equilibrium at idle."""
        self._profile, self._clock = profile, clock
        self.stress = stress or Stress()
        self._thermal = ThermalState(profile)
        self._busy = False
        self._minimum_hz = next((s.minimum_hz for s in profile.sensors if s.name == "cpufreq"), None)
        self._low_voltage = False
        self._stressed = False
        self._stress_count = 0
        self._seen_bits = 0
        self._looks: list[Look] = []
        self.power_w = profile.power.idle_w
        #: Sensors of power and energy by name.
        self.chips = {
            sensor.name: PowerChip(sensor, self.power_w, self._thermal.fan_power_w, f"{seed}/{sensor.name}")
            for sensor in profile.sensors
            if sensor.channels and sensor.quantity in ("power", "energy")
        }
        #: Seconds spent at each clock in hertz.
        self.residency_s: dict[float, float] = {}
        #: How often the supply voltage has fallen.
        self.under_voltage_count = 0

    @property
    def frequency_hz(self) -> float:
        """Return the clock at which work is done now: what governor, heat, supply and stress allow."""
        caps = [self._thermal.frequency_hz, self._governed_hz()]
        low = self._profile.throttle.under_voltage_frequency_hz
        if self._low_voltage and low is not None:
            caps.append(low)
        return min(caps) * self.stress.clock_factor

    @property
    def shown_frequency_hz(self) -> float:
        """Return the clock of now, which a governor may have lowered because nothing is done."""
        return self.frequency_hz if self._busy else min(self.frequency_hz, self.minimum_hz)

    @property
    def minimum_hz(self) -> float:
        """Return the lowest clock that the governor may choose."""
        return self._minimum_hz or self._profile.processor.max_frequency_hz

    @property
    def die_celsius(self) -> float:
        """Return the temperature of the die."""
        return self._thermal.die_celsius

    @property
    def throttled(self) -> bool:
        """Return whether the clock is capped now, by heat or by stress that the firmware reports like heat."""
        return self._thermal.throttled or self.stress.clock_factor < 1

    @property
    def throttle_count(self) -> int:
        """Return how often the cap was lowered."""
        return self._thermal.throttle_count + self._stress_count

    @property
    def throttle_bits(self) -> int:
        """Return the state as the firmware of a Raspberry Pi tells it: now in the low bits, ever from bit 16 on."""
        return self._bits_now() | self._seen_bits << _SEEN_SHIFT

    def set_under_voltage(self, low: bool) -> None:
        """Let the supply voltage fall or rise again, as a script of faults may want it."""
        self.under_voltage_count += low and not self._low_voltage
        self._low_voltage = low
        self._seen_bits |= self._bits_now()

    def every(self, interval_s: float, action: Callable[[], None]) -> Look:
        """Do something again and again from one interval after now on; it sees the board of that moment."""
        interval_ns = max(1, round(interval_s / _NS))
        look = Look(self._clock.monotonic_ns() + interval_ns, interval_ns, action)
        self._looks.append(look)
        return look

    def cancel(self, look: Look) -> None:
        """End that; safe to call twice."""
        if look in self._looks:
            self._looks.remove(look)

    def advance(self, seconds: float, busy_threads: int, precision: str) -> None:
        """Let job time pass with this many threads busy; 0 is idle."""
        self._busy = busy_threads > 0
        end_ns = self._clock.monotonic_ns() + round(seconds / _NS)
        while (now_ns := self._clock.monotonic_ns()) < end_ns:
            next_ns = self._next_ns(now_ns, end_ns)
            self._step((next_ns - now_ns) * _NS, busy_threads, precision)
            self._clock.advance_ns(next_ns - now_ns)
            self._reach(next_ns)

    def rest(self) -> None:
        """Let the load end: from here on sensors see the board idle, as warm as it is."""
        self._busy = False
        self.power_w = self._profile.power.idle_w
        for chip in self.chips.values():
            chip.follow(self.power_w, self._thermal.fan_power_w, 0.0)

    def _next_ns(self, now_ns: int, end_ns: int) -> int:
        """Return the end of the next step, in which nothing happens but that time passes."""
        due = [look.due_ns for look in self._looks]
        updates = [
            (now_ns // chip.period_ns + 1) * chip.period_ns for chip in self.chips.values() if chip.period_ns
        ]
        # What was due before now, because somebody else moved the clock, is done at once.
        return max(now_ns, min(end_ns, now_ns + _STEP_NS, *due, *updates))

    def _step(self, seconds: float, busy_threads: int, precision: str) -> None:
        stressed = self.stress.clock_factor < 1
        self._stress_count += stressed and not self._stressed
        self._stressed = stressed
        shown_hz = self.shown_frequency_hz
        self.power_w = board_power_w(
            self._profile,
            busy_threads=busy_threads,
            frequency_hz=self.frequency_hz,
            precision=precision,
        )
        for chip in self.chips.values():
            chip.follow(self.power_w, self._thermal.fan_power_w, seconds)
        self.residency_s[shown_hz] = self.residency_s.get(shown_hz, 0.0) + seconds
        self._thermal.advance(self.power_w, seconds)
        self._seen_bits |= self._bits_now()

    def _reach(self, now_ns: int) -> None:
        """Do what is due at this moment."""
        for chip in self.chips.values():
            if chip.period_ns and now_ns % chip.period_ns == 0:
                chip.update()
        for look in tuple(self._looks):
            if look.due_ns <= now_ns:
                look.due_ns += look.interval_ns
                look.action()

    def _governed_hz(self) -> float:
        """Return the clock that the governor chooses under load."""
        processor = self._profile.processor
        # Of intel_pstate the governor powersave follows the load; everywhere else it stays at the lowest clock.
        if processor.governor == "powersave" and not processor.architecture.startswith("x86"):
            return self.minimum_hz
        return processor.max_frequency_hz

    def _bits_now(self) -> int:
        bits = (_UNDER_VOLTAGE | _THROTTLED) if self._low_voltage else 0
        cap = self._thermal.cap
        if self.stress.clock_factor < 1:
            bits |= _CAPPED | _THROTTLED
        if cap is not None:
            bits |= _SOFT_LIMIT if cap.temperature_celsius < _SOFT_LIMIT_CELSIUS else _CAPPED | _THROTTLED
        return bits
