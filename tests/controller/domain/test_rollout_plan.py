"""Waves find their devices, windows open, and what cannot hold is refused."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from edgeloop.domain.rollout_plan import (
    Group,
    RolloutGate,
    RolloutPlan,
    Wave,
    Window,
    place_devices,
    wait_for_window_s,
)
from edgeloop_foundation.errors import InvalidInputError

NAMES = [f"d{number:02}" for number in range(25)]


def waves(*given: Wave, **further: Any) -> list[list[str]]:
    plan = RolloutPlan(release="demo", **({"waves": given} if given else {}), **further)
    placed = place_devices(plan, NAMES, {"lab": ["d01", "d03"], "field": ["d03", "d04"]})
    assert sorted(place.device for place in placed) == NAMES
    return [[p.device for p in placed if p.wave == number] for number in range(len(plan.waves))]


def test_one_then_a_tenth_then_the_rest() -> None:
    assert [len(wave) for wave in waves()] == [1, 3, 21]


def test_groups_and_names_take_what_no_earlier_wave_has() -> None:
    found = waves(Wave(devices=("d03",)), Wave(groups=("lab", "field")), Wave(rest=True))
    assert found[:2] == [["d03"], ["d01", "d04"]]
    found = waves(Wave(groups=("lab",)), Wave(rest=True), groups=(Group(name="lab", devices=("d24",)),))
    assert found[0] == ["d24"]


def test_a_device_in_two_groups_is_counted_in_the_first() -> None:
    plan = RolloutPlan(release="demo", waves=(Wave(groups=("field", "lab")), Wave(rest=True)))
    placed = place_devices(plan, NAMES, {"lab": ["d01", "d03"], "field": ["d03"]})
    assert {p.device: p.group for p in placed if p.group} == {"d01": "lab", "d03": "field"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((Wave(count=3),), "d03 and 21 more devices are in no wave"),
        ((Wave(groups=("attic",)), Wave(rest=True)), "there is no group 'attic'"),
        ((Wave(devices=("d99",)), Wave(rest=True)), "has no device 'd99'"),
    ],
)
def test_what_does_not_fit_together_is_refused(given: tuple[Wave, ...], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        waves(*given)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Wave(), "exactly one of"),
        (lambda: Wave(count=1, rest=True), "exactly one of"),
        (lambda: Wave(rest=True, error_share_max=1.5), "share from 0 to 1"),
        (lambda: RolloutPlan(release="demo", waves=(Wave(rest=True), Wave(count=1))), "only the last wave"),
        (lambda: RolloutPlan(release="demo", strikes=0), "strikes"),
        (lambda: RolloutPlan(release="demo", deadline_s=0.0), "above 0"),
        (lambda: RolloutPlan(release="Demo"), "not possible"),
        (lambda: RolloutGate(latency_p95=-0.1), "share from 0 on"),
        (lambda: RolloutGate(required=("speed",)), "'speed'"),
        (lambda: Window(begins="25:00", ends="01:00"), "23:59"),
        (lambda: Window(begins="1 am", ends="01:00"), "no time of day"),
        (lambda: Window(begins="01:00", ends="01:00"), "empty"),
        (lambda: Window(begins="01:00", ends="02:00", days=("someday",)), "'someday'"),
    ],
)
def test_an_impossible_plan_is_refused(make: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        make()


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()


@pytest.mark.parametrize(
    ("now", "window", "wait_s"),
    [
        # 2026-11-26 is a Thursday.
        ("2026-11-26T02:00:00", Window(begins="01:00", ends="05:00"), 0),
        ("2026-11-26T05:00:00", Window(begins="01:00", ends="05:00"), 20 * 3600),
        ("2026-11-26T00:59:00", Window(begins="01:00", ends="05:00"), 60),
        ("2026-11-26T00:30:00", Window(begins="23:00", ends="01:00", days=("wed",)), 0),
        ("2026-11-26T00:30:00", Window(begins="23:00", ends="01:00", days=("thu",)), 22.5 * 3600),
        ("2026-11-26T02:00:00", Window(begins="01:00", ends="02:00", days=("thu",)), 7 * 86400 - 3600),
        ("2026-11-26T00:00:00", Window(begins="01:00", ends="02:00", utc_offset_h=1), 0),
    ],
)
def test_a_window_says_when_it_opens(now: str, window: Window, wait_s: float) -> None:
    assert window.opens_in_s(at(now)) == wait_s
    assert wait_for_window_s((), at(now)) == 0
    assert wait_for_window_s((window, Window(begins="00:00", ends="23:59")), at(now)) == 0
