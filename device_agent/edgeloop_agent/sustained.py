"""A run of many minutes in one process: windows of latency beside temperature, clock, throttling and power.

Memory stays flat however many inferences there are: of each window an even part is kept, counts and maxima are
of all inferences.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

from edgeloop_foundation.errors import BusyError, CorruptDataError
from edgeloop_foundation.statistics import quantile, quantile_interval, sample_floor
from edgeloop_protocol.summary import ratio_of
from edgeloop_protocol.types.load import Sustained, Window
from edgeloop_protocol.types.measurement import Estimate

from edgeloop_agent.answers import infer_some
from edgeloop_agent.benchmark import NS_PER_S, batch_count
from edgeloop_agent.blocks import new_block, warm_up
from edgeloop_agent.energy import EnergyMeter
from edgeloop_agent.execution import ExecutionContext, Progress
from edgeloop_agent.heat import ThrottleWatch, highest_frequency_hz, hottest_celsius
from edgeloop_agent.phases import phase
from edgeloop_agent.runner_use import RunnerUse, use_runner
from edgeloop_agent.samples import KEPT_COUNT_MAX, ThinnedSamples, to_bytes
from edgeloop_agent.trial_record import TrialRecord

__all__ = ["measure_sustained", "minute_ratio"]

_NS = 1e-9
_MINUTE_S = 60.0
_WINDOW_KEPT_MAX = 8_192
_BATCH_S, _BATCH_S_MAX = 0.05, 1.0
_COUNT_MAX = 1_000_000
# Of both minutes together at least 95 % (Bonferroni).
_CONFIDENCE_EACH = 0.975
_CONFIDENCE = 0.95


@dataclass(slots=True)
class _Course:
    """What a sustained run has come to so far."""

    watch: ThrottleWatch
    kept_count_max: int
    windows: list[Window] = field(default_factory=list)
    samples: list[array[int]] = field(default_factory=list)
    inference_ns: float = 0.0
    #: Length of the next batch; grows from a short one, because the warm-up saw little.
    batch_s: float = _BATCH_S
    stride: int = 1
    time_to_throttle: Estimate | None = None

    @property
    def inference_count(self) -> int:
        return sum(window.sample_count for window in self.windows)


async def measure_sustained(context: ExecutionContext, record: TrialRecord, meter: EnergyMeter) -> None:
    """Run one trial in a closed loop for as long as the benchmark asks; what there is stands when it ends early.

    Raises:
        RunnerFailure: the run ended early.
    """
    benchmark = context.spec.benchmark
    window_count = max(1, math.ceil(benchmark.sustained_s / benchmark.window_s))
    kept = max(2, min(KEPT_COUNT_MAX // window_count, _WINDOW_KEPT_MAX))
    course = _Course(ThrottleWatch(await context.board.conditions()), kept)
    async with use_runner(context, record, "sustained") as (use, _):
        try:
            course.inference_ns = await warm_up(context, record, use, new_block(context, -1, 0))
            with phase(context.board.clock, record.phases, "sustained"):
                await _run(context, record, use, meter, course)
        finally:
            record.clock_check.end_process()
            if course.windows:
                record.sustained = await _summary(context, course)


async def _run(
    context: ExecutionContext, record: TrialRecord, use: RunnerUse, meter: EnergyMeter, course: _Course
) -> None:
    benchmark, clock = context.spec.benchmark, context.board.clock
    begin_ns = clock.monotonic_ns()
    while (start_s := (clock.monotonic_ns() - begin_ns) * _NS) < benchmark.sustained_s:
        # A sliver at the end is no window of its own.
        left_s = benchmark.sustained_s - start_s
        length_s = left_s if left_s < 1.5 * benchmark.window_s else benchmark.window_s
        samples = ThinnedSamples(course.kept_count_max)
        await meter.begin()
        longest_ns = await _fill(context, record, use, meter, course, samples, length_s)
        span = await meter.end(samples.count * course.stride)
        power_w = span.energy_j / span.duration_s if span else None
        await _end_window(context, course, samples, start_s, begin_ns, longest_ns, power_w)
        _tell(context, record, course)


async def _fill(
    context: ExecutionContext,
    record: TrialRecord,
    use: RunnerUse,
    meter: EnergyMeter,
    course: _Course,
    samples: ThinnedSamples,
    length_s: float,
) -> int:
    """Run batches until the window is over and return its longest inference."""
    clock, longest_ns = context.board.clock, 0
    end_ns = clock.monotonic_ns() + round(length_s * NS_PER_S)
    # The runner leaves out what would be thinned out here: fewer bytes, and no sorting beside the model.
    course.stride = _stride(length_s, course)
    while (left_ns := end_ns - clock.monotonic_ns()) > 0:
        wanted = batch_count(min(course.batch_s, left_ns * _NS), course.inference_ns, _COUNT_MAX)
        count = -(-wanted // course.stride) * course.stride
        before_ns = clock.monotonic_ns()
        kept, longest = await infer_some(record, use, count, course.stride)
        samples.extend(kept)
        longest_ns = max(longest_ns, longest)
        # With what goes on between two inferences, which at microseconds is as long as they are.
        course.inference_ns = (clock.monotonic_ns() - before_ns) / count
        course.batch_s = min(2.0 * course.batch_s, _BATCH_S_MAX)
        await meter.between_batches()
    return longest_ns


def _stride(length_s: float, course: _Course) -> int:
    expected = length_s * NS_PER_S / max(course.inference_ns, 1.0)
    stride = 1
    while expected / stride > course.kept_count_max:
        stride *= 2
    return stride


async def _end_window(
    context: ExecutionContext,
    course: _Course,
    samples: ThinnedSamples,
    start_s: float,
    begin_ns: int,
    longest_ns: int,
    power_w: float | None,
) -> None:
    """Look at the board and take the window in."""
    end_s = (context.board.clock.monotonic_ns() - begin_ns) * _NS
    now = await context.board.conditions()
    events = course.watch.events(now)
    ordered = sorted(samples.kept)
    course.windows.append(
        Window(
            start_s=start_s,
            duration_s=end_s - start_s,
            sample_count=samples.count * course.stride,
            p50_s=quantile(ordered, 0.5) * _NS if ordered else None,
            p95_s=quantile(ordered, 0.95) * _NS if len(ordered) >= sample_floor(0.95) else None,
            maximum_s=longest_ns * _NS,
            temperature_celsius=hottest_celsius(now),
            frequency_hz=highest_frequency_hz(now),
            throttle_event_count=events,
            power_w=power_w,
        )
    )
    course.samples.append(samples.kept)
    if events and course.time_to_throttle is None and not course.watch.began_throttled:
        # Somewhere within the window: its end is when it was seen.
        course.time_to_throttle = Estimate(value=end_s, low=start_s, high=end_s, sample_count=events)


async def _summary(context: ExecutionContext, course: _Course) -> Sustained:
    first, last = _ends(course)
    digest, problem = "", ""
    pooled = array("q", [ns for samples in course.samples for ns in samples])
    try:
        digest = await context.store_blob(to_bytes(pooled))
    except (BusyError, CorruptDataError, OSError) as error:
        problem = f"; they could not be kept: {error}"
    every = "every inference" if len(pooled) == course.inference_count else "an even part of the inferences"
    return Sustained(
        windows=tuple(course.windows),
        first_minute_p50_s=_estimate(first, 0.5, _CONFIDENCE),
        last_minute_p50_s=_estimate(last, 0.5, _CONFIDENCE),
        last_minute_p95_s=_estimate(last, 0.95, _CONFIDENCE),
        ratio=minute_ratio(first, last),
        time_to_throttle_s=_time_to_throttle(course),
        duration_s=course.windows[-1].start_s + course.windows[-1].duration_s,
        samples_digest=digest,
        kept_count=len(pooled) if digest else 0,
        thinning=f"{every}, at most {course.kept_count_max} of a window: "
        f"{len(pooled)} of {course.inference_count}{problem}",
    )


def _ends(course: _Course) -> tuple[list[int], list[int]]:
    """Return the sorted samples of the first and the last minute, or window where the run has no two minutes."""
    windows = course.windows
    end_s = windows[-1].start_s + windows[-1].duration_s
    if end_s < 2 * _MINUTE_S:
        return sorted(course.samples[0]), sorted(course.samples[-1])
    # A window belongs to a minute when its middle does.
    middles = [window.start_s + window.duration_s / 2 for window in windows]
    first = [s for middle, s in zip(middles, course.samples, strict=True) if middle < _MINUTE_S]
    last = [s for middle, s in zip(middles, course.samples, strict=True) if middle > end_s - _MINUTE_S]
    return _pooled(first or course.samples[:1]), _pooled(last or course.samples[-1:])


def _pooled(pieces: Sequence[array[int]]) -> list[int]:
    return sorted(ns for piece in pieces for ns in piece)


def _estimate(ordered: Sequence[int], q: float, confidence: float) -> Estimate:
    if len(ordered) < sample_floor(q):
        reason = f"p{q * 100:.0f} needs {sample_floor(q)} samples, {len(ordered)} were taken"
        return Estimate.absent(reason, len(ordered))
    interval = quantile_interval(ordered, q, confidence)
    value = quantile(ordered, q) * _NS
    if interval is None:
        return Estimate(value=value, sample_count=len(ordered))
    low, high = (bound * _NS for bound in interval)
    return Estimate(value=value, low=low, high=high, confidence=confidence, sample_count=len(ordered))


def minute_ratio(first: Sequence[int], last: Sequence[int]) -> Estimate:
    """Return the ratio of two medians, last over first, with their intervals set against each other.

    Args:
        first: sorted samples.
        last: sorted samples.
    """
    below, above = (_estimate(ordered, 0.5, _CONFIDENCE_EACH) for ordered in (first, last))
    if below.value is None or above.value is None:
        return Estimate.absent(below.reason or above.reason)
    return ratio_of(above, below, _CONFIDENCE)


def _time_to_throttle(course: _Course) -> Estimate:
    if course.time_to_throttle is not None:
        return course.time_to_throttle
    if course.watch.began_throttled:
        return Estimate.absent("the device was throttled already when the run began")
    if not course.watch.can_see:
        return Estimate.absent("this device does not tell of throttling")
    end_s = course.windows[-1].start_s + course.windows[-1].duration_s
    return Estimate.absent(f"no throttle event within {end_s:.0f} s")


def _tell(context: ExecutionContext, record: TrialRecord, course: _Course) -> None:
    benchmark = context.spec.benchmark
    context.report(
        Progress(
            trial_id=record.trial.trial_id,
            phase="sustained",
            done_count=len(course.windows),
            total_count=max(1, math.ceil(benchmark.sustained_s / benchmark.window_s)),
            sample_count=course.inference_count,
            message=f"{record.trial.label}: sustained, {len(course.windows)} windows",
        )
    )
