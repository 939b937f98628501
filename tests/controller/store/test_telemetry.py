"""Telemetry in its file: nothing twice, series in steps, bytes by day, and no growth without end."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from edgeloop.domain.alert import Alert, AlertState, Rule
from edgeloop.domain.telemetry import DAY_S, Retention, TelemetryBatch
from edgeloop.store.telemetry import TelemetryStore
from edgeloop_foundation.errors import InvalidInputError, NotFoundError
from edgeloop_protocol.latency_buckets import bucket_of
from edgeloop_protocol.types.telemetry import ServedTelemetry, TelemetrySample, TelemetryStatus, TimeHistogram

EPOCH = "e" * 32
START_S = 1_700_000_000.0 - 1_700_000_000.0 % DAY_S


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TelemetryStore]:
    opened = TelemetryStore.open(tmp_path / "telemetry.sqlite")
    yield opened
    opened.close()


def batch(
    samples: Sequence[TelemetrySample],
    *,
    wall_s: float,
    asked: tuple[str, int] = ("", 0),
    dropped: int = 0,
    epoch: str = EPOCH,
    received_bytes: int = 1000,
) -> TelemetryBatch:
    return TelemetryBatch(
        asked_epoch=asked[0],
        asked_after=asked[1],
        status=TelemetryStatus(
            epoch=epoch, period_s=10.0, first_sequence=1, next_sequence=1, wall_s=wall_s, device_id="d1"
        ),
        dropped_count=dropped,
        samples=tuple(samples),
        received_bytes=received_bytes,
    )


def samples(numbers: Sequence[int], **words: object) -> list[TelemetrySample]:
    empty = TelemetrySample(sequence=0, wall_s=0.0)
    return [
        dataclasses.replace(
            empty,
            sequence=number,
            wall_s=START_S + 10.0 * number,
            temperature_celsius=40.0 + number,
            network_received_bytes=1000 * number,
            **words,  # type: ignore[arg-type]
        )
        for number in numbers
    ]


def test_a_batch_that_comes_twice_is_stored_once(store: TelemetryStore) -> None:
    first = batch(samples(range(1, 6)), wall_s=START_S + 50)
    assert store.ingest("pi", first, START_S + 50).sample_count == 5
    assert store.ingest("pi", first, START_S + 51).sample_count == 0
    assert store.cursor("pi") == (EPOCH, 5)
    overlapping = batch(samples(range(4, 9)), wall_s=START_S + 80, asked=(EPOCH, 5), dropped=2)
    collected = store.ingest("pi", overlapping, START_S + 80)
    assert (collected.sample_count, collected.dropped_count) == (3, 2)
    assert [s.sequence for _, s in store.samples("pi", START_S, START_S + 1000)] == list(range(1, 9))


def test_what_another_reader_counted_as_lost_is_not_counted_again(store: TelemetryStore) -> None:
    store.ingest("pi", batch(samples([5]), wall_s=START_S, dropped=4), START_S)
    # Asked for before the first one was stored.
    store.ingest("pi", batch(samples([5]), wall_s=START_S, dropped=4), START_S)
    assert store.device("pi").dropped_count == 4


def test_a_new_ring_is_read_from_its_beginning(store: TelemetryStore) -> None:
    store.ingest("pi", batch(samples([7, 8]), wall_s=START_S), START_S)
    store.ingest("pi", batch(samples([1, 2]), wall_s=START_S, epoch="f" * 32, asked=(EPOCH, 8)), START_S)
    assert store.cursor("pi") == ("f" * 32, 2)
    assert len(store.samples("pi", 0, START_S * 2)) == 4


def test_a_clock_that_is_wrong_does_not_move_the_samples(store: TelemetryStore) -> None:
    """The device lives in 1970; its newest sample is a second old all the same."""
    sample = TelemetrySample(sequence=1, wall_s=99.0, temperature_celsius=50.0)
    store.ingest("pi", batch([sample], wall_s=100.0), START_S)
    assert store.device("pi").sample_s == START_S - 1.0
    series = store.series("pi", "temperature_celsius", START_S - 10, START_S, 10.0)
    assert [point.mean for point in series.points] == [50.0]


def test_silence_begins_with_the_first_question_that_is_left_open(store: TelemetryStore) -> None:
    store.note_silence("pi", "It cannot be reached.", START_S)
    store.note_silence("pi", "It cannot be reached.", START_S + 60)
    known = store.device("pi")
    assert (known.silent_since_s, known.asked_s, known.answered_s) == (START_S, START_S + 60, None)
    store.ingest("pi", batch([], wall_s=START_S + 90), START_S + 90)
    known = store.device("pi")
    assert (known.silent_since_s, known.answered_s, known.reason, known.device_id) == (
        None,
        START_S + 90,
        "",
        "d1",
    )


def test_a_series_is_put_together_in_steps_and_leaves_out_what_was_not_seen(store: TelemetryStore) -> None:
    store.ingest("pi", batch(samples([1, 2, 3, 7, 8]), wall_s=START_S + 80), START_S + 80)
    series = store.series("pi", "temperature_celsius", START_S + 10, START_S + 90, 20.0)
    assert series.unit == "celsius"
    assert [(p.start_s - START_S, p.count, p.minimum, p.mean, p.maximum) for p in series.points] == [
        (10.0, 2, 41.0, 41.5, 42.0),
        (30.0, 1, 43.0, 43.0, 43.0),
        (70.0, 2, 47.0, 47.5, 48.0),
    ]
    rate = store.series("pi", "network_received_bytes_per_s", START_S, START_S + 90, 90.0)
    assert rate.points[0].mean == pytest.approx(100.0)
    assert store.series("pi", "power_w", START_S, START_S + 80, 20.0).points == ()
    assert store.series("never", "power_w", START_S, START_S + 80, 20.0).points == ()
    with pytest.raises(InvalidInputError, match="no series of 'password'"):
        store.series("pi", "password", START_S, START_S + 80, 20.0)
    with pytest.raises(InvalidInputError, match="ends after it begins"):
        store.series("pi", "power_w", START_S, START_S, 20.0)


def test_rates_and_quantiles_of_what_is_served(store: TelemetryStore) -> None:
    def one(count: int) -> tuple[ServedTelemetry, ...]:
        times = TimeHistogram(buckets=(bucket_of(0.004),), counts=(count,), sum_s=0.004 * count)
        return (ServedTelemetry(name="demo", process="p", request_count=count, latency=times),)

    both = [*samples([1], served=one(10)), *samples([2], served=one(60))]
    store.ingest("pi", batch(both, wall_s=START_S + 20), START_S + 20)
    assert store.served_models("pi", START_S, START_S + 100) == ("demo",)
    found = store.series("pi", "requests_per_s", START_S, START_S + 100, 100.0, model="demo")
    assert [point.mean for point in found.points] == [5.0]
    p50 = store.series("pi", "latency_p50_s", START_S, START_S + 100, 100.0, model="demo")
    assert p50.points[0].mean == pytest.approx(0.004, rel=0.1)


def test_bytes_are_counted_by_device_and_day(store: TelemetryStore) -> None:
    for day, received in ((0, 100), (0, 50), (1, 7)):
        store.ingest("pi", batch([], wall_s=START_S, received_bytes=received), START_S + day * DAY_S)
    assert [(one.device, one.day_s, one.received_bytes) for one in store.traffic(START_S)] == [
        ("pi", START_S, 150),
        ("pi", START_S + DAY_S, 7),
    ]


def test_a_year_does_not_grow_beyond_its_age(store: TelemetryStore, tmp_path: Path) -> None:
    """A sample every four hours for a year: the file ends no larger than it was after a quarter of it."""
    served = (ServedTelemetry(name="demo", process="p"),)
    empty = TelemetrySample(
        sequence=0, wall_s=0.0, served=served, absent=(("power_w", "no sensor of power"),)
    )
    sizes = []
    for month in range(13):
        now_s = START_S + (month + 1) * 28 * DAY_S
        some = [
            dataclasses.replace(empty, sequence=number, wall_s=START_S + 4 * 3600.0 * number)
            for number in range(168 * month + 1, 168 * month + 169)
        ]
        store.ingest("pi", batch(some, wall_s=now_s, asked=(EPOCH, 168 * month)), now_s)
        store.trim(now_s, Retention(age_s=60 * DAY_S))
        sizes.append((tmp_path / "telemetry.sqlite").stat().st_size)
    assert sizes[-1] <= sizes[4] * 1.05
    kept = store.samples("pi", 0, START_S * 2)
    assert [sample.sequence for _, sample in kept] == list(range(168 * 13 - 360, 168 * 13 + 1))


def test_the_oldest_go_first_when_there_is_too_much(store: TelemetryStore) -> None:
    many = [
        TelemetrySample(sequence=n, wall_s=START_S + n, absent=((f"field_{n}", f"because of {n * 7919}"),))
        for n in range(1, 5001)
    ]
    store.ingest("pi", batch(many, wall_s=START_S + 5000), START_S + 5000)
    assert store.used_bytes() > 1 << 20
    removed = store.trim(START_S + 5000, Retention(bytes_max=1 << 20))
    assert 0 < removed < 4000
    assert store.used_bytes() <= 1 << 20
    kept = [sample.sequence for _, sample in store.samples("pi", 0, START_S * 2)]
    assert kept == list(range(removed + 1, 5001))


def test_one_alert_is_open_per_rule_device_and_subject(store: TelemetryStore) -> None:
    alert = Alert(rule=Rule.DISK, device="pi", message="full.", opened_s=1.0, seen_s=1.0)
    kept = store.alerts.keep(alert)
    assert kept.alert_id > 0
    assert store.alerts.keep(dataclasses.replace(alert, opened_s=2.0)).alert_id == kept.alert_id
    assert store.alerts.open_alerts() == (kept,)
    assert store.alerts.open_alerts("other") == ()
    store.alerts.keep(dataclasses.replace(kept, state=AlertState.RESOLVED, resolved_s=5.0, told=True))
    assert store.alerts.open_alerts() == ()
    assert store.alerts.untold() == ()
    assert store.alerts.keep(alert).alert_id != kept.alert_id
    assert len(store.alerts.history()) == 2
    store.alerts.forget(6.0)
    assert len(store.alerts.history()) == 1


def test_a_baseline_is_learned_once(store: TelemetryStore) -> None:
    assert store.alerts.baseline("pi", "demo", "d") is None
    for latency_s in (0.01, 0.5):
        store.alerts.learn_baseline("pi", "demo", "d", latency_s=latency_s, request_count=100, now_s=1.0)
    assert store.alerts.baseline("pi", "demo", "d") == 0.01


def test_a_device_that_was_never_asked_is_named(store: TelemetryStore) -> None:
    with pytest.raises(NotFoundError, match="nothing was collected from 'pi'"):
        store.device("pi")
