"""A watch over the sensors themselves: stuck, lagging, wrapped, or asked too fast.

Law: pure functions of timestamped samples; no I/O, no clock. A rule that has too little to go by says nothing: a
clean series raises no finding.
"""

from __future__ import annotations

import itertools
import math
import statistics
from bisect import bisect_right
from collections.abc import Sequence

from edgeloop_protocol.types.conditions import Anomaly, AnomalyKind

from edgeloop_agent.power.trace import Sample, Trace

__all__ = ["sensor_anomalies", "step_lag_s", "untrustworthy"]

_NS = 1e-9
_IDLE_COUNT_MIN, _BUSY_COUNT_MIN = 5, 20
_STEP_SHARE = 0.05
"""What the change from idle to busy is at the very least, as a share of the level."""
_WARMING_S = 30.0
_WARMING_RESOLUTION = 1.0
_POWER_MIN_W = 0.2
"""No board that answers draws less."""
_LAG_S_MAX = 10.0
_LAG_CANDIDATES = 60
_LAG_SAMPLES_MAX = 600
_LAG_NOISE = 1.5
_LAG_GAIN = 0.7
_LAG_SLACK_S = 0.1
_CHANGES_MIN = 8
_HELD_MIN = 2.5
_SHARE_MAX = 0.01
_FASTER = 0.9


def sensor_anomalies(*traces: Trace | None) -> tuple[Anomaly, ...]:
    """Return what is wrong with the sensors that were read during a job; without a trace there is nothing to say."""
    found = []
    for trace in traces:
        if trace is None:
            continue
        for kind, reason, disqualifying in (
            (AnomalyKind.SENSOR_STUCK, _stuck(trace), True),
            (AnomalyKind.SENSOR_LAGGING, _lagging(trace), True),
            (AnomalyKind.SENSOR_WRAPPED, _went_back(trace), True),
            (AnomalyKind.SENSOR_WRAPPED, _wrapped(trace), False),
            (AnomalyKind.SENSOR_TOO_FAST, _too_fast(trace), False),
        ):
            if reason:
                found.append(Anomaly(kind=kind, reason=reason, disqualifying=disqualifying))
    return tuple(found)


def untrustworthy(trace: Trace) -> str:
    """Return why no energy may be taken from this sensor; empty when it may."""
    return _stuck(trace) or _lagging(trace) or _went_back(trace)


def _split(trace: Trace) -> tuple[list[Sample], list[Sample]]:
    """Return the samples while idle and while busy."""
    starts = [start for start, _ in trace.busy_ns]
    idle: list[Sample] = []
    busy: list[Sample] = []
    for sample in trace.samples:
        index = bisect_right(starts, sample.time_ns) - 1
        inside = index >= 0 and sample.time_ns <= trace.busy_ns[index][1]
        (busy if inside else idle).append(sample)
    return idle, busy


def _stuck(trace: Trace) -> str:
    if trace.sensor.quantity == "energy":
        return _counter_stuck(trace)
    idle, busy = _split(trace)
    before = [sample for sample in idle if busy and sample.time_ns < busy[0].time_ns]
    if len(before) < _IDLE_COUNT_MIN or len(busy) < _BUSY_COUNT_MIN:
        return ""
    value = before[-1].value
    if any(sample.value != value for sample in busy) or not _must_change(trace, value, busy):
        return ""
    seconds = (busy[-1].time_ns - busy[0].time_ns) * _NS
    return (
        f"{trace.sensor.name} stayed at {value:g} {trace.sensor.unit} over {len(busy)} readings in "
        f"{seconds:.3g} s of load, as it was while idle; a change was expected."
    )


def _must_change(trace: Trace, value: float, busy: Sequence[Sample]) -> bool:
    """Return whether a load must show, given the sensor's resolution."""
    step = trace.sensor.resolution or _decimal_step(value)
    if trace.sensor.quantity == "temperature":
        long_enough = (busy[-1].time_ns - busy[0].time_ns) * _NS >= _WARMING_S
        return long_enough and step <= _WARMING_RESOLUTION
    return value == 0.0 or step <= _STEP_SHARE * abs(value)


def _decimal_step(value: float) -> float:
    """Return the power of ten that the value is a multiple of: its resolution at best, where none is declared."""
    for exponent in range(6, -7, -1):
        step = 10.0**exponent
        if abs(value / step - round(value / step)) < 1e-9 * max(1.0, abs(value / step)):
            return step
    return 1e-6


def _counter_stuck(trace: Trace) -> str:
    _, busy = _split(trace)
    if len(busy) < 2:
        return ""
    seconds = sum(end - start for start, end in trace.busy_ns) * _NS
    advanced = max(sample.value for sample in busy) - min(sample.value for sample in busy)
    step = trace.sensor.resolution or 0.0
    if (
        advanced > 0.0
        or seconds * _POWER_MIN_W < 2.0 * step
        or seconds < 2.0 * (trace.sensor.period_s or 0.0)
    ):
        return ""
    return f"{trace.sensor.name} counted nothing in {seconds:.3g} s of load; a board draws more than that."


