"""A budget shortens the benchmark, and is refused when nothing usable fits."""

import pytest
from edgeloop.orchestrate.budget import (
    fit_to_budget,
    job_deadline_s,
    job_expected_s,
    runner_deadline_s,
    trials_that_fit,
)
from edgeloop_protocol.types.trial import Benchmark


def test_a_large_budget_changes_nothing() -> None:
    assert fit_to_budget(Benchmark(), 4, 1000.0) == Benchmark()


def test_a_small_budget_shortens_steady_time_before_rounds() -> None:
    whole = job_expected_s(Benchmark(), 4)
    shorter = fit_to_budget(Benchmark(), 4, whole - 1.0)
    assert shorter.steady_s_max < Benchmark().steady_s_max
    assert shorter.rounds == Benchmark().rounds
    assert job_expected_s(shorter, 4) <= whole - 1.0


def test_three_rounds_are_the_least() -> None:
    least = job_expected_s(Benchmark(rounds=3, steady_s_max=0.5), 4)
    assert fit_to_budget(Benchmark(), 4, least + 0.01).rounds == 3
    assert fit_to_budget(Benchmark(), 4, 0.0) == fit_to_budget(Benchmark(), 4, least + 0.01)


def test_fewer_trials_fit_a_smaller_budget() -> None:
    shortest = job_expected_s(Benchmark(rounds=3, steady_s_max=0.5), 1)
    assert trials_that_fit(Benchmark(), 4.5 * shortest) == 4
    assert trials_that_fit(Benchmark(), 0.5 * shortest) == 0


def test_passes_that_are_switched_off_cost_nothing() -> None:
    bare = Benchmark(measure_memory=False, measure_nodes=False, check_parity=False, measure_latency=False)
    assert job_expected_s(bare, 10) == 0.0


def test_idling_and_pulses_are_paid_once() -> None:
    idling = Benchmark(idle_s=30.0, load_pulse=True)
    extra = [job_expected_s(idling, count) - job_expected_s(Benchmark(), count) for count in (1, 5)]
    assert 68.0 < extra[0] < 70.0
    assert abs(extra[0] - extra[1]) < 1e-9


@pytest.mark.parametrize(
    ("asked", "more_s"),
    [
        ({"idle_s": 30.0}, 60.0),
        ({"sustained_s": 1200.0}, 3 * 1200.0),
        ({"scenario": "offline", "scenario_s_min": 60.0}, 3 * 60.0),
        ({"arrival": "paced", "rate_hz": 2.0, "sample_count_min": 662}, 3 * (331.0 - 5.0)),
        ({"interleave": "batch"}, 0.0),
    ],
)
def test_what_was_asked_for_is_expected_and_fits_the_deadlines(
    asked: dict[str, object], more_s: float
) -> None:
    plain, longer = Benchmark(), Benchmark(**asked)  # type: ignore[arg-type]
    more = job_expected_s(longer, 3) - job_expected_s(plain, 3)
    assert more_s <= more <= more_s + 3 * 1.5
    assert job_deadline_s(longer, 3) >= job_expected_s(longer, 3) + 120.0
    alone = max(longer.sustained_s, longer.scenario_s_min if longer.scenario else 0.0)
    assert runner_deadline_s(longer, 3) >= alone + 120.0


def test_the_wait_for_a_fit_device_is_in_the_deadline_only() -> None:
    waiting = Benchmark(settle_s_max=600.0)
    assert job_expected_s(waiting, 2) == job_expected_s(Benchmark(), 2)
    assert job_deadline_s(waiting, 2) - job_deadline_s(Benchmark(), 2) == pytest.approx(570.0)


def test_processes_that_take_turns_live_as_long_as_all_of_them() -> None:
    turns = Benchmark(interleave="batch", steady_s_max=30.0)
    assert runner_deadline_s(turns, 10) >= 10 * 30.0
    assert runner_deadline_s(Benchmark(), 10) == runner_deadline_s(Benchmark(), 1)


def test_a_sustained_run_is_not_shortened_by_a_budget() -> None:
    assert fit_to_budget(Benchmark(sustained_s=600.0), 2, 60.0).sustained_s == 600.0
    assert trials_that_fit(Benchmark(sustained_s=600.0), 60.0) == 0
