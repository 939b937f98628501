"""Sensors that are stuck, trail, wrap or are asked too fast are found; clean ones raise nothing."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest
from edgeloop_agent.power.sensor_watch import sensor_anomalies, step_lag_s, untrustworthy
from edgeloop_agent.power.trace import Sample, Trace
from edgeloop_protocol.types.conditions import AnomalyKind
from edgeloop_protocol.types.facts import SensorFacts

S = 1_000_000_000
BUSY = ((3 * S, 6 * S), (8 * S, 11 * S), (13 * S, 16 * S))
END_S = 18.0


def sensor(quantity: str = "power", **changes: object) -> SensorFacts:
    units = {"power": "watt", "energy": "joule", "temperature": "celsius"}
    values = {"name": "meter", "scope": "board", "period_s": 0.02, **changes}
    return SensorFacts(quantity=quantity, unit=units[quantity], **values)  # type: ignore[arg-type]


def load_at(seconds: float) -> bool:
    return any(start <= seconds * S <= end for start, end in BUSY)


def power_trace(
    seed: int,
    *,
    facts: SensorFacts | None = None,
    lag_s: float = 0.0,
    smooth_s: float = 0.0,
    interval_s: float = 0.02,
    update_s: float = 0.0,
    shown: Callable[[float], float] = lambda watts: watts,
    noise_w: float = 0.08,
) -> Trace:
    """A board of 2.5 W idle and 5.5 W busy with noise that remembers, a warming drift, and a sensor of some kind."""
    source = random.Random(seed)
    level, wander, held, next_s, now_s = 2.5, 0.0, 2.5, 0.0, 0.0
    samples = []
    while now_s < END_S:
        wander = 0.7 * wander + source.gauss(0.0, noise_w)
        busy = load_at(now_s - lag_s)
        true = (5.5 + 0.01 * now_s if busy else 2.5 + 0.005 * now_s) + wander
        level += (true - level) * (min(1.0, interval_s / smooth_s) if smooth_s else 1.0)
        if now_s >= next_s:
            held, next_s = level, next_s + max(update_s, interval_s)
        samples.append(Sample(round(now_s * S), shown(held)))
        now_s += interval_s * source.uniform(0.98, 1.1)
    return Trace(sensor=facts or sensor(), samples=samples, busy_ns=BUSY, interval_s=interval_s)


def kinds(trace: Trace) -> list[AnomalyKind]:
    return [anomaly.kind for anomaly in sensor_anomalies(trace)]


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize(
    ("resolution", "noise_w"),
    [(None, 0.08), (0.001, 0.02), (0.04, 0.02), (0.1, 0.1), (1.0, 0.05), (0.25, 0.0)],
)
def test_a_clean_series_raises_nothing(seed: int, resolution: float | None, noise_w: float) -> None:
    step = resolution or 1e-9
    trace = power_trace(
        seed,
        facts=sensor(resolution=resolution),
        shown=lambda watts: round(watts / step) * step,
        noise_w=noise_w,
    )
    assert sensor_anomalies(trace) == ()
    assert untrustworthy(trace) == ""


@pytest.mark.parametrize("seed", range(20))
def test_a_clean_counter_raises_nothing(seed: int) -> None:
    source = random.Random(seed)
    joules, samples = 1e5, []
    for start, end in BUSY:
        samples.append(Sample(start, joules))
        joules += (end - start) / S * source.uniform(3.0, 8.0)
        samples.append(Sample(end, joules))
    trace = Trace(sensor=sensor("energy", resolution=61e-6), samples=samples, busy_ns=BUSY)
    assert sensor_anomalies(trace) == ()


@pytest.mark.parametrize("value", [3.14, 0.0, 5.512])
def test_a_power_that_never_changes_is_stuck(value: float) -> None:
    trace = power_trace(1, shown=lambda _: value)
    (found,) = sensor_anomalies(trace)
    assert (found.kind, found.disqualifying) == (AnomalyKind.SENSOR_STUCK, True)
    assert "as it was while idle" in found.reason
    assert untrustworthy(trace) == found.reason


def test_one_step_of_a_coarse_sensor_is_not_called_stuck() -> None:
    assert kinds(power_trace(1, facts=sensor(resolution=1.0), shown=lambda _: 4.0)) == []
    # Nobody declares a step here, but 4.0 may be whole watts.
    assert kinds(power_trace(1, shown=lambda _: 4.0)) == []


def test_too_few_samples_are_not_called_stuck() -> None:
    trace = power_trace(1, shown=lambda _: 3.14, interval_s=0.9)
    assert kinds(trace) == []


def test_a_thermometer_that_stays_for_half_a_minute_of_load_is_stuck() -> None:
    busy = ((10 * S, 60 * S),)
    samples = [Sample(second * S, 47.2) for second in range(60)]
    assert kinds(Trace(sensor=sensor("temperature"), samples=samples, busy_ns=busy)) == [
        AnomalyKind.SENSOR_STUCK
    ]
    short = Trace(sensor=sensor("temperature"), samples=samples[:35], busy_ns=busy)
    assert kinds(short) == []
    warming = [Sample(s.time_ns, s.value + 0.1 * max(0, i - 20)) for i, s in enumerate(samples)]
    assert kinds(Trace(sensor=sensor("temperature"), samples=warming, busy_ns=busy)) == []


def counter(values: Sequence[float], **changes: object) -> Trace:
    times = [time_ns for span in BUSY for time_ns in span]
    samples = [Sample(*pair) for pair in zip(times, values, strict=True)]
    return Trace(sensor=sensor("energy", resolution=0.001), samples=samples, busy_ns=BUSY, **changes)  # type: ignore[arg-type]


def test_a_counter_that_counts_nothing_is_stuck() -> None:
    assert kinds(counter([7.0] * 6)) == [AnomalyKind.SENSOR_STUCK]
    coarse = Trace(
        sensor=sensor("energy", resolution=3600.0), samples=counter([7.0] * 6).samples, busy_ns=BUSY
    )
    assert kinds(coarse) == []


def test_a_wrap_that_was_followed_is_noted_and_one_that_was_not_disqualifies() -> None:
    (noted,) = sensor_anomalies(counter([1, 10, 11, 20, 21, 30], wrap_count=1))
    assert (noted.kind, noted.disqualifying) == (AnomalyKind.SENSOR_WRAPPED, False)
    back = counter([1, 10, 11, 2, 3, 30])
    (refused,) = sensor_anomalies(back)
    assert (refused.kind, refused.disqualifying) == (AnomalyKind.SENSOR_WRAPPED, True)
    assert untrustworthy(back)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("lag_s", [0.4, 1.0, 2.0])
def test_a_late_rise_is_lagging_and_its_lag_is_found(seed: int, lag_s: float) -> None:
    trace = power_trace(seed, lag_s=lag_s)
    assert step_lag_s(trace) == pytest.approx(lag_s, abs=0.15)
    assert kinds(trace) == [AnomalyKind.SENSOR_LAGGING]
    # A sensor that says so is no surprise.
    assert kinds(power_trace(seed, lag_s=lag_s, facts=sensor(lag_s=lag_s))) == []


@pytest.mark.parametrize("smooth_s", [0.5, 1.5, 3.0])
def test_a_smoothed_reading_is_lagging(smooth_s: float) -> None:
    assert kinds(power_trace(3, smooth_s=smooth_s)) == [AnomalyKind.SENSOR_LAGGING]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("resolution", [None, 0.01])
def test_values_that_repeat_show_a_sensor_asked_too_fast(seed: int, resolution: float | None) -> None:
    trace = power_trace(seed, update_s=0.1, facts=sensor(resolution=resolution))
    found = [a for a in sensor_anomalies(trace) if a.kind is AnomalyKind.SENSOR_TOO_FAST]
    assert len(found) == 1
    assert not found[0].disqualifying
    assert "new value only every" in found[0].reason


def test_asking_within_the_declared_period_is_too_fast() -> None:
    trace = power_trace(1, facts=sensor(period_s=0.1))
    assert kinds(trace) == [AnomalyKind.SENSOR_TOO_FAST]


def test_reading_that_takes_a_hundredth_of_the_time_is_said() -> None:
    clean = power_trace(1)
    costly = Trace(
        sensor=clean.sensor,
        samples=clean.samples,
        busy_ns=clean.busy_ns,
        interval_s=clean.interval_s,
        reading_share=0.031,
    )
    (found,) = sensor_anomalies(costly)
    assert found.kind is AnomalyKind.SENSOR_TOO_FAST
    assert "3.1%" in found.reason


def test_without_a_trace_there_is_nothing_to_say() -> None:
    assert sensor_anomalies(None) == ()
    assert sensor_anomalies(Trace(sensor=sensor(), samples=())) == ()
