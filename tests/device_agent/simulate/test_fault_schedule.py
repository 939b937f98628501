"""The schedule: counts in, due faults out."""

from __future__ import annotations

import pytest
from edgeloop_agent.simulate.fault_schedule import FaultSchedule
from edgeloop_agent.simulate.stress import Stress
from edgeloop_profiles.fault_script import Fault, FaultRule


def planned(place: float, **rule: object) -> Fault:
    return Fault(rule=FaultRule(**rule), index=0, place=place)  # type: ignore[arg-type]


def test_a_count_is_reached_once_and_again_after_as_many() -> None:
    schedule = FaultSchedule([planned(3, kind="drop", after_requests=(3,), count=2)])
    hits = [number for number in range(1, 12) if schedule.count("after_requests", 1)]
    assert hits == [3, 6]


def test_bytes_are_counted_by_amount_and_other_triggers_are_not() -> None:
    schedule = FaultSchedule([planned(1000, kind="corrupt", after_bytes=(1000,))])
    assert not schedule.count("after_requests", 5000)
    assert not schedule.count("after_bytes", 999)
    (due,) = schedule.count("after_bytes", 1)
    assert (due.number, due.place) == (1, 1000)


def test_a_method_counts_only_its_own_requests() -> None:
    schedule = FaultSchedule([planned(2, kind="drop", after_requests=(2,), method="Wr*")])
    seen = [bool(schedule.count("after_requests", 1, method)) for method in ("Write", "Describe", "Write")]
    assert seen == [False, False, True]


def test_a_moment_of_job_time_comes_once() -> None:
    schedule = FaultSchedule([planned(2.0, kind="crash", at_s=(2.0,))])
    assert [len(schedule.pass_time(now)) for now in (0.0, 1.9, 2.0, 2.1)] == [0, 0, 1, 0]


@pytest.mark.parametrize(
    ("now_s", "clock", "slow", "skew", "gone"),
    [
        (0.0, 1.0, 1.0, 0.0, frozenset()),
        (1.0, 0.5, 1.0, 0.0, frozenset()),
        (3.0, 1.0, 6.0, -5.0, frozenset({"thermal"})),
    ],
)
def test_what_lasts_holds_from_its_beginning_to_its_end(
    now_s: float, clock: float, slow: float, skew: float, gone: frozenset[str]
) -> None:
    schedule = FaultSchedule(
        [
            planned(1.0, kind="throttle", at_s=(1.0,), factor=0.5, for_s=1.0),
            planned(2.5, kind="slow", at_s=(2.5,), factor=2.0),
            planned(2.5, kind="slow", at_s=(2.5,), factor=3.0),
            planned(2.5, kind="clock_skew", at_s=(2.5,), skew_s=-5.0),
            planned(2.5, kind="sensor_gone", at_s=(2.5,), sensor="thermal"),
        ]
    )
    stress = Stress()
    schedule.settle(stress, now_s)
    assert (stress.clock_factor, stress.slowdown, stress.skew_s, stress.gone_sensors) == (
        clock,
        slow,
        skew,
        gone,
    )
