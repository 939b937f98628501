"""Cumulative counts to windows: processes that start again, versions that change, samples that are missing."""

from __future__ import annotations

from edgeloop.observe.windows import served_windows
from edgeloop_protocol.latency_buckets import bucket_of
from edgeloop_protocol.types.telemetry import DriftSketch, ServedTelemetry, TelemetrySample, TimeHistogram

FAST, SLOW = bucket_of(0.001), bucket_of(0.1)


def served(
    requests: int, *, process: str = "p1", digest: str = "a" * 64, fast: int = 0, slow: int = 0, seen: int = 0
) -> ServedTelemetry:
    counts = {FAST: fast, SLOW: slow}
    kept = sorted(bucket for bucket, count in counts.items() if count)
    return ServedTelemetry(
        name="demo",
        process=process,
        counter=1,
        digest=digest,
        request_count=requests,
        latency=TimeHistogram(buckets=tuple(kept), counts=tuple(counts[bucket] for bucket in kept)),
        drift=(
            DriftSketch(
                tensor="x",
                is_output=False,
                expected=(10, 10),
                counts=(seen, 0),
                row_count=seen,
                reference_psi=0.1,
            ),
        ),
    )


def sample(*one: ServedTelemetry) -> TelemetrySample:
    return TelemetrySample(sequence=1, wall_s=0.0, served=one)


def test_only_what_came_after_the_first_sample_counts() -> None:
    before, after = served(100, fast=90, slow=10, seen=50), served(160, fast=95, slow=65, seen=80)
    (window,) = served_windows("pi", [sample(before), sample(after)])
    assert (window.name, window.request_count) == ("demo", 60)
    assert dict(window.latency) == {FAST: 5, SLOW: 55}
    (tensor,) = window.drift
    assert tensor.row_count == 30
    assert tensor.stability_index is not None
    assert tensor.stability_index > 1
    assert tensor.kolmogorov_smirnov == 0.5


def test_a_process_that_started_again_counts_from_nothing() -> None:
    samples = [
        sample(served(100, fast=100, seen=9)),
        sample(served(110, fast=110, seen=10)),
        sample(served(4, process="p2", fast=4, seen=4)),
        sample(served(7, process="p2", fast=7, seen=7)),
    ]
    (window,) = served_windows("pi", samples)
    assert window.request_count == 10 + 7
    assert dict(window.latency) == {FAST: 17}
    assert window.drift[0].row_count == 1 + 7


def test_versions_are_kept_apart_though_their_process_is_the_same() -> None:
    old, new = "a" * 64, "b" * 64
    samples = [
        sample(served(100, digest=old, fast=100)),
        sample(served(120, digest=old, fast=120)),
        sample(served(125, digest=new, slow=5)),
    ]
    first, second = served_windows("pi", samples)
    assert (first.digest, first.request_count, dict(first.latency)) == (old, 20, {FAST: 20})
    assert (second.digest, second.request_count, dict(second.latency)) == (new, 5, {SLOW: 5})


def test_a_process_that_told_nothing_and_a_version_that_is_not_there_are_left_out() -> None:
    silent = ServedTelemetry(name="demo", process="", reason="it is starting")
    empty = ServedTelemetry(name="other", process="p9")
    assert served_windows("pi", [sample(silent), sample(silent, empty)]) == ()
    assert served_windows("pi", []) == ()


def test_without_rows_there_is_no_index() -> None:
    (window,) = served_windows("pi", [sample(served(5, seen=5)), sample(served(5, seen=5))])
    assert (window.drift[0].row_count, window.drift[0].stability_index) == (0, None)
