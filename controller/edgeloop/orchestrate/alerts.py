"""Alerts: hold the rules against what was collected, keep what begins and ends, and tell it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import EdgeloopError

from edgeloop.domain.alert import Alert, Finding, RuleSettings, next_alert
from edgeloop.domain.telemetry import DeviceTelemetry, ServedWindow
from edgeloop.observe.notify import Sink, tell
from edgeloop.observe.rules import Seen, findings
from edgeloop.observe.rules.base import Baseline
from edgeloop.observe.windows import served_windows

if TYPE_CHECKING:
    from edgeloop.app import App
    from edgeloop.store.telemetry import TelemetryStore

__all__ = ["Checked", "check_alerts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What one check came to."""

    #: Alerts that it opened.
    opened: tuple[Alert, ...]
    #: Alerts that it resolved.
    resolved: tuple[Alert, ...]
    #: Everything that is open after it.
    open: tuple[Alert, ...]
    #: What every rule said of every device.
    findings: tuple[Finding, ...]
    #: Why somebody was not told; tried again at the next check.
    untold: tuple[str, ...] = ()


async def check_alerts(
    app: App, settings: RuleSettings, sink: Sink | None = None, *, now_s: float | None = None
) -> Checked:
    """Hold every rule against every device, open and resolve alerts, and tell what changed.

    Args:
        app: has the store, and the records that latency is held against.
        settings: when the rules fire.
        sink: who is told; nobody when not given.
        now_s: controller's clock; this moment when not given.
    """
    checked = await asyncio.to_thread(_check, app, settings, time.time() if now_s is None else now_s)
    return replace(checked, untold=await _tell(app.telemetry(), sink or Sink()))


def _check(app: App, settings: RuleSettings, now_s: float) -> Checked:
    store = app.telemetry()
    found: list[Finding] = []
    for device in store.devices():
        found += findings(_seen(app, store, device, settings, now_s), settings)
    known = {(one.rule, one.device, one.subject): one for one in store.alerts.open_alerts()}
    found += _gone(store, known.values(), found)
    opened, resolved = [], []
    for finding in found:
        before = known.get((finding.rule, finding.device, finding.subject))
        after = next_alert(before, finding, now_s, settings.resolved_after_s)
        if after is None or after == before:
            continue
        after = store.alerts.keep(after)
        if before is None:
            opened.append(after)
        elif after.resolved_s is not None:
            resolved.append(after)
    return Checked(
        opened=tuple(opened),
        resolved=tuple(resolved),
        open=store.alerts.open_alerts(),
        findings=tuple(found),
    )


def _gone(store: TelemetryStore, alerts: Iterable[Alert], found: Sequence[Finding]) -> list[Finding]:
    """Return that the condition is over for open alerts about what an answering device does not have any more."""
    mentioned = {(one.rule, one.device, one.subject) for one in found}
    answering = {device.device for device in store.devices() if device.silent_since_s is None}
    return [
        Finding(
            rule=alert.rule,
            device=alert.device,
            subject=alert.subject,
            fires=False,
            message=f"{alert.subject} is not there any more.",
        )
        for alert in alerts
        if (alert.rule, alert.device, alert.subject) not in mentioned and alert.device in answering
    ]


def _seen(
    app: App, store: TelemetryStore, device: DeviceTelemetry, settings: RuleSettings, now_s: float
) -> Seen:
    recent = store.samples(device.device, now_s - settings.throttling_window_s, now_s)
    if not device.sample or not device.sample.served:
        return Seen(now_s=now_s, device=device, recent=tuple(sample for _, sample in recent))
    latency = _windows(store, device.device, now_s - settings.latency_window_s, now_s)
    baselines = {
        (window.name, window.digest): _baseline(app, store, device, window, settings, now_s)
        for window in latency
    }
    return Seen(
        now_s=now_s,
        device=device,
        recent=tuple(sample for _, sample in recent),
        latency=latency,
        drift=_windows(store, device.device, now_s - settings.drift_window_s, now_s),
        baselines=baselines,
    )


def _windows(store: TelemetryStore, device: str, since_s: float, now_s: float) -> tuple[ServedWindow, ...]:
    samples = store.samples(device, since_s, now_s, served_only=True)
    return served_windows(device, [sample for _, sample in samples])


def _baseline(
    app: App,
    store: TelemetryStore,
    device: DeviceTelemetry,
    window: ServedWindow,
    settings: RuleSettings,
    now_s: float,
) -> Baseline:
    """Return how fast a version should be, and learn it from this window if it is its first with requests enough."""
    name, digest = window.name, window.digest
    deployed_s, median_s = store.alerts.baseline(device.device, name, digest), window.latency_s(0.5)
    count = sum(number for _, number in window.latency)
    if deployed_s is None and median_s is not None and count >= settings.latency_count_min:
        store.alerts.learn_baseline(
            device.device, name, digest, latency_s=median_s, request_count=count, now_s=now_s
        )
    return Baseline(certified_s=_certified_s(app, device, window), deployed_s=deployed_s)


def _certified_s(app: App, device: DeviceTelemetry, window: ServedWindow) -> float | None:
    """Return the median of the newest benchmark of the artifact on this device, at batch 1 and as many threads."""
    for run in app.records.measured_runs(device.device_id, [window.digest]):
        same = run.benchmark.batch_size == 1 and run.trial.settings.intra_op_threads == window.threads
        steady = run.timing.steady if run.timing is not None and not run.timing.timing_disputed else None
        if same and steady is not None and steady.p50.value is not None:
            return steady.p50.value
    return None


async def _tell(store: TelemetryStore, sink: Sink) -> tuple[str, ...]:
    """Tell what nobody was told; an alert that ended before anybody heard of it is told as resolved only."""
    failures = []
    for alert in await asyncio.to_thread(store.alerts.untold):
        try:
            await tell(alert, sink)
        except EdgeloopError as error:
            failures.append(str(error))
            continue
        await asyncio.to_thread(store.alerts.keep, replace(alert, told=True))
    return tuple(dict.fromkeys(failures))
