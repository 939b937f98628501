"""Alerts over collected telemetry: planted faults raise one each within its window, a clean day raises none."""

from __future__ import annotations

import dataclasses
import json
import random
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from edgeloop.app import App
from edgeloop.domain.alert import AlertState, Rule, RuleSettings
from edgeloop.domain.telemetry import DAY_S, TelemetryBatch
from edgeloop.observe.notify import Sink
from edgeloop.orchestrate.alerts import Checked, check_alerts
from edgeloop_protocol.latency_buckets import bucket_of
from edgeloop_protocol.types.telemetry import (
    DriftSketch,
    ServedTelemetry,
    TelemetrySample,
    TelemetryStatus,
    TimeHistogram,
)

START_S = 1_700_000_000.0
PERIOD_S = 60.0
SETTINGS = RuleSettings()
BINS = 12


def bin_of(value: float) -> int:
    return min(BINS - 1, max(0, int(value)))


_DRAWN = Counter(bin_of(random.Random(number).gauss(BINS / 2, 2.0)) for number in range(2000))
EXPECTED = tuple(_DRAWN[index] for index in range(BINS))


class Board:
    """A device that serves one model; what it counts is drawn, its clock is set."""

    def __init__(self, app: App) -> None:
        self.app, self.now_s, self.sequence, self.period_s = app, START_S, 0, PERIOD_S
        self.random = random.Random(7)
        self.latency_s, self.shift, self.rate_hz = 0.010, 0.0, 1.0
        self.latencies: dict[int, int] = {}
        self.bins = [0] * BINS
        self.requests = 0
        self.changes: dict[str, object] = {}

    def work(self) -> TelemetrySample:
        """Serve for one period and return the sample after it."""
        self.now_s += self.period_s
        self.sequence += 1
        # A day has its busy hours; how long a request takes does not depend on them.
        busy = 0.5 + 0.5 * abs(((self.now_s - START_S) % DAY_S) / DAY_S - 0.5)
        for _ in range(round(self.rate_hz * busy * self.period_s)):
            bucket = bucket_of(self.random.lognormvariate(0.0, 0.25) * self.latency_s)
            self.latencies[bucket] = self.latencies.get(bucket, 0) + 1
            self.bins[bin_of(self.random.gauss(BINS / 2 + self.shift, 2.0))] += 1
            self.requests += 1
        kept = sorted(self.latencies)
        served = ServedTelemetry(
            name="demo",
            process="p",
            counter=1,
            digest="a" * 64,
            request_count=self.requests,
            latency=TimeHistogram(buckets=tuple(kept), counts=tuple(self.latencies[b] for b in kept)),
            drift=(
                DriftSketch(
                    tensor="x",
                    is_output=False,
                    expected=EXPECTED,
                    counts=tuple(self.bins),
                    row_count=self.requests,
                    reference_psi=0.02,
                ),
            ),
        )
        sample = TelemetrySample(
            sequence=self.sequence,
            wall_s=self.now_s,
            disk_free_bytes=50,
            disk_total_bytes=100,
            temperature_celsius=50.0,
            served=(served,),
        )
        return dataclasses.replace(sample, **self.changes)  # type: ignore[arg-type]

    async def pass_by(
        self, seconds: float, *, sink: Sink | None = None, expires_s: float | None = None
    ) -> Checked:
        """Let time pass, collect once at its end, and check."""
        samples = tuple(self.work() for _ in range(round(seconds / self.period_s)))
        store = self.app.telemetry()
        epoch, last = store.cursor("pi")
        status = TelemetryStatus(
            epoch="e" * 32,
            period_s=PERIOD_S,
            first_sequence=1,
            next_sequence=self.sequence + 1,
            wall_s=self.now_s,
        )
        batch = TelemetryBatch(
            asked_epoch=epoch,
            asked_after=last,
            status=status,
            dropped_count=0,
            samples=samples,
            received_bytes=100,
        )
        store.ingest("pi", batch, self.now_s, expires_s)
        return await check_alerts(self.app, SETTINGS, sink, now_s=self.now_s)


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    with App.open(tmp_path / "home") as app:
        yield Board(app)


def rules(checked: Checked) -> list[Rule]:
    return [alert.rule for alert in checked.open]


