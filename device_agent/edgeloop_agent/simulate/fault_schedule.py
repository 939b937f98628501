"""When faults happen: counts of what a board went through in, faults that are due out; no input, output or clock."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from edgeloop_profiles.fault_script import Fault

from edgeloop_agent.simulate.stress import Stress

__all__ = ["FaultSchedule", "Happening"]

_LASTING = ("throttle", "slow", "clock_skew", "sensor_gone")


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """A fault that is due now."""

    fault: Fault
    #: How often it has happened with this one.
    number: int

    @property
    def place(self) -> float:
        """Return where: the value of its trigger, which repeats at equal distances."""
        return self.fault.place * self.number


class FaultSchedule:
    """The faults of one board; counters go on across its restarts, so that none happens twice for one cause."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self._faults = tuple(faults)
        self._counted = [0.0] * len(self._faults)
        self._happened = [0] * len(self._faults)

    def count(self, trigger: str, amount: int, method: str = "") -> tuple[Happening, ...]:
        """Count requests, bytes or writes, and return what they set off, in the order of the script."""
        due = []
        for index, fault in enumerate(self._faults):
            rule = fault.rule
            if rule.trigger != trigger or (rule.method and not fnmatchcase(method, rule.method)):
                continue
            self._counted[index] += amount
            number = self._happened[index] + 1
            if number <= rule.count and self._counted[index] >= max(1.0, fault.place) * number:
                self._happened[index] = number
                due.append(Happening(fault=fault, number=number))
        return tuple(due)

    def pass_time(self, now_s: float) -> tuple[Happening, ...]:
        """Return what this moment of job time sets off; lasting faults at their beginning."""
        due = []
        for index, fault in enumerate(self._faults):
            if fault.rule.trigger == "at_s" and not self._happened[index] and now_s >= fault.place:
                self._happened[index] = 1
                due.append(Happening(fault=fault, number=1))
        return tuple(due)

    def settle(self, stress: Stress, now_s: float) -> None:
        """Set what lasts at this moment of job time; of two faults of one kind both count."""
        lasting = [fault for fault in self._faults if fault.rule.kind in _LASTING and _lasts(fault, now_s)]
        stress.clock_factor = math.prod(
            fault.rule.factor for fault in lasting if fault.rule.kind == "throttle"
        )
        stress.slowdown = math.prod(fault.rule.factor for fault in lasting if fault.rule.kind == "slow")
        stress.skew_s = sum(fault.rule.skew_s for fault in lasting)
        stress.gone_sensors = frozenset(fault.rule.sensor for fault in lasting if fault.rule.sensor)

    @property
    def timed(self) -> bool:
        """Return whether anything depends on job time."""
        return any(fault.rule.trigger == "at_s" for fault in self._faults)


def _lasts(fault: Fault, now_s: float) -> bool:
    end_s = fault.place + fault.rule.for_s if fault.rule.for_s else float("inf")
    return fault.place <= now_s < end_s
