"""A budget shortens the benchmark, and is refused when nothing usable fits."""

from edgeloop.orchestrate.budget import fit_to_budget, job_expected_s, trials_that_fit
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


def test_load_over_minutes_is_expected_and_never_shortened() -> None:
    plain = Benchmark()
    whole = job_expected_s(plain, 3)
    sustained = Benchmark(sustained_s=1800.0)
    assert job_expected_s(sustained, 3) > whole + 3 * 1800.0
    assert fit_to_budget(sustained, 3, 100.0).sustained_s == 1800.0
    played = Benchmark(scenario="offline", scenario_s_min=60.0)
    assert job_expected_s(played, 2) > job_expected_s(plain, 2) + 2 * 60.0


def test_idling_and_pulses_are_paid_once() -> None:
    idling = Benchmark(idle_s=30.0, load_pulse=True)
    extra = [job_expected_s(idling, count) - job_expected_s(Benchmark(), count) for count in (1, 5)]
    assert 68.0 < extra[0] < 70.0
    assert abs(extra[0] - extra[1]) < 1e-9
