"""What the board's sensors say of heat: the hottest zone, the highest clock, and throttling as it happens."""

from __future__ import annotations

from collections.abc import Iterable

from edgeloop_protocol.types.conditions import Conditions
from edgeloop_protocol.types.measurement import Reading

__all__ = ["ThrottleWatch", "highest_frequency_hz", "hottest_celsius"]

_SENSORS = ("throttle/", "jetson_throttle/", "nvml_throttle/")
_NOW, _SINCE_BOOT = "_now", "_since_boot"
_FLAGS = (_NOW, _SINCE_BOOT)


def hottest_celsius(conditions: Conditions) -> float | None:
    """Return the hottest zone; None when no thermometer could be read."""
    return _highest(reading for reading in conditions.readings if reading.name.startswith("thermal/"))


def highest_frequency_hz(conditions: Conditions) -> float | None:
    """Return the highest clock that any policy of the processor reports now; None when none does."""
    return _highest(
        reading
        for reading in conditions.readings
        # The same sensor also tells the limits, which stay when the clock falls.
        if reading.name.startswith("cpufreq/") and reading.name.endswith("/current")
    )


def _highest(readings: Iterable[Reading]) -> float | None:
    return max((reading.value for reading in readings if reading.value is not None), default=None)


class ThrottleWatch:
    """Counts throttle events between two looks: counters by how far they rose, flags when they come up.

    A flag of the moment and its sticky twin are one event. Flags of under-voltage are left out: they tell of the
    power supply, not of heat.
    """

    def __init__(self, before: Conditions) -> None:
        self._seen = _throttle(before)
        #: Whether the board was throttled when the watch began.
        self.began_throttled = any(value > 0 for name, value in self._seen.items() if name.endswith(_NOW))

    @property
    def can_see(self) -> bool:
        """Whether the board tells of throttling at all."""
        return bool(self._seen)

    def events(self, now: Conditions) -> int | None:
        """Return the events since the last look; None when the board does not tell."""
        found = _throttle(now)
        if not found:
            return None
        risen = {name: value - self._seen.get(name, value) for name, value in found.items()}
        self._seen = {**self._seen, **found}
        counted = sum(max(0, round(rise)) for name, rise in risen.items() if not name.endswith(_FLAGS))
        flags = {_stem(name) for name, rise in risen.items() if name.endswith(_FLAGS) and rise > 0}
        return counted + len(flags)


def _stem(name: str) -> str:
    return name.removesuffix(_NOW).removesuffix(_SINCE_BOOT)


def _throttle(conditions: Conditions) -> dict[str, float]:
    return {
        reading.name: reading.value
        for reading in conditions.readings
        if reading.value is not None
        and reading.name.startswith(_SENSORS)
        and "under_voltage" not in reading.name
    }
