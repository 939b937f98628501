"""What a run says beside its closed-loop latency: sustained figures, throughput, and whether it may count.

- ``latency_sustained_p50``, ``latency_sustained_p95``, ``sustained_ratio``: as the sustained run states them.
- ``throughput``: items of the steady phase by the time its inferences took (batch size / mean latency), with
  an interval as wide, relatively, as the means of the processes differ (95 % Student on the logarithm). Those
  means are in the raw samples only: without them there is no interval.

Gains are taken from the ends of the two intervals, the least favourable against each other.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_foundation.statistics import student_t_interval
from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import Outcome, Run, Source, Timing

from edgeloop.domain.constraint import QUANTITIES
from edgeloop.domain.strategy import Evidence

__all__ = [
    "counting_gains",
    "disqualification",
    "further_gains",
    "further_values",
    "require_one_series",
    "series_of",
    "throughput",
    "with_throughput",
]

_ROUNDS_MIN = 3
_SAMPLE_BYTES = 8
_NO_SUSTAINED = "no sustained run was asked for (--sustained 20m)"


def series_of(run: Run) -> str:
    """Return the series that a run's figures belong to."""
    return run.preflight.series if run.preflight else run.benchmark.series


def require_one_series(runs: Iterable[Run]) -> None:
    """Refuse runs of two series; rows of third parties know no series and are left out.

    Raises:
        InvalidInputError: see above.
    """
    found = sorted({series_of(run) for run in runs if run.source is not Source.THIRD_PARTY})
    if len(found) > 1:
        raise InvalidInputError(
            f"the runs are of the series {' and '.join(found)}, whose figures are never mixed.",
            next_step="Measure all of them again in one series, with or without --as-deployed.",
        )


def disqualification(run: Run) -> str:
    """Return why no gate accepts this run's figures; empty when they may stand."""
    if run.outcome is Outcome.GATE_REFUSED:
        return f"the device was refused as not fit to measure: {run.failure_reason.rstrip('.')}"
    if series_of(run) == "nominal" and run.preflight is not None and not run.preflight.fit:
        return "the device was not fit to measure, yet the series is nominal"
    if (
        series_of(run) == "nominal"
        and run.preflight is None
        and run.source in (Source.MEASURED, Source.EMULATED)
    ):
        return "nobody checked that the device was fit to measure, yet the series is nominal"
    for anomaly in run.anomalies:
        if anomaly.disqualifying:
            where = f" in round {anomaly.round}" if anomaly.round >= 0 else ""
            return f"{anomaly.kind.value.replace('_', ' ')}{where}: {anomaly.reason.rstrip('.')}"
    timing = run.timing
    if timing is not None and timing.timing_disputed:
        known = timing.clock_disagreement
        by = "" if known is None else f" by {100 * known:.1f} %"
        return f"the clocks of runner and agent disagreed{by}, so its timing is disputed"
    return ""


def counting_gains(
    gains: Iterable[tuple[str, Estimate]], anchor: Run | None
) -> tuple[tuple[str, Estimate], ...]:
    """Return the gains, or why they do not count because the original's run does not."""
    reason = "" if anchor is None else disqualification(anchor)
    if not reason:
        return tuple(gains)
    absent = Estimate.absent(f"the original's run does not count, {reason}")
    return tuple((name, absent) for name, _ in gains)


def throughput(run: Run, samples: Mapping[str, bytes] | None = None) -> Estimate:
    """Return items per second of one process in a closed loop.

    Args:
        run: any run; one without latency has no throughput.
        samples: raw samples by digest; without them there is no interval.
    """
    timing = run.timing
    if timing is None or timing.steady is None:
        return Estimate.absent((timing.reason if timing else "") or "latency was not measured")
    if timing.timing_disputed:
        return Estimate.absent("the clocks of runner and agent disagreed, so no latency of this run counts")
    if timing.steady.mean <= 0:
        return Estimate.absent("the mean latency is zero")
    value, count = run.benchmark.batch_size / timing.steady.mean, timing.steady.sample_count
    logs = [math.log(mean) for mean in _process_means(timing, (samples or {}).get(timing.samples_digest))]
    if len(logs) < _ROUNDS_MIN:
        return Estimate(value=value, sample_count=count)
    mean, low, high = student_t_interval(logs, 0.95)
    return Estimate(
        value=value,
        low=value * math.exp(min(0.0, mean - high)),
        high=value * math.exp(max(0.0, mean - low)),
        confidence=0.95,
        sample_count=count,
    )