def _lagging(trace: Trace) -> str:
    if trace.sensor.quantity != "power":
        return ""
    found = step_lag_s(trace)
    declared = trace.sensor.lag_s
    slack = max(2.0 * max(trace.sensor.period_s or 0.0, trace.interval_s or 0.0), _LAG_SLACK_S)
    if found is None or found <= (declared or 0.0) + slack:
        return ""
    states = "states no lag" if declared is None else f"states a lag of {declared:g} s"
    return f"{trace.sensor.name} follows the load {found:.3g} s late; it {states}."


def step_lag_s(trace: Trace) -> float | None:
    """Return by how much a sensor trails the load; None when idle and busy cannot be told apart.

    A series that is low while idle and high from ``lag`` seconds after the load's begin until ``lag`` seconds after
    its end is fitted by least squares, over all lags up to ten seconds. A lag has to explain much more than no lag
    does; otherwise it is 0.
    """
    idle, busy = _split(trace)
    if len(idle) < _IDLE_COUNT_MIN or len(busy) < _IDLE_COUNT_MIN:
        return None
    longest_ns = max(end - start for start, end in trace.busy_ns)
    last_ns = min(longest_ns, int(_LAG_S_MAX / _NS))
    shared = sorted([*idle, *busy], key=lambda sample: sample.time_ns)
    # Evenly thinned: the agent answers others meanwhile, and a fit of 600 samples is as good as one of 4000.
    shared = shared[:: -(-len(shared) // _LAG_SAMPLES_MAX)]
    fits = [
        (*_step_fit(trace, shared, last_ns * index // _LAG_CANDIDATES), last_ns * index // _LAG_CANDIDATES)
        for index in range(_LAG_CANDIDATES)
    ]
    usable = [fit for fit in fits if math.isfinite(fit[0])]
    if not usable:
        return None
    squares, rise, lag_ns = min(usable)
    if abs(rise) < _LAG_NOISE * math.sqrt(squares / len(shared)) or rise == 0.0:
        return None
    at_once = fits[0][0]
    return lag_ns * _NS if squares < _LAG_GAIN * at_once else 0.0


def _step_fit(trace: Trace, samples: Sequence[Sample], lag_ns: int) -> tuple[float, float]:
    """Return the squares that a step with this lag leaves, and its height; infinite when one side is empty."""
    shifted = Trace(
        sensor=trace.sensor,
        samples=samples,
        busy_ns=tuple((start + lag_ns, end + lag_ns) for start, end in trace.busy_ns),
    )
    low, high = ([sample.value for sample in part] for part in _split(shifted))
    if len(low) < _IDLE_COUNT_MIN or len(high) < _IDLE_COUNT_MIN:
        return math.inf, 0.0
    floor, top = statistics.fmean(low), statistics.fmean(high)
    squares = math.fsum((v - floor) ** 2 for v in low) + math.fsum((v - top) ** 2 for v in high)
    return squares, top - floor


def _went_back(trace: Trace) -> str:
    if trace.sensor.quantity != "energy":
        return ""
    allowed = max(trace.sensor.resolution or 0.0, 1e-9)
    worst = min(
        (later.value - earlier.value for earlier, later in itertools.pairwise(trace.samples)), default=0.0
    )
    if worst >= -allowed:
        return ""
    return (
        f"{trace.sensor.name} went back by {-worst:.4g} {trace.sensor.unit}: it was set back, or wrapped at a range "
        "that nobody states."
    )


def _wrapped(trace: Trace) -> str:
    if not trace.wrap_count:
        return ""
    times = "once" if trace.wrap_count == 1 else f"{trace.wrap_count} times"
    return (
        f"a counter of {trace.sensor.name} wrapped {times} at its stated range; the count went on across it."
    )


def _too_fast(trace: Trace) -> str:
    sensor, asked_s = trace.sensor, trace.interval_s
    if asked_s is not None and sensor.period_s is not None and asked_s < _FASTER * sensor.period_s:
        return (
            f"{sensor.name} was asked every {asked_s:.3g} s; it has a new value every {sensor.period_s:g} s."
        )
    if trace.reading_share >= _SHARE_MAX:
        return (
            f"reading {sensor.name} took {trace.reading_share:.1%} of the time in which latency was measured; "
            f"less than {_SHARE_MAX:.0%} was expected."
        )
    held_s = _held_s(trace)
    if asked_s is not None and held_s is not None and held_s >= _HELD_MIN * asked_s:
        return f"{sensor.name} was asked every {asked_s:.3g} s and had a new value only every {held_s:.3g} s."
    return ""


def _held_s(trace: Trace) -> float | None:
    """Return how long a value of power typically stands; None when that may be the resolution's doing.

    Values that move by single steps of the resolution repeat because nothing else could be shown.
    """
    if trace.sensor.quantity != "power":
        return None
    changes = [
        (later.time_ns, abs(later.value - earlier.value))
        for earlier, later in itertools.pairwise(trace.samples)
        if later.value != earlier.value
    ]
    if len(changes) < _CHANGES_MIN:
        return None
    typical = statistics.median(height for _, height in changes)
    step = trace.sensor.resolution or min(height for _, height in changes)
    if typical < 2.0 * step:
        return None
    return statistics.median(later[0] - earlier[0] for earlier, later in itertools.pairwise(changes)) * _NS
