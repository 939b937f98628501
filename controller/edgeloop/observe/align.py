"""Finds the offset between the clock of a device and that of a foreign meter, by a pulse of load that both saw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.conditions import Phase

from edgeloop.observe.trace_file import MeterTrace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Alignment", "align"]

_PULSE = "load_pulse"
_PULSES_MIN = 2
_NS = 1e-9
_MARGIN_S = 0.5
_CORRELATION_MIN = 0.7
_DISTINCT = 0.1
_SAMPLES_MIN = 12
_COARSE_MAX = 200_000
_FINE_STEPS = 100
_F_95 = 3.84
"""95 % point of chi-square with one degree of freedom: what one fitted offset may cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """Where the pulses of a run stand in a trace."""

    #: What is added to a time of the board's monotonic clock to have that of the trace, in seconds.
    offset_s: float
    #: Half-width of its 95 % interval: all offsets that fit nearly as well, and half a sampling interval.
    uncertainty_s: float
    #: Correlation of the trace with the pulses at that offset.
    correlation: float
    #: The best correlation anywhere else.
    runner_up: float


def align(trace: MeterTrace, phases: Sequence[Phase]) -> Alignment:
    """Return the offset at which the trace follows the phases called "load_pulse" best.

    The expected power is 1 within a pulse and 0 between; the offset with the highest correlation (Pearson) over the
    window of the pulses wins. It is refused when it fits badly, or when another place fits nearly as well.

    Raises:
        InvalidInputError: too few pulses, a trace that is too short or too slow for them, or no distinct fit.
    """
    import numpy as np

    pulses = sorted((p.start_ns * _NS, p.end_ns * _NS) for p in phases if p.name == _PULSE)
    if len(pulses) < _PULSES_MIN:
        raise InvalidInputError(
            f"this run has {len(pulses)} load pulses; {_PULSES_MIN} or more are needed to align a meter by.",
            next_step="Measure again with load_pulse = true in the benchmark, while the meter records.",
        )
    seconds, watts = (np.asarray(part, dtype=np.float64) for part in trace.power())
    shortest_s = min(end - start for start, end in pulses)
    if trace.interval_s > 0.5 * shortest_s:
        raise InvalidInputError(
            f"{trace.source} has a sample every {trace.interval_s:.3g} s; the shortest pulse is {shortest_s:.3g} s, "
            "and at least two samples within it are needed."
        )
    search = _Search(np, seconds, watts, pulses)
    return _judged(trace, search, shortest_s)


class _Search:
    """Correlation of a trace with a pattern of pulses, at any offset."""

    def __init__(
        self,
        np: Any,
        seconds: NDArray[np.float64],
        watts: NDArray[np.float64],
        pulses: Sequence[tuple[float, float]],
    ) -> None:
        self._np, self._seconds, self._watts = np, seconds, watts
        self._edges = np.asarray([edge for pulse in pulses for edge in pulse])
        self.begin_s, self.end_s = pulses[0][0] - _MARGIN_S, pulses[-1][1] + _MARGIN_S

    def offsets(self, step_s: float) -> NDArray[np.float64]:
        """Return every offset at which the window lies within the trace."""
        first, last = self._seconds[0] - self.begin_s, self._seconds[-1] - self.end_s
        count = max(0, int((last - first) / step_s) + 1)
        if count > _COARSE_MAX:
            raise InvalidInputError(
                f"the trace is {last - first:.0f} s longer than the pulses, too long to search.",
                next_step="Cut the trace to the time of the run.",
            )
        found: NDArray[np.float64] = first + step_s * self._np.arange(count)
        return found

    def fit(self, offset_s: float) -> tuple[float, int]:
        """Return the correlation at one offset, and over how many samples."""
        np = self._np
        low, high = np.searchsorted(self._seconds, (self.begin_s + offset_s, self.end_s + offset_s))
        watts = self._watts[low:high]
        # An odd number of edges before a time means that it lies within a pulse.
        expected = np.searchsorted(self._edges, self._seconds[low:high] - offset_s, side="right") % 2
        if len(watts) < _SAMPLES_MIN or watts.std() == 0.0 or expected.std() == 0.0:
            return 0.0, len(watts)
        return float(np.corrcoef(watts, expected)[0, 1]), len(watts)


def _judged(trace: MeterTrace, search: _Search, shortest_s: float) -> Alignment:
    step_s = 0.05 * shortest_s
    coarse = [(search.fit(float(offset))[0], float(offset)) for offset in search.offsets(step_s)]
    if not coarse:
        raise InvalidInputError(
            f"{trace.source} is shorter than the pulses with their margins, "
            f"{search.end_s - search.begin_s:.3g} s.",
            next_step="Let the meter record from before the run until after it.",
        )
    top, near_s = max(coarse)
    others = [fit for fit, offset in coarse if abs(offset - near_s) > 0.5 * shortest_s]
    runner_up = max(others, default=0.0)
    if top < _CORRELATION_MIN:
        raise InvalidInputError(
            f"{trace.source} does not show the load pulses: the best fit has a correlation of {top:.2f}, below "
            f"{_CORRELATION_MIN}.",
            next_step="Was the meter in the supply of this device, and did it record while the run went on?",
        )
    if top - runner_up < _DISTINCT:
        raise InvalidInputError(
            f"{trace.source} shows the load pulses at more than one place: correlations of {top:.2f} and "
            f"{runner_up:.2f} are not {_DISTINCT} apart.",
            next_step="Cut the trace to the time of the run.",
        )
    return _refined(trace, search, near_s, step_s, runner_up)


def _refined(trace: MeterTrace, search: _Search, near_s: float, step_s: float, runner_up: float) -> Alignment:
    """Return the middle of all offsets that fit as well as the best one, as far as noise can tell."""
    fine = [near_s + step_s * (2.0 * index / _FINE_STEPS - 1.0) * 2.0 for index in range(_FINE_STEPS + 1)]
    fits = [(search.fit(offset), offset) for offset in fine]
    (top, count), _ = max(fits)
    left_open = (1.0 - top * top) * (1.0 + _F_95 / max(count - 2, 1))
    good = [offset for (fit, _), offset in fits if fit > 0.0 and 1.0 - fit * fit <= left_open + 1e-12]
    low, high = min(good), max(good)
    return Alignment(
        offset_s=0.5 * (low + high),
        uncertainty_s=math.hypot(0.5 * (high - low), 0.5 * trace.interval_s),
        correlation=top,
        runner_up=runner_up,
    )
