"""Energy over the steady phase from the power or energy sensor of the board; without one, the reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgeloop_foundation.statistics import integrate_energy
from edgeloop_protocol.types.facts import SensorFacts

from edgeloop_agent.power.sampler import Sampled, Sampler, interval_of
from edgeloop_agent.power.summary import summarise_energy
from edgeloop_agent.power.trace import EnergySpan, Sample, Trace

if TYPE_CHECKING:
    from edgeloop_agent.board import Board

__all__ = ["EnergyMeter", "EnergySpan", "summarise_energy"]

_IDLE_S_MIN, _IDLE_S_MAX = 1.0, 20.0
_IDLE_PERIODS = 20
_IDLE_STEPS = 20
_PREFERENCE = ("wall", "board", "rail", "package")
_TRACE_SAMPLES_MAX = 4000
_NS = 1e-9


class EnergyMeter:
    """Reads one sensor of a board over spans of inferences, and over spans of idling.

    A counter of energy is read at both ends of a span. A sensor of power is sampled at its own rate by the board's
    sampler, and its samples are integrated (trapezoids) on their own times. A span without inferences is one of
    idling: the last one before the first inference and the last one after it are the baseline.
    """

    def __init__(self, board: Board, sensor: SensorFacts | None, reason: str) -> None:
        self._board = board
        self.sensor = sensor
        self.reason = reason
        self.idle_before: EnergySpan | None = None
        self.idle_after: EnergySpan | None = None
        self._sampler: Sampler | None = board.sampler(sensor) if sensor is not None else None
        self._samples: list[Sample] = []
        self._busy_ns: list[tuple[int, int]] = []
        self._begin_ns = 0
        self._interval_s: float | None = None
        self._reading_s = self._measured_s = 0.0

    @classmethod
    async def prepare(cls, board: Board) -> EnergyMeter:
        """Choose the sensor that covers most of the board and measure its idling, a second or 20 periods of it."""
        sensors = [s for s in (await board.facts()).sensors if s.quantity in ("energy", "power")]
        usable = sorted((s for s in sensors if not s.reason), key=_rank)
        if not usable:
            return cls(board, None, f"no power sensor can be read on this board ({_why_none(sensors)})")
        meter = cls(board, usable[0], "")
        await meter._measure_idle(usable[0])
        return meter

    async def _measure_idle(self, sensor: SensorFacts) -> None:
        periods_s = _IDLE_PERIODS * max(sensor.period_s or 0.0, interval_of(sensor))
        seconds = min(max(_IDLE_S_MIN, periods_s), _IDLE_S_MAX)
        await self.begin()
        for _ in range(_IDLE_STEPS):
            await self._board.clock.sleep(seconds / _IDLE_STEPS)
            await self.between_batches()
        await self.end(0)

    @property
    def idle_power_w(self) -> float | None:
        """Return the power while idle before the first inference; None when it was not read."""
        span = self.idle_before
        return span.energy_j / span.duration_s if span else None

    async def begin(self) -> None:
        """Start a span."""
        if self._sampler is not None:
            await self._sampler.begin()
            self._begin_ns = self._board.clock.monotonic_ns()

    async def between_batches(self) -> None:
        """Give a sampler that has no thread the chance to look; a counter of energy needs none."""
        if self._sampler is not None:
            await self._sampler.step()

    async def end(self, inference_count: int) -> EnergySpan | None:
        """End the span; None when the sensor could not be read at both ends."""
        if self._sampler is None or self.sensor is None:
            return None
        end_ns = self._board.clock.monotonic_ns()
        sampled = await self._sampler.end()
        self._keep(sampled, end_ns, busy=inference_count > 0)
        span = _span(self.sensor, sampled, inference_count)
        if span is not None and inference_count > 0:
            self._reading_s += span.reading_s
            self._measured_s += span.duration_s
        if inference_count == 0:
            self._note_idle(span)
        return span

    def trace(self) -> Trace | None:
        """Return what was read so far, for a watch over the sensor; None without one."""
        if self.sensor is None or self._sampler is None:
            return None
        return Trace(
            sensor=self.sensor,
            samples=tuple(self._samples),
            busy_ns=tuple(self._busy_ns),
            interval_s=self._interval_s,
            reading_share=self._reading_s / self._measured_s if self._measured_s else 0.0,
            wrap_count=self._sampler.wrap_count,
        )

    def _note_idle(self, span: EnergySpan | None) -> None:
        if self._busy_ns:
            self.idle_after = span
        elif span is not None:
            self.idle_before = span

    def _keep(self, sampled: Sampled, end_ns: int, *, busy: bool) -> None:
        """Keep the samples for the watch, the earliest ones of a long job."""
        if busy:
            self._busy_ns.append((self._begin_ns, end_ns))
        self._interval_s = sampled.interval_s
        self._samples.extend(sampled.samples[: max(0, _TRACE_SAMPLES_MAX - len(self._samples))])


def _why_none(sensors: Sequence[SensorFacts]) -> str:
    """Return the reasons of those that are there and cannot be read, and the names of those that are not."""
    absent = [s.name for s in sensors if s.reason.startswith("absent")]
    told = [f"{s.name}: {s.reason}" for s in sensors if s.name not in absent]
    return "; ".join([*told, *([f"absent: {', '.join(absent)}"] if absent else [])]) or "it has none"


def _span(sensor: SensorFacts, sampled: Sampled, inference_count: int) -> EnergySpan | None:
    samples = sampled.samples
    if len(samples) < 2 or samples[-1].time_ns <= samples[0].time_ns:
        return None
    if sensor.quantity == "energy":
        energy_j = samples[-1].value - samples[0].value
    else:
        energy_j = integrate_energy([s.time_ns for s in samples], [s.value for s in samples])
    return EnergySpan(
        energy_j=energy_j,
        duration_s=(samples[-1].time_ns - samples[0].time_ns) * _NS,
        inference_count=inference_count,
        reading_count=len(samples),
        reading_s=sampled.reading_s,
        interval_s=sampled.interval_s,
    )


def _rank(sensor: SensorFacts) -> tuple[int, bool]:
    """Order by what a sensor covers, and counters first: they miss nothing between two readings."""
    scope = _PREFERENCE.index(sensor.scope) if sensor.scope in _PREFERENCE else len(_PREFERENCE)
    return scope, sensor.quantity != "energy"
