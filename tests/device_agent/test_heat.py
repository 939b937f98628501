"""Throttling read from counters and flags."""

from __future__ import annotations

from edgeloop_agent.heat import ThrottleWatch, highest_frequency_hz, hottest_celsius
from edgeloop_protocol.types.conditions import Conditions
from edgeloop_protocol.types.measurement import Reading


def seen(**values: float | None) -> Conditions:
    readings = [
        Reading(
            name=name.replace("__", "/"), unit="", value=value, reason="" if value is not None else "failed"
        )
        for name, value in values.items()
    ]
    return Conditions(wall_time_s=0.0, monotonic_ns=0, readings=tuple(readings))


def test_the_hottest_zone_and_the_highest_clock_are_taken() -> None:
    now = seen(
        thermal__a=50.0,
        thermal__b=71.5,
        thermal__c=None,
        trip_points__x=99.0,
        cpufreq__policy0__current=1e9,
        cpufreq__policy4__current=2e9,
        cpufreq__policy4__maximum=2.4e9,
    )
    assert hottest_celsius(now) == 71.5
    assert highest_frequency_hz(now) == 2e9
    assert hottest_celsius(seen()) is None
    assert highest_frequency_hz(seen(devfreq__gpu=1e9)) is None


def test_counters_count_by_how_far_they_rose() -> None:
    watch = ThrottleWatch(seen(throttle__core_throttle_count=100.0))
    assert watch.can_see
    assert not watch.began_throttled
    assert watch.events(seen(throttle__core_throttle_count=103.0)) == 3
    assert watch.events(seen(throttle__core_throttle_count=103.0)) == 0


def test_flags_count_when_they_come_up_and_a_sticky_twin_is_the_same_event() -> None:
    clear = seen(throttle__throttled_now=0.0, throttle__throttled_since_boot=0.0)
    both = seen(throttle__throttled_now=1.0, throttle__throttled_since_boot=1.0)
    watch = ThrottleWatch(clear)
    assert watch.events(both) == 1
    assert watch.events(both) == 0
    assert watch.events(seen(throttle__throttled_now=0.0, throttle__throttled_since_boot=1.0)) == 0
    assert watch.events(both) == 1


def test_a_sticky_flag_from_before_tells_nothing_and_an_active_one_is_said() -> None:
    watch = ThrottleWatch(seen(throttle__throttled_since_boot=1.0, throttle__throttled_now=0.0))
    assert not watch.began_throttled
    assert watch.events(seen(throttle__throttled_since_boot=1.0, throttle__throttled_now=0.0)) == 0
    assert ThrottleWatch(seen(throttle__throttled_now=1.0)).began_throttled


def test_voltage_is_not_heat_and_no_sensor_is_no_answer() -> None:
    watch = ThrottleWatch(seen(throttle__under_voltage_now=0.0))
    assert not watch.can_see
    assert watch.events(seen(throttle__under_voltage_now=1.0)) is None
