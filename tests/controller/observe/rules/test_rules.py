"""Every rule on both sides of its limit, and where there is too little to tell."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from edgeloop.domain.alert import RUNBOOK, Rule, RuleSettings
from edgeloop.domain.telemetry import DAY_S, DeviceTelemetry, DriftFound, ServedWindow
from edgeloop.observe.rules import RULES, Seen, findings
from edgeloop.observe.rules.base import Baseline
from edgeloop_protocol.latency_buckets import bucket_of
from edgeloop_protocol.types.telemetry import TelemetrySample

ROOT = Path(__file__).resolve().parents[4]
SETTINGS = RuleSettings()
DIGEST = "a" * 64
NOW_S = 1_000_000.0


def fires(rule: Rule, seen: Seen) -> bool | None:
    (finding,) = RULES[rule](seen, SETTINGS)
    assert finding.rule is rule
    assert finding.message.endswith(".")
    return finding.fires


def seen_of(**words: Any) -> Seen:
    parts = {"now_s": NOW_S, "device": DeviceTelemetry(device="pi", asked_s=NOW_S)}
    return Seen(**{**parts, **words})


def device(**words: Any) -> Seen:
    return seen_of(device=DeviceTelemetry(device="pi", asked_s=NOW_S, **words))


def sample(**words: Any) -> TelemetrySample:
    return TelemetrySample(sequence=1, wall_s=NOW_S, **words)


def test_every_rule_has_a_file_and_a_runbook() -> None:
    assert set(RULES) == set(Rule)
    room = ROOT / "controller" / "edgeloop" / "observe" / "rules"
    assert {path.stem for path in room.glob("*.py")} - {"__init__", "base"} == {rule.value for rule in Rule}
    page = (ROOT / RUNBOOK).read_text()
    for rule in Rule:
        assert f'<a id="{rule.runbook.partition("#")[2]}"></a>' in page


@pytest.mark.parametrize(
    ("silent_s", "expected"), [(None, False), (299.0, False), (300.0, True), (9e5, True)]
)
def test_offline(silent_s: float | None, expected: bool) -> None:
    since_s = None if silent_s is None else NOW_S - silent_s
    assert fires(Rule.OFFLINE, device(silent_since_s=since_s, reason="It cannot be reached.")) is expected


@pytest.mark.parametrize(("slowed", "expected"), [(0, False), (2, False), (3, True), (10, True)])
def test_throttling(slowed: int, expected: bool) -> None:
    steps = [sample(throttled=("soft_limit",) if index < slowed else ()) for index in range(10)]
    assert fires(Rule.THROTTLING, seen_of(recent=(sample(), *steps))) is expected


def test_throttling_by_a_counter_and_without_a_sensor() -> None:
    rising = tuple(sample(throttle_event_count=float(index)) for index in range(10))
    assert fires(Rule.THROTTLING, seen_of(recent=rising)) is True
    still = tuple(sample(throttle_event_count=5.0) for _ in range(10))
    assert fires(Rule.THROTTLING, seen_of(recent=still)) is False
    absent = (("throttle_event_count", "no sensor"), ("throttled", "no sensor"))
    blind = tuple(sample(absent=absent) for _ in range(10))
    assert fires(Rule.THROTTLING, seen_of(recent=blind)) is None


@pytest.mark.parametrize(("free", "expected"), [(4, True), (6, False), (None, None)])
def test_disk(free: int | None, expected: bool | None) -> None:
    newest = sample(disk_free_bytes=free, disk_total_bytes=100)
    assert fires(Rule.DISK, device(sample=newest)) is expected


@pytest.mark.parametrize(("days", "expected"), [(13.9, True), (14.1, False), (-1.0, True), (None, None)])
def test_certificate(days: float | None, expected: bool | None) -> None:
    expires_s = None if days is None else NOW_S + days * DAY_S
    assert fires(Rule.CERTIFICATE, device(certificate_expires_s=expires_s)) is expected


def window(*, latency_s: float = 0.01, run_s: float = 0.008, count: int = 200, **words: Any) -> ServedWindow:
    return ServedWindow(
        device="pi",
        name="demo",
        counter=3,
        digest=DIGEST,
        request_count=count,
        error_count=0,
        latency=((bucket_of(latency_s), count),),
        run=((bucket_of(run_s), count),),
        **words,
    )


@pytest.mark.parametrize(
    ("found", "baseline", "expected"),
    [
        (window(), Baseline(certified_s=0.008, deployed_s=0.01), False),
        (window(run_s=0.016), Baseline(certified_s=0.008, deployed_s=0.01), True),
        (window(latency_s=0.02), Baseline(certified_s=0.008, deployed_s=0.01), True),
        (window(latency_s=0.02), Baseline(deployed_s=0.01), True),
        (window(run_s=0.016), Baseline(certified_s=0.008), True),
        (window(latency_s=0.02, count=99), Baseline(deployed_s=0.01), None),
        (window(latency_s=0.02), Baseline(), None),
    ],
)
def test_latency(found: ServedWindow, baseline: Baseline, expected: bool | None) -> None:
    seen = seen_of(latency=(found,), baselines={("demo", DIGEST): baseline})
    assert fires(Rule.LATENCY, seen) is expected


DRIFTED = DriftFound(
    tensor="x",
    is_output=False,
    row_count=500,
    stability_index=0.6,
    kolmogorov_smirnov=0.3,
    reference_index=0.1,
)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"stability_index": 0.2}, False),
        ({"kolmogorov_smirnov": 0.05}, False),
        # Halves of the golden pack differ by as much.
        ({"reference_index": 0.7}, False),
        ({"row_count": 199}, None),
        ({"row_count": 0, "stability_index": None, "kolmogorov_smirnov": None}, None),
    ],
)
def test_drift(changes: dict[str, Any], expected: bool | None) -> None:
    found = window(drift=(dataclasses.replace(DRIFTED, **changes),))
    assert fires(Rule.DRIFT, seen_of(drift=(found,))) is expected


def test_a_device_of_which_little_is_known_has_no_alert() -> None:
    assert [finding.fires for finding in findings(seen_of(), SETTINGS)] == [False, None, None, None]