async def test_a_day_of_clean_traffic_raises_no_alert(board: Board) -> None:
    # scripts/bench/telemetry_alerts does the same with a sample every 10 s and a check every minute.
    board.period_s = 300.0
    for _ in range(24):
        checked = await board.pass_by(3600.0)
        assert checked.open == ()
    # Not for want of evidence: the rules of latency and drift had enough to tell.
    verdicts = {finding.rule: finding.fires for finding in checked.findings}
    assert (verdicts[Rule.LATENCY], verdicts[Rule.DRIFT], verdicts[Rule.DISK]) == (False, False, False)
    assert board.app.telemetry().alerts.history() == ()


async def test_a_planted_regression_is_told_within_its_window_once_and_ends_once(board: Board) -> None:
    await board.pass_by(1200.0)
    await board.pass_by(600.0)
    board.latency_s *= 2.0
    checked = await board.pass_by(SETTINGS.latency_window_s)
    (alert,) = checked.opened
    assert (alert.rule, alert.subject, alert.device) == (Rule.LATENCY, "demo", "pi")
    assert "times the 10" in alert.message
    for _ in range(3):
        again = await board.pass_by(120.0)
        assert (again.opened, [one.alert_id for one in again.open]) == ((), [alert.alert_id])
    board.latency_s /= 2.0
    await board.pass_by(SETTINGS.latency_window_s)
    ended = await board.pass_by(SETTINGS.resolved_after_s)
    assert [(one.alert_id, one.state) for one in ended.resolved] == [(alert.alert_id, AlertState.RESOLVED)]
    assert ended.open == ()
    assert len(board.app.telemetry().alerts.history()) == 1


async def test_planted_drift_is_told_within_its_window(board: Board) -> None:
    await board.pass_by(SETTINGS.drift_window_s)
    assert rules(await board.pass_by(SETTINGS.drift_window_s)) == []
    board.shift = 3.0
    checked = await board.pass_by(SETTINGS.drift_window_s)
    (alert,) = checked.opened
    assert (alert.rule, alert.subject) == (Rule.DRIFT, "demo input x")
    assert alert.runbook == "docs/troubleshooting.md#alert-drift"


async def test_the_other_rules_fire_over_the_same_way(board: Board) -> None:
    await board.pass_by(600.0)
    board.changes = {"throttled": ("soft_limit",), "disk_free_bytes": 2, "served": ()}
    checked = await board.pass_by(600.0, expires_s=board.now_s + 600.0 + 3 * DAY_S)
    assert {alert.rule for alert in checked.opened} == {Rule.THROTTLING, Rule.DISK, Rule.CERTIFICATE}
    board.app.telemetry().note_silence("pi", "It cannot be reached.", board.now_s)
    silent = await check_alerts(board.app, SETTINGS, now_s=board.now_s + SETTINGS.offline_after_s)
    assert [alert.rule for alert in silent.opened] == [Rule.OFFLINE]


async def test_an_alert_about_what_is_not_served_any_more_ends(board: Board) -> None:
    await board.pass_by(1200.0)
    board.latency_s *= 3.0
    assert rules(await board.pass_by(600.0)) == [Rule.LATENCY]
    board.changes = {"served": ()}
    await board.pass_by(600.0)
    assert (await board.pass_by(SETTINGS.resolved_after_s)).open == ()


async def test_everybody_is_told_once_and_again_only_when_it_failed(board: Board, tmp_path: Path) -> None:
    kept = tmp_path / "told"
    program = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read() + '\\n')"
    sink = Sink(command=(sys.executable, "-c", program, str(kept)))
    broken = Sink(command=(str(tmp_path / "nothing"),))
    board.changes = {"disk_free_bytes": 1}
    checked = await board.pass_by(60.0, sink=broken)
    assert (rules(checked), len(checked.untold)) == ([Rule.DISK], 1)
    for _ in range(2):
        assert (await board.pass_by(60.0, sink=sink)).untold == ()
    board.changes = {}
    await board.pass_by(60.0, sink=sink)
    await board.pass_by(SETTINGS.resolved_after_s, sink=sink)
    told = [json.loads(line) for line in kept.read_text().splitlines()]
    assert [(one["rule"], one["state"]) for one in told] == [("disk", "open"), ("disk", "resolved")]
