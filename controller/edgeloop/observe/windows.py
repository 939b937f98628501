"""Cumulative counts of samples to what happened within a window; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from edgeloop_foundation.statistics.drift import kolmogorov_smirnov, stability_index
from edgeloop_protocol.types.telemetry import DriftSketch, ServedTelemetry, TelemetrySample, TimeHistogram

from edgeloop.domain.telemetry import DriftFound, ServedWindow

__all__ = ["served_windows"]


@dataclass(slots=True)
class _Sums:
    """What one version did, over all processes that served it."""

    counter: int
    threads: int
    request_count: int = 0
    error_count: int = 0
    latency: Counter[int] = field(default_factory=Counter)
    run: Counter[int] = field(default_factory=Counter)
    #: Tensor and side -> its sketch with the counts of the window.
    drift: dict[tuple[str, bool], DriftSketch] = field(default_factory=dict)


def served_windows(device: str, samples: Sequence[TelemetrySample]) -> tuple[ServedWindow, ...]:
    """Return what each version of each deployment did after the first of some samples, up to the last.

    Counts of a process begin at 0 with it, and those of times and drift with the version: where the sample before is
    of another process or version, all of them are new.

    Args:
        device: name of the device.
        samples: in order; the first is the last one before the window, or the first that there is.
    """
    sums: dict[tuple[str, str], _Sums] = {}
    last: dict[str, ServedTelemetry] = (
        {one.name: one for one in samples[0].served if one.process} if samples else {}
    )
    for sample in samples[1:]:
        for one in sample.served:
            if not one.process:
                continue
            before = last.get(one.name)
            _add(sums.setdefault((one.name, one.digest), _Sums(one.counter, one.threads)), one, before)
            last[one.name] = one
    return tuple(
        ServedWindow(
            device=device,
            name=name,
            counter=found.counter,
            digest=digest,
            request_count=found.request_count,
            error_count=found.error_count,
            latency=tuple(sorted(found.latency.items())),
            run=tuple(sorted(found.run.items())),
            threads=found.threads,
            drift=tuple(map(_judged, found.drift.values())),
        )
        for (name, digest), found in sorted(sums.items())
        if digest
    )


def _add(sums: _Sums, one: ServedTelemetry, before: ServedTelemetry | None) -> None:
    same_process = before is not None and before.process == one.process
    same_version = before is not None and same_process and before.digest == one.digest
    sums.request_count += one.request_count - (
        before.request_count if before is not None and same_process else 0
    )
    sums.error_count += one.error_count - (before.error_count if before is not None and same_process else 0)
    earlier = before if before is not None and same_version else None
    sums.latency.update(one.latency.since(earlier.latency if earlier else TimeHistogram()))
    sums.run.update(one.run.since(earlier.run if earlier else TimeHistogram()))
    known = {(sketch.tensor, sketch.is_output): sketch for sketch in earlier.drift} if earlier else {}
    for sketch in one.drift:
        key = (sketch.tensor, sketch.is_output)
        sums.drift[key] = _more(sums.drift.get(key), sketch, known.get(key))


def _more(sum_so_far: DriftSketch | None, sketch: DriftSketch, before: DriftSketch | None) -> DriftSketch:
    """Return the counts of the window with those that one more sample added."""
    nothing = (0,) * len(sketch.counts)
    old = before.counts if before is not None and before.expected == sketch.expected else nothing
    rows = sketch.row_count - (before.row_count if old is not nothing and before is not None else 0)
    added = tuple(max(0, now - then) for now, then in zip(sketch.counts, old, strict=True))
    comparable = sum_so_far is not None and sum_so_far.expected == sketch.expected
    base = sum_so_far.counts if sum_so_far is not None and comparable else nothing
    return DriftSketch(
        tensor=sketch.tensor,
        is_output=sketch.is_output,
        expected=sketch.expected,
        counts=tuple(first + second for first, second in zip(base, added, strict=True)),
        row_count=max(0, rows) + (sum_so_far.row_count if sum_so_far is not None and comparable else 0),
        reference_psi=sketch.reference_psi,
    )


def _judged(sketch: DriftSketch) -> DriftFound:
    seen = sum(sketch.counts) > 0
    return DriftFound(
        tensor=sketch.tensor,
        is_output=sketch.is_output,
        row_count=sketch.row_count,
        stability_index=stability_index(sketch.expected, sketch.counts) if seen else None,
        kolmogorov_smirnov=kolmogorov_smirnov(sketch.expected, sketch.counts) if seen else None,
        reference_index=sketch.reference_psi,
    )
