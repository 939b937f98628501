"""Every question of the gate, with what passes it, what fails it and what cannot be asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from edgeloop_agent.fitness.preflight import (
    CHECKS,
    Look,
    failed_checks,
    foreign_share,
    judge,
    may_pass_by_itself,
    refusal,
)
from edgeloop_agent.fitness.vitals import ProcessWork, Seen
from edgeloop_protocol.types.conditions import CheckAnswer, Preflight

from .conftest import GIB, healthy, policy, reading

LookOf = Callable[..., Look]
NAMES = [check.name for check in CHECKS]


def answers(preflight: Preflight) -> dict[str, CheckAnswer]:
    return {check.name: check.answer for check in preflight.checks}


def test_a_fit_device_is_fit_by_every_question(look: LookOf) -> None:
    preflight = judge(look(), series="nominal", waited_s=2.0)
    assert answers(preflight) == dict.fromkeys(NAMES, CheckAnswer.FIT)
    assert preflight.fit
    assert preflight.waited_s == 2.0
    load = next(check for check in preflight.checks if check.name == "load")
    assert load.observed == "1.0% over 1.0 s; load average 0.10"


FAULTS: dict[str, dict[str, Any]] = {
    "governor": {"policies": policy("ondemand")},
    "load": {"busy_s": 1.5},
    "temperature": {"readings": (reading("thermal/cpu", 61.0, "celsius"), reading("throttle/x_now", 0.0))},
    "throttling": {
        "readings": (reading("thermal/cpu", 45.0, "celsius"), reading("throttle/under_voltage_now", 1.0))
    },
    "memory": {"wanted": 3 * GIB},
    "swapping": {"swapped_page_count": Seen(value=19)},
    "disk": {"writing_bytes": Seen(value=64 << 20)},
    "clock": {"clock_synchronised": Seen(value=False)},
    "power_supply": {"on_mains": Seen(value=False)},
}


@pytest.mark.parametrize("name", FAULTS)
def test_one_fault_is_found_by_its_question_and_said(look: LookOf, name: str) -> None:
    preflight = judge(look(**FAULTS[name]), series="nominal")
    found = {check.name for check in failed_checks(preflight)}
    # A governor that follows the load has unequal limits as well.
    assert found == ({name, "frequency_limits"} if name == "governor" else {name})
    assert not preflight.fit
    passing = {check.name for check in CHECKS if check.transient}
    assert may_pass_by_itself(preflight) == (name in passing)
    said = refusal(preflight)
    check = failed_checks(preflight)[0]
    step = next(c.next_step for c in CHECKS if c.name == check.name)
    for part in (name, check.observed, check.required, step, "--as-deployed"):
        assert part in said


def test_what_the_device_does_not_have_is_not_held_against_it(look: LookOf) -> None:
    nothing = {
        name: Seen()
        for name in (
            *("policies", "boost", "passive_trip_celsius", "available_memory_bytes", "swapped_page_count"),
            *("writing_bytes", "clock_synchronised", "power_mode", "on_mains", "processors"),
        )
    }
    preflight = judge(look(idle=None, readings=(), **nothing), series="nominal")
    assert answers(preflight) == dict.fromkeys(NAMES, CheckAnswer.NOT_OBSERVABLE)
    assert preflight.fit


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("policies", "governor"),
        ("boost", "boost"),
        ("available_memory_bytes", "memory"),
        ("power_mode", "power_mode"),
        ("on_mains", "power_supply"),
        ("processors", "load"),
    ],
)
def test_what_is_there_and_cannot_be_read_fails_closed(look: LookOf, field: str, name: str) -> None:
    preflight = judge(look(**{field: Seen(reason="Permission denied", unreadable=True)}), series="nominal")
    assert answers(preflight)[name] is CheckAnswer.UNREADABLE
    assert not preflight.fit
    assert not may_pass_by_itself(preflight)
    assert "Permission denied" in refusal(preflight)


def test_a_sensor_that_fails_fails_closed(look: LookOf) -> None:
    broken = (
        reading("thermal/cpu", None, reason="failed: I/O"),
        reading("throttle", None, reason="failed: I/O"),
    )
    found = answers(judge(look(readings=broken), series="nominal"))
    assert found["temperature"] is found["throttling"] is CheckAnswer.UNREADABLE


def test_a_counter_of_throttle_events_does_not_say_now(look: LookOf) -> None:
    counted = (reading("thermal/cpu", 45.0, "celsius"), reading("throttle/core_throttle_count", 12.0))
    assert (
        answers(judge(look(readings=counted), series="nominal"))["throttling"] is CheckAnswer.NOT_OBSERVABLE
    )


@pytest.mark.parametrize(("low", "fit"), [(1.5e9, True), (6e8, False)])
def test_a_pinned_clock_is_as_good_as_performance(look: LookOf, low: float, fit: bool) -> None:
    preflight = judge(look(policies=policy("userspace", low)), series="nominal")
    assert preflight.fit is fit


def test_the_nearer_of_the_two_temperature_limits_holds(look: LookOf) -> None:
    warm = (reading("thermal/cpu", 72.0, "celsius"), reading("throttle/x_now", 0.0))
    by_trip = judge(look(idle=70.0, readings=warm), series="nominal")
    assert [c.required for c in failed_checks(by_trip)] == ["at most 70.0 °C (slowed at 80.0 °C)"]
    by_idle = judge(look(idle=40.0, readings=warm), series="nominal")
    assert [c.required for c in failed_checks(by_idle)] == ["at most 50.0 °C (40.0 °C when idle)"]


def test_own_work_is_not_foreign(look: LookOf) -> None:
    seen = look(busy_s=2.0)
    assert foreign_share(seen.before, seen.after) == pytest.approx(0.5)
    before = dataclasses.replace(seen.before, agent_cpu_s=3.0, runner=ProcessWork(cpu_s=10.0))
    after = dataclasses.replace(
        seen.after, agent_cpu_s=3.2, runner=ProcessWork(cpu_s=11.0), companions_cpu_s=0.4
    )
    assert foreign_share(before, after) == pytest.approx(0.1)
    # A runner that died in between leaves no difference to take.
    assert foreign_share(before, dataclasses.replace(after, runner=None)) is None
    assert foreign_share(before, dataclasses.replace(after, companions_cpu_s=None)) is None
    assert foreign_share(healthy(), healthy()) is None