def _process_means(timing: Timing, blob: bytes | None) -> list[float]:
    """Return the mean latency of each process from the raw samples, nanoseconds; nothing when they are not kept."""
    held = sum(block.sample_count for block in timing.blocks)
    if not blob or len(blob) != held * _SAMPLE_BYTES:
        return []
    raw = struct.unpack(f"<{held}q", blob)
    parts = (raw[b.sample_offset : b.sample_offset + b.sample_count] for b in timing.blocks)
    return [mean for part in parts if part and (mean := sum(part) / len(part)) > 0]


def with_throughput(
    found: Sequence[Evidence], runs: Iterable[Run], samples: Mapping[str, bytes]
) -> tuple[Evidence, ...]:
    """Return the evidence with the interval that only raw samples give throughput, and with its gain."""
    by_id = {run.run_id: run for run in runs}
    known = {e.candidate: throughput(by_id[e.run_id], samples) for e in found if e.run_id in by_id}
    original = next((known[e.candidate] for e in found if e.original and e.candidate in known), None)
    return tuple(_with_throughput(e, known.get(e.candidate), original) for e in found)


def _with_throughput(evidence: Evidence, value: Estimate | None, original: Estimate | None) -> Evidence:
    values, gains = dict(evidence.values), dict(evidence.gains)
    if value is None or "throughput" not in values:
        return evidence
    values["throughput"] = value
    # A gain that does not count, or has no anchor in its job, stays as it is.
    if original is not None and gains.get("throughput", original).value is not None:
        gains["throughput"] = _gain("throughput", original, value)
    return replace(evidence, values=tuple(values.items()), gains=tuple(gains.items()))


def further_values(run: Run) -> tuple[tuple[str, Estimate], ...]:
    """Return the quantities that the module's docstring names."""
    sustained = run.sustained
    if sustained is None:
        reason = Estimate.absent(
            "the sustained run gave no result" if run.benchmark.sustained_s else _NO_SUSTAINED
        )
        found = (reason, reason, reason)
    else:
        found = (sustained.last_minute_p50_s, sustained.last_minute_p95_s, sustained.ratio)
    names = ("latency_sustained_p50", "latency_sustained_p95", "sustained_ratio")
    return (*zip(names, found, strict=True), ("throughput", throughput(run)))


def further_gains(run: Run, anchor: Run | None) -> tuple[tuple[str, Estimate], ...]:
    """Return how many times better than the original's run of the same job each of them is."""
    values = further_values(run)
    if anchor is None:
        why = Estimate.absent("the original has no successful run in the same job to compare with")
        return tuple((name, why) for name, _ in values)
    before = dict(further_values(anchor))
    return tuple((name, _gain(name, before[name], after)) for name, after in values)


def _gain(quantity: str, original: Estimate, candidate: Estimate) -> Estimate:
    for whose, estimate in (("for the original: ", original), ("", candidate)):
        if estimate.value is None:
            return Estimate.absent(f"the gain in {quantity} is unknown, {whose}{estimate.reason}")
    pair: Sequence[Estimate] = (original, candidate)
    over, under = pair if QUANTITIES[quantity].lower_is_better else (candidate, original)
    if not over.value or not under.value:
        return Estimate.absent(f"a {quantity} of zero has no ratio")
    count = min(original.sample_count, candidate.sample_count)
    if over.low is None or over.high is None or not under.low or not under.high:
        return Estimate(value=over.value / under.value, sample_count=count)
    return Estimate(
        value=over.value / under.value,
        low=over.low / under.high,
        high=over.high / under.low,
        confidence=0.95,
        sample_count=count,
    )
