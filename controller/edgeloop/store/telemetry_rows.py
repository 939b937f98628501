"""Samples to rows: numbers since the sample before, where there is one of the same counters."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

from edgeloop_protocol.convert import from_json, to_canonical_json
from edgeloop_protocol.latency_buckets import quantile_s
from edgeloop_protocol.types.telemetry import ServedTelemetry, TelemetrySample, TimeHistogram

__all__ = ["packed", "sample_row", "served_row", "unpacked"]

_TEXT_BYTES_MAX = 4 << 20


def packed(sample: TelemetrySample) -> bytes:
    """Return a sample as it is kept."""
    return zlib.compress(to_canonical_json(sample), 6)


def unpacked(record: bytes) -> TelemetrySample:
    """Return a sample that was kept."""
    return from_json(zlib.decompressobj().decompress(record, _TEXT_BYTES_MAX), TelemetrySample)


def sample_row(
    sample: TelemetrySample, before: TelemetrySample | None, device: int, at_s: float
) -> dict[str, Any]:
    """Return the row of a sample; a quantity that it does not have is null."""
    known = dict(sample.absent)
    return {
        "device": device,
        "at_s": at_s,
        "served_count": len(sample.served),
        "cpu_busy_share": sample.cpu_busy_share,
        "load_average_1min": sample.load_average_1min,
        "available_memory_bytes": sample.available_memory_bytes,
        "temperature_celsius": sample.temperature_celsius,
        "frequency_hz": sample.frequency_hz,
        "throttled_share": _slowed(sample, before) if _tells_throttling(known) else None,
        "power_w": sample.power_w,
        "disk_free_bytes": sample.disk_free_bytes,
        "network_received_bytes_per_s": _rate(sample, before, "network_received_bytes"),
        "network_sent_bytes_per_s": _rate(sample, before, "network_sent_bytes"),
        "agent_memory_bytes": sample.agent_memory_bytes,
        "spool_waiting_count": sample.spool_waiting_count,
        "record": packed(sample),
    }


def _tells_throttling(absent: Mapping[str, str]) -> bool:
    return "throttled" not in absent or "throttle_event_count" not in absent


def _slowed(sample: TelemetrySample, before: TelemetrySample | None) -> float:
    """Return 1 when the device was slowed at this sample, or between the one before and this one."""
    now, then = sample.throttle_event_count, before.throttle_event_count if before else None
    return float(bool(sample.throttled) or (now is not None and then is not None and now > then))


def _rate(sample: TelemetrySample, before: TelemetrySample | None, name: str) -> float | None:
    now, then = getattr(sample, name), getattr(before, name) if before else None
    if before is None or now is None or then is None or now < then or sample.wall_s <= before.wall_s:
        return None
    return float(now - then) / (sample.wall_s - before.wall_s)


def served_row(
    one: ServedTelemetry, before: ServedTelemetry | None, device: int, at_s: float, between_s: float
) -> dict[str, Any] | None:
    """Return the row of a served deployment; None when it told nothing.

    Args:
        one: its counts.
        before: those of the sample before; absent when there is none.
        device: row of the device.
        at_s: time of the sample.
        between_s: time between the two.
    """
    if not one.process:
        return None
    row: dict[str, Any] = {
        "device": device,
        "at_s": at_s,
        "model": one.name,
        "requests_per_s": None,
        "errors_per_s": None,
        "queue_length": one.queue_length,
        "latency_p50_s": None,
        "latency_p99_s": None,
    }
    if before is None or before.process != one.process or between_s <= 0:
        return row
    row["requests_per_s"] = max(0, one.request_count - before.request_count) / between_s
    row["errors_per_s"] = max(0, one.error_count - before.error_count) / between_s
    same = before.counter == one.counter
    counts = one.latency.since(before.latency if same else TimeHistogram())
    row["latency_p50_s"], row["latency_p99_s"] = quantile_s(counts, 0.5), quantile_s(counts, 0.99)
    return row
