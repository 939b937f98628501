"""What a rule is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgeloop_protocol.types.telemetry import TelemetrySample

from edgeloop.domain.telemetry import DeviceTelemetry, ServedWindow

__all__ = ["Baseline", "Seen"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """How fast one version is expected to be on one device; what is not known is absent."""

    #: Median latency of its last benchmark on that device: one run of the runtime at batch 1, in seconds.
    certified_s: float | None = None
    #: Median time of a request in its first window there, in seconds.
    deployed_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Everything that is known of one device at one moment."""

    #: Controller's clock, seconds since 1970.
    now_s: float
    #: How it stands.
    device: DeviceTelemetry
    #: Samples of the window of throttling, led by the one before it.
    recent: tuple[TelemetrySample, ...] = ()
    #: What was served in the window of latency.
    latency: tuple[ServedWindow, ...] = ()
    #: What was served in the window of drift.
    drift: tuple[ServedWindow, ...] = ()
    #: Deployment and digest -> how fast it should be.
    baselines: Mapping[tuple[str, str], Baseline] = field(default_factory=dict)
