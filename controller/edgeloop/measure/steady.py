"""Whether the samples of a process settled, and at what level.

The classes are those of Barrett, Bolz-Tereick, Killick, Mount and Tratt ("Virtual machine warmup blows hot and cold",
OOPSLA 2017): the logarithms of window medians are cut into levels by ``changepoint``; levels that lie within
``LEVEL_ALLOWED`` of the last one are the same level.

- *flat*: all levels are the same;
- *warm-up*: the last level is the fastest, or the same as the fastest; *slowdown*: it is not;
- *no steady state*: the last level holds less than ``TAIL_SHARE_MIN`` of the windows, or latency still has a slope
  over the last ``SLOPE_WINDOWS`` windows, or the board still gets warmer in a sustained run;
- *cyclic*: it goes to and fro between two levels, four times or more.

A slope counts when its 95 % interval leaves zero, it is 0.5 % per minute or more, and it moves the last windows by
more than half of ``LEVEL_ALLOWED``: over a tail of a second 0.5 % per minute is nothing that anybody could see.

A run takes the class of its processes; when they differ it is *inconsistent*, and *no steady state* when more than
half of them have none.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from edgeloop_foundation.statistics import student_t_quantile
from edgeloop_protocol.types.measurement import Estimate
from numpy.typing import NDArray

from edgeloop.domain.latency import ProcessSteadiness, Steadiness
from edgeloop.measure.changepoint import changepoints

__all__ = ["LEVEL_ALLOWED", "SLOPE_WINDOWS", "TAIL_SHARE_MIN", "classify_process", "classify_run"]

LEVEL_ALLOWED = 0.02
"""Relative difference of levels that nobody acts upon: the half-width that a benchmark wants by default."""
TAIL_SHARE_MIN = 0.25
"""Barrett et al. ask for the last 500 of 2,000 iterations."""
SLOPE_WINDOWS = 5
SLOPE_ALLOWED_PER_MIN = 0.005
WARMING_ALLOWED_K_PER_MIN = 0.3

_WINDOWS_MAX = 40
_WINDOW_SAMPLES_MIN = 5
_WINDOWS_MIN = 8
_CYCLE_LEVELS_MIN = 5
_NS_PER_MIN = 6e10

Samples = NDArray[np.int64]


def classify_process(samples_ns: Samples, round_index: int, thinning: float = 1.0) -> ProcessSteadiness:
    """Return how the latency of one process developed.

    Args:
        samples_ns: its samples in order of time, nanoseconds.
        round_index: its round.
        thinning: inferences that one of these samples stands for; 1 when all were kept.
    """
    count = len(samples_ns)
    windows = min(_WINDOWS_MAX, count // _WINDOW_SAMPLES_MIN)
    if windows < _WINDOWS_MIN or int(samples_ns.min()) <= 0:
        needed = _WINDOWS_MIN * _WINDOW_SAMPLES_MIN
        return ProcessSteadiness(
            round=round_index,
            steadiness=Steadiness.NOT_ASSESSED,
            reason=f"{needed} samples above zero are needed, there are {count}",
        )
    pieces = np.array_split(samples_ns, windows)
    medians = np.array([float(np.median(piece)) for piece in pieces])
    logs = np.log(medians)
    changes = changepoints(logs.tolist())
    levels = _levels(logs, changes)
    steadiness, first, reason = _classify(levels, changes, windows)
    minutes = np.array([float(piece.sum()) for piece in pieces]) * thinning / _NS_PER_MIN
    slope, moved = _slope(logs, minutes)
    if steadiness.settled and _still_moving(slope, moved):
        steadiness = Steadiness.NO_STEADY_STATE
        reason = f"the last {SLOPE_WINDOWS} windows still move, by {100 * moved:+.1f} %"
    return ProcessSteadiness(
        round=round_index,
        steadiness=steadiness,
        window_medians_s=tuple(float(m) * 1e-9 for m in medians),
        changepoints=changes,
        tail_offset=sum(len(piece) for piece in pieces[:first]),
        slope_per_min=slope,
        reason=reason,
    )


def _levels(logs: NDArray[np.float64], changes: Sequence[int]) -> list[float]:
    edges = [0, *changes, len(logs)]
    return [float(np.mean(logs[begin:end])) for begin, end in itertools.pairwise(edges)]


def _classify(levels: Sequence[float], changes: Sequence[int], windows: int) -> tuple[Steadiness, int, str]:
    """Return the class, the window at which the accepted tail begins, and why."""
    last = levels[-1]
    same = [abs(level - last) <= LEVEL_ALLOWED for level in levels]
    if all(same):
        return Steadiness.FLAT, 0, "one level throughout"
    # The tail is the last run of levels that are the same as the last one.
    first_level = len(levels) - next(i for i, one in enumerate([*reversed(same), False]) if not one)
    first = ([0, *changes])[first_level]
    if _cyclic(levels):
        return Steadiness.CYCLIC, first, f"{len(levels)} levels in turn, high and low"
    if windows - first < TAIL_SHARE_MIN * windows:
        reason = f"the level still changed in window {first + 1} of {windows}"
        return Steadiness.NO_STEADY_STATE, first, reason
    change = math.exp(last - levels[0]) - 1.0
    reason = f"{100 * change:+.1f} % from the first level to the last, settled from window {first + 1} on"
    if last <= min(levels) + LEVEL_ALLOWED:
        return Steadiness.WARM_UP, first, reason
    return Steadiness.SLOWDOWN, first, reason


def _cyclic(levels: Sequence[float]) -> bool:
    if len(levels) < _CYCLE_LEVELS_MIN:
        return False
    middle = 0.5 * (min(levels) + max(levels))
    high = [level > middle for level in levels]
    if any(before == after for before, after in itertools.pairwise(high)):
        return False
    spread = max(levels) - min(levels)
    groups = ([v for v, up in zip(levels, high, strict=True) if up is side] for side in (True, False))
    return all(max(group) - min(group) < 0.5 * spread for group in groups)


def _slope(logs: NDArray[np.float64], minutes: NDArray[np.float64]) -> tuple[Estimate, float]:
    """Return the slope per minute over the last windows with its interval, and what it moves them by in all."""
    tail, lengths = logs[-SLOPE_WINDOWS:], minutes[-SLOPE_WINDOWS:]
    times = np.cumsum(lengths) - 0.5 * lengths
    times -= times.mean()
    spread = float(np.sum(times**2))
    slope = float(np.sum(times * tail)) / spread
    residuals = tail - tail.mean() - slope * times
    degrees = SLOPE_WINDOWS - 2
    half = student_t_quantile(0.95, degrees) * math.sqrt(float(np.sum(residuals**2)) / degrees / spread)
    estimate = Estimate(
        value=slope, low=slope - half, high=slope + half, confidence=0.95, sample_count=SLOPE_WINDOWS
    )
    return estimate, slope * float(times[-1] - times[0])


def _still_moving(slope: Estimate, moved: float) -> bool:
    if slope.value is None or slope.low is None or slope.high is None:
        return False
    sure = slope.low > 0.0 or slope.high < 0.0
    return sure and abs(slope.value) >= SLOPE_ALLOWED_PER_MIN and abs(moved) > 0.5 * LEVEL_ALLOWED


def classify_run(
    processes: Sequence[ProcessSteadiness], warming_k_per_min: float | None = None
) -> tuple[Steadiness, str]:
    """Return the class of a run with the sentence that says why.

    Args:
        processes: its processes.
        warming_k_per_min: how fast the board still got warmer at the end of a sustained run; None where it is
            not known, or where the run is a burst and may warm the board up.
    """
    assessed = [p for p in processes if p.steadiness is not Steadiness.NOT_ASSESSED]
    if not assessed:
        return Steadiness.NOT_ASSESSED, processes[0].reason if processes else "no samples are kept"
    counts = Counter(p.steadiness for p in assessed)
    said = ", ".join(f"{n} {kind.value.replace('_', ' ')}" for kind, n in counts.most_common())
    reason = f"of {len(assessed)} processes: {said}"
    if warming_k_per_min is not None and warming_k_per_min >= WARMING_ALLOWED_K_PER_MIN:
        return Steadiness.NO_STEADY_STATE, f"the board still warms up by {warming_k_per_min:.1f} K per minute"
    unsettled = [p for p in assessed if not p.steadiness.settled]
    if 2 * len(unsettled) > len(assessed):
        kinds = {p.steadiness for p in unsettled}
        kind = kinds.pop() if len(kinds) == 1 else Steadiness.NO_STEADY_STATE
        return kind, f"{reason}; {unsettled[0].reason}"
    if len(counts) == 1:
        return assessed[0].steadiness, reason
    return Steadiness.INCONSISTENT, reason
