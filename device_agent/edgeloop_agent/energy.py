"""Energy over the steady phase from the power or energy sensor of the board; without one, the reason."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeloop_foundation.statistics import integrate_energy, student_t_interval
from edgeloop_protocol.types.conditions import Conditions
from edgeloop_protocol.types.facts import SensorFacts
from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import Energy

if TYPE_CHECKING:
    from edgeloop_agent.board import Board

__all__ = ["EnergyMeter", "EnergySpan", "summarise_energy"]

_IDLE_S = 1.0
_IDLE_READINGS = 11
_PERIODS_MIN = 20
_CONFIDENCE = 0.95
_PREFERENCE = ("wall", "board", "rail", "package")
_PACKAGE = re.compile(r".*/package-\d+")
_NS = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergySpan:
    """Energy of one stretch of steady inferences."""

    #: Energy in joule.
    energy_j: float
    #: Length in seconds of job time.
    duration_s: float
    #: Inferences within.
    inference_count: int
    #: Readings of the sensor within.
    reading_count: int


@dataclass(frozen=True, slots=True)
class _Point:
    time_ns: int
    value: float


class EnergyMeter:
    """Reads one sensor of a board around and between batches, never within one.

    A sensor of energy is read at both ends of a span; one of power at every batch, and integrated
    (trapezoids).
    """

    def __init__(self, board: Board, sensor: SensorFacts | None, reason: str) -> None:
        self._board = board
        self.sensor = sensor
        self.reason = reason
        self.idle_power_w: float | None = None
        self._points: list[_Point] = []

    @classmethod
    async def prepare(cls, board: Board) -> EnergyMeter:
        """Choose the sensor that covers most of the board and measure one second of idling with it."""
        sensors = [s for s in (await board.facts()).sensors if s.quantity in ("energy", "power")]
        usable = sorted((s for s in sensors if not s.reason), key=_rank)
        if not usable:
            why = "; ".join(f"{s.name}: {s.reason}" for s in sensors) or "it has none"
            return cls(board, None, f"no power sensor can be read on this board ({why})")
        meter = cls(board, usable[0], "")
        await meter._measure_idle()
        return meter

    async def _measure_idle(self) -> None:
        await self.begin()
        for _ in range(_IDLE_READINGS - 1):
            await self._board.clock.sleep(_IDLE_S / (_IDLE_READINGS - 1))
            await self._read()
        span = self._span(0)
        self.idle_power_w = span.energy_j / span.duration_s if span else None

    @property
    def _cumulative(self) -> bool:
        return self.sensor is not None and self.sensor.quantity == "energy"

    async def begin(self) -> None:
        """Start a span."""
        self._points = []
        await self._read()

    async def between_batches(self) -> None:
        """Read a sensor of power; a counter of energy needs no reading in between."""
        if not self._cumulative:
            await self._read()

    async def end(self, inference_count: int) -> EnergySpan | None:
        """End the span; None when the sensor could not be read at both ends."""
        if self._cumulative:
            await self._read()
        return self._span(inference_count)

    async def _read(self) -> None:
        if self.sensor is None:
            return
        conditions = await self._board.conditions()
        value = _value(self.sensor, conditions)
        if value is not None:
            self._points.append(_Point(conditions.monotonic_ns, value))

    def _span(self, inference_count: int) -> EnergySpan | None:
        points = self._points
        if len(points) < 2 or points[-1].time_ns <= points[0].time_ns:
            return None
        if self._cumulative:
            energy = points[-1].value - points[0].value
        else:
            energy = integrate_energy([p.time_ns for p in points], [p.value for p in points])
        return EnergySpan(
            energy_j=energy,
            duration_s=(points[-1].time_ns - points[0].time_ns) * _NS,
            inference_count=inference_count,
            reading_count=len(points),
        )


def _rank(sensor: SensorFacts) -> int:
    return _PREFERENCE.index(sensor.scope) if sensor.scope in _PREFERENCE else len(_PREFERENCE)


def _value(sensor: SensorFacts, conditions: Conditions) -> float | None:
    """Return the sensor's value: its packages added up (their parts are in them), or its first channel."""
    mine = [reading for reading in conditions.readings if reading.name.partition("/")[0] == sensor.name]
    chosen = [reading for reading in mine if _PACKAGE.fullmatch(reading.name)] or mine[:1]
    values = [reading.value for reading in chosen if reading.value is not None]
    return sum(values) if values and len(values) == len(chosen) else None


def summarise_energy(meter: EnergyMeter, spans: Sequence[EnergySpan]) -> Energy:
    """Return energy per inference with the interval over processes, or the reason why there is none."""
    sensor = meter.sensor
    reason = meter.reason or _shortcoming(sensor, spans)
    if reason or sensor is None:
        absent = Estimate.absent(reason)
        return Energy(gross_j=absent, above_idle_j=absent, mean_power_w=absent, idle_power_w=_idle(meter))
    idle = meter.idle_power_w
    seconds = sum(span.duration_s for span in spans)
    above = (
        Estimate.absent("idle power was not read")
        if idle is None
        else _mean([(s.energy_j - idle * s.duration_s) / s.inference_count for s in spans])
    )
    return Energy(
        gross_j=_mean([span.energy_j / span.inference_count for span in spans]),
        above_idle_j=above,
        mean_power_w=_mean([span.energy_j / span.duration_s for span in spans]),
        idle_power_w=_idle(meter),
        sensor=sensor.name,
        scope=sensor.scope,
        rate_hz=sum(span.reading_count - 1 for span in spans) / seconds,
    )


def _idle(meter: EnergyMeter) -> Estimate:
    if meter.idle_power_w is None:
        return Estimate.absent(meter.reason or "idle power was not read")
    return Estimate(value=meter.idle_power_w, sample_count=1)


def _shortcoming(sensor: SensorFacts | None, spans: Sequence[EnergySpan]) -> str:
    if not spans or not all(span.inference_count for span in spans):
        return "the sensor was not read around the steady phase"
    seconds = sum(span.duration_s for span in spans)
    least = _PERIODS_MIN * (sensor.period_s or 0.0) if sensor else 0.0
    if seconds < least:
        return (
            f"the steady phase took {seconds:.3g} s; {_PERIODS_MIN} periods of the sensor are {least:.3g} s"
        )
    return ""


def _mean(values: Sequence[float]) -> Estimate:
    if len(values) < 2:
        return Estimate(value=statistics.fmean(values), sample_count=len(values))
    mean, low, high = student_t_interval(values, _CONFIDENCE)
    return Estimate(value=mean, low=low, high=high, confidence=_CONFIDENCE, sample_count=len(values))
