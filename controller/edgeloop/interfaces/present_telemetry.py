"""Telemetry and alerts as tables for people or one JSON document."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence

from edgeloop_protocol.types.telemetry import ShadowTelemetry

from edgeloop.domain.alert import Alert
from edgeloop.domain.telemetry import Collected, DeviceTelemetry, Series, ServedWindow, Shown
from edgeloop.interfaces import present
from edgeloop.observe.notify import alert_tree
from edgeloop.orchestrate.alerts import Checked
from edgeloop.report.units import MISSING, amount, duration, moment

__all__ = ["collected_rows", "print_alerts", "print_checked", "print_shown"]

_UNITS = {"Hz": "clock", "1/s": "Hz"}
_PER_S = "/s"


def _amount(value: float | None, unit: str) -> str:
    if value is None:
        return MISSING
    if unit == "count":
        return f"{value:g}"
    if unit.endswith("B/s"):
        return amount(value, "B") + _PER_S
    return amount(value, _UNITS.get(unit, unit))


def collected_rows(done: Iterable[Collected]) -> list[tuple[str, ...]]:
    """Return a row per device of one pass."""
    return [
        (
            one.device,
            str(one.sample_count),
            str(one.dropped_count),
            str(one.received_bytes),
            one.error or one.reason,
        )
        for one in done
    ]


def print_shown(seen: Shown) -> None:
    """Print what is known of one device."""
    present.print_text(_headline(seen.device))
    present.print_table(
        ("quantity", "now", "lowest", "mean", "highest"),
        [_row(one) for one in (*seen.series, *seen.served_series)],
    )
    if seen.device.sample is not None and seen.device.sample.absent:
        present.print_text("")
        present.print_table(("absent", "because"), [list(pair) for pair in seen.device.sample.absent])
    if seen.served:
        present.print_text("")
        present.print_table(
            ("model", "release", "requests", "errors", "p50", "p99", "drift"),
            [_served(one) for one in seen.served],
        )
    served = seen.device.sample.served if seen.device.sample else ()
    tried = [_tried(one.name, one.shadow) for one in served if one.shadow]
    if tried:
        present.print_text("")
        present.print_table(
            (
                "model",
                "tried",
                "compared",
                "outside",
                "decisions changed",
                "failed",
                "dropped",
                "mean run",
                "remark",
            ),
            tried,
        )
    if seen.traffic:
        present.print_text("")
        present.print_table(
            ("day (UTC)", "bytes on the wire"),
            [(_day(one.day_s), amount(one.received_bytes, "B")) for one in seen.traffic],
        )
    if seen.alerts:
        present.print_text("")
        print_alerts(seen.alerts, as_json=False)


def _headline(device: DeviceTelemetry) -> str:
    parts = [device.device]
    parts.append("never answered" if device.answered_s is None else f"answered {moment(device.answered_s)}")
    if device.period_s:
        parts.append(f"a sample every {duration(device.period_s)}")
    parts.append(f"{device.dropped_count} samples dropped")
    if device.reason:
        parts.append(device.reason)
    return ", ".join(parts)


def _row(series: Series) -> tuple[str, ...]:
    count = sum(point.count for point in series.points)
    mean = sum(point.mean * point.count for point in series.points) / count
    name = f"{series.model}: {series.quantity}" if series.model else series.quantity
    lowest, highest = min(p.minimum for p in series.points), max(p.maximum for p in series.points)
    figures = (series.points[-1].mean, lowest, mean, highest)
    return (name, *(_amount(value, series.unit) for value in figures))


def _served(window: ServedWindow) -> tuple[str, ...]:
    drifts = [one for one in window.drift if one.stability_index is not None]
    worst = max(drifts, key=lambda one: one.stability_index or 0.0, default=None)
    return (
        window.name,
        str(window.counter),
        str(window.request_count),
        str(window.error_count),
        _amount(window.latency_s(0.5), "s"),
        _amount(window.latency_s(0.99), "s"),
        MISSING if worst is None else f"{worst.tensor} {worst.stability_index:.2f}",
    )


def _day(day_s: float) -> str:
    return datetime.datetime.fromtimestamp(day_s, datetime.timezone.utc).strftime("%Y-%m-%d")


def print_alerts(alerts: Sequence[Alert], *, as_json: bool) -> None:
    """Print alerts."""
    if as_json:
        present.print_json({"alerts": [alert_tree(alert) for alert in alerts]})
        return
    present.print_table(
        ("state", "rule", "device", "since", "what", "runbook"), [_alert(alert) for alert in alerts]
    )


def _alert(alert: Alert) -> tuple[str, ...]:
    since = moment(alert.opened_s if alert.resolved_s is None else alert.resolved_s)
    return (alert.state.value, alert.rule.value, alert.device, since, alert.message, alert.runbook)


def print_checked(checked: Checked, *, as_json: bool) -> None:
    """Print what one check came to."""
    if as_json:
        present.print_json(
            {
                "opened": [alert_tree(alert) for alert in checked.opened],
                "resolved": [alert_tree(alert) for alert in checked.resolved],
                "open": [alert_tree(alert) for alert in checked.open],
                "findings": checked.findings,
                "untold": checked.untold,
            }
        )
        return
    if changed := (*checked.opened, *checked.resolved):
        print_alerts(changed, as_json=False)
        present.print_text("")
    told = sum(1 for one in checked.findings if one.fires is not None)
    present.print_text(
        f"{len(checked.open)} alerts are open; {told} of {len(checked.findings)} rules had enough to tell."
    )
    for reason in checked.untold:
        present.print_text(reason)


def _tried(name: str, shadow: ShadowTelemetry) -> tuple[str, ...]:
    runs = shadow.run.total_count
    return (
        name,
        f"{shadow.name} {shadow.counter or MISSING}",
        str(shadow.compared_count),
        str(shadow.outside_count),
        f"{shadow.changed_decision_count} of {shadow.decision_count}" if shadow.decision_count else MISSING,
        str(shadow.failed_count),
        str(shadow.dropped_count),
        duration(shadow.run.sum_s / runs) if runs else MISSING,
        shadow.reason,
    )
