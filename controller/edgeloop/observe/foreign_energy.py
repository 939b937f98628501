"""Energy per inference of a run from a foreign meter's trace, marked with its source."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_foundation.statistics import integrate_between, interpolate, student_t_interval
from edgeloop_protocol.types.conditions import Phase
from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import Run, Source

from edgeloop.observe.align import Alignment, align
from edgeloop.observe.trace_file import MeterTrace

__all__ = ["ForeignEnergy", "energy_of"]

_NS = 1e-9
_CONFIDENCE = 0.95
_IDLE = ("idle_before", "idle_after")
_SAMPLES_MIN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignEnergy:
    """What a meter on another machine saw of one run; never part of the run itself."""

    #: The run.
    run_id: str
    #: Label of its trial.
    label: str
    #: The file it was read from.
    source: str
    #: How the two clocks were brought together.
    alignment: Alignment
    #: Energy per inference, idle included.
    gross_j: Estimate
    #: Energy per inference above idle; needs phases of idling.
    above_idle_j: Estimate
    #: Mean power over the steady phases.
    mean_power_w: Estimate
    #: Power while idle, before and after taken together.
    idle_power_w: Estimate


@dataclass(frozen=True, slots=True)
class _Round:
    """The steady phases of one process and the inferences within."""

    phases: tuple[Phase, ...]
    count: int

    @property
    def seconds(self) -> float:
        return sum(phase.end_ns - phase.start_ns for phase in self.phases) * _NS


def energy_of(run: Run, trace: MeterTrace) -> ForeignEnergy:
    """Align a trace to a run by its load pulses and integrate it over the steady phases.

    Intervals cover the spread over processes (Student's t, 95 %) and, added to it, what the uncertainty of the
    alignment makes of the energy. An error of the meter itself is not in them: nothing in a CSV file states it.

    Raises:
        InvalidInputError: a simulated run, a run without steady phases, a trace that cannot be aligned or does not
            cover them, or too few samples within them.
    """
    if run.source is Source.SIMULATED:
        raise InvalidInputError(f"run {run.run_id} is simulated: no meter has seen it.")
    rounds = _rounds(run)
    if not rounds:
        raise InvalidInputError(f"run {run.run_id} has no steady phase, so there is no energy per inference.")
    found = align(trace, run.phases)
    reader = _Reader(trace, found)
    reader.check(rounds)
    per_inference = [reader.energy(r.phases) / r.count for r in rounds]
    count, seconds = sum(r.count for r in rounds), sum(r.seconds for r in rounds)
    every = [phase for r in rounds for phase in r.phases]
    open_j = reader.open_j(every)
    idle = _idle(run.phases, reader)
    return ForeignEnergy(
        run_id=run.run_id,
        label=run.trial.label,
        source=trace.source,
        alignment=found,
        gross_j=_mean(per_inference, open_j / count),
        above_idle_j=_above(rounds, per_inference, idle, open_j / count),
        mean_power_w=_mean([reader.energy(r.phases) / r.seconds for r in rounds], open_j / seconds),
        idle_power_w=idle,
    )


def _rounds(run: Run) -> list[_Round]:
    counts: dict[int, int] = {}
    for block in run.timing.blocks if run.timing else ():
        # Blocks of older agents do not count apart what was thinned out.
        counts[block.round] = counts.get(block.round, 0) + max(block.inference_count, block.sample_count)
    found = []
    for index, count in sorted(counts.items()):
        phases = tuple(p for p in run.phases if p.name == "steady" and p.round == index)
        if phases and count:
            found.append(_Round(phases, count))
    return found


class _Reader:
    """Energy from a trace between two times of the board."""

    def __init__(self, trace: MeterTrace, alignment: Alignment) -> None:
        self._trace, self._alignment = trace, alignment

    def energy(self, phases: Sequence[Phase], shift_s: float = 0.0) -> float:
        """Return the energy of these phases, with the offset moved by ``shift_s``."""
        offset_ns = round((self._alignment.offset_s + shift_s) / _NS)
        trace = self._trace
        return sum(
            self._between(trace, phase.start_ns + offset_ns, phase.end_ns + offset_ns) for phase in phases
        )

    @staticmethod
    def _between(trace: MeterTrace, start_ns: int, end_ns: int) -> float:
        if trace.quantity == "power":
            return integrate_between(trace.times_ns, trace.values, start_ns, end_ns)
        first, last = (interpolate(trace.times_ns, trace.values, at) for at in (start_ns, end_ns))
        return last - first

    def open_j(self, phases: Sequence[Phase]) -> float:
        """Return by how much the energy of these phases differs when the offset moves within its uncertainty."""
        middle = self.energy(phases)
        moved: Callable[[float], float] = lambda sign: self.energy(  # noqa: E731
            phases, sign * self._alignment.uncertainty_s
        )
        return max(abs(moved(sign) - middle) for sign in (-1.0, 1.0))

    def check(self, rounds: Sequence[_Round]) -> None:
        """Refuse phases that hold too few samples to stand for them."""
        seconds = sum(r.seconds for r in rounds)
        samples = seconds / self._trace.interval_s
        if samples < _SAMPLES_MIN:
            raise InvalidInputError(
                f"{self._trace.source} has about {samples:.0f} samples in the {seconds:.3g} s of steady inferences; "
                f"{_SAMPLES_MIN} are needed.",
                next_step="Measure longer (steady_s_max), or with a faster meter.",
            )


def _idle(phases: Sequence[Phase], reader: _Reader) -> Estimate:
    idling = [phase for phase in phases if phase.name in _IDLE]
    if not idling:
        return Estimate.absent("the run has no phase of idling; measure with idle_s above 0")
    powers = [reader.energy([phase]) / ((phase.end_ns - phase.start_ns) * _NS) for phase in idling]
    value = statistics.fmean(powers)
    if len(powers) < 2:
        return Estimate(value=value, sample_count=len(powers))
    return Estimate(value=value, low=min(powers), high=max(powers), sample_count=len(powers))


def _above(
    rounds: Sequence[_Round], per_inference: Sequence[float], idle: Estimate, open_j: float
) -> Estimate:
    if idle.value is None:
        return Estimate.absent(idle.reason)
    power_w = idle.value
    rest = [value - power_w * r.seconds / r.count for value, r in zip(per_inference, rounds, strict=True)]
    spread_w = 0.0 if idle.low is None or idle.high is None else 0.5 * (idle.high - idle.low)
    seconds, count = sum(r.seconds for r in rounds), sum(r.count for r in rounds)
    return _mean(rest, open_j + spread_w * seconds / count)


def _mean(values: Sequence[float], half: float) -> Estimate:
    """Return the mean; its interval is that over the processes, widened by ``half`` on both sides."""
    if len(values) < 2:
        return Estimate(value=values[0], sample_count=1)
    mean, low, high = student_t_interval(values, _CONFIDENCE)
    return Estimate(
        value=mean, low=low - half, high=high + half, confidence=_CONFIDENCE, sample_count=len(values)
    )
