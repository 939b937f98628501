"""Rules of warm-up, batches, stopping and steadiness on made-up samples."""

from __future__ import annotations

import math
import random

import pytest
from edgeloop_agent.benchmark import (
    ClockCheck,
    StopRule,
    WarmUp,
    batch_count,
    median_half_width,
    steady_state,
)
from edgeloop_protocol.types.run import SteadyState
from edgeloop_protocol.types.trial import Benchmark

MS = 1_000_000


@pytest.mark.parametrize(
    ("batch_s", "inference_ns", "count"),
    [(0.1, 80_000, 1250), (0.1, 5 * MS, 20), (0.1, 2_000 * MS, 1), (0.1, 0, 8_000), (0.0, MS, 1)],
)
def test_a_batch_fills_its_time(batch_s: float, inference_ns: int, count: int) -> None:
    assert batch_count(batch_s, inference_ns) == count


def warm(benchmark: Benchmark, batches: list[list[int]]) -> list[bool]:
    warm_up = WarmUp(benchmark)
    done = []
    for batch in batches:
        warm_up.observe(batch)
        done.append(warm_up.done)
    return done


def test_warm_up_ends_when_it_gets_no_faster() -> None:
    benchmark = Benchmark(warmup_s_min=0.0, warmup_count_min=1)
    falling = [[level * MS] * 5 for level in (100, 50, 40, 30, 20, 20, 20)]
    assert warm(benchmark, falling) == [False, False, False, False, False, True, True]


def test_warm_up_waits_for_count_and_time() -> None:
    by_count = Benchmark(warmup_s_min=0.0, warmup_count_min=12)
    assert warm(by_count, [[MS] * 2] * 7) == [False] * 5 + [True] * 2
    by_time = Benchmark(warmup_s_min=0.01, warmup_count_min=1)
    assert warm(by_time, [[MS] * 2] * 6) == [False] * 4 + [True] * 2


def test_a_trial_may_have_a_least_count_of_its_own() -> None:
    benchmark = Benchmark(warmup_s_min=0.0, warmup_count_min=1)
    warm_up = WarmUp(benchmark, count_min=100)
    for _ in range(10):
        warm_up.observe([MS] * 9)
    assert not warm_up.done
    warm_up.observe([MS] * 10)
    assert warm_up.done


def test_warm_up_ends_at_its_longest_time_while_still_falling() -> None:
    benchmark = Benchmark(warmup_s_min=0.0, warmup_count_min=10_000, warmup_s_max=0.1)
    assert warm(benchmark, [[50 * MS], [40 * MS], [30 * MS]]) == [False, False, True]


def test_the_half_width_shrinks_with_the_root_of_the_count() -> None:
    rng = random.Random(1)
    samples = [rng.lognormvariate(0.0, 0.3) for _ in range(10_000)]
    few, many = median_half_width(sorted(samples[:100])), median_half_width(sorted(samples))
    assert few / many == pytest.approx(10.0, rel=0.4)
    assert median_half_width([1, 2, 3]) == math.inf


def test_a_block_stops_when_the_median_is_certain_and_not_before_its_windows() -> None:
    benchmark = Benchmark(rounds=5, steady_s_max=5.0, sample_count_min=100)
    certain = [MS] * 40
    assert not StopRule(benchmark).block_done(certain, 10 * MS, 4, 1)
    assert StopRule(benchmark).block_done(certain, 10 * MS, 5, 1)
    # The second round needs its share of the least count too.
    assert StopRule(benchmark).block_done(certain, 10 * MS, 5, 2)
    assert not StopRule(benchmark).block_done(certain, 10 * MS, 5, 3)


def test_the_samples_are_looked_at_again_only_after_they_grew() -> None:
    rule = StopRule(Benchmark(rounds=5, steady_s_max=5.0))
    wild = [MS, 100 * MS] * 100
    assert not rule.block_done(wild, 10 * MS, 5, 1)
    assert not rule.block_done([MS] * 240, 10 * MS, 6, 1)
    assert rule.block_done([MS] * 250, 10 * MS, 7, 1)


def test_thinned_samples_stand_for_those_they_were_thinned_from() -> None:
    rule = StopRule(Benchmark(rounds=5, steady_s_max=5.0, sample_count_min=10_000))
    kept = [MS] * 500
    assert not rule.narrow(kept, 1)
    assert not rule.narrow(kept, 1, count=1_999)
    assert rule.narrow(kept, 1, count=2_000)
    assert rule.block_done(kept, 1000 * MS, 5, 1, count=2_000)


def test_of_a_great_many_samples_a_part_is_looked_at() -> None:
    rng = random.Random(2)
    wide = [round(MS * rng.lognormvariate(0.0, 1.0)) for _ in range(100_000)]
    whole = median_half_width(sorted(wide))
    between = Benchmark(median_half_width=1.5 * whole)
    # All of them would do, the part that is sorted is less certain, and so says no.
    assert not StopRule(between).narrow(wide, 5)
    assert StopRule(Benchmark(median_half_width=4.0 * whole)).narrow(wide, 5)


def test_a_block_stops_at_its_budget_however_uncertain() -> None:
    rule = StopRule(Benchmark(rounds=5, steady_s_max=5.0))
    wild = [MS, 100 * MS] * 100
    assert not rule.block_done(wild, 999 * MS, 50, 1)
    assert rule.block_done(wild, 1000 * MS, 50, 1)
    assert rule.next_count(10 * MS, 0) == 10
    assert rule.next_count(10 * MS, 970 * MS) == 3
    assert rule.next_count(10 * MS, 2000 * MS) == 1


@pytest.mark.parametrize(("way_ms", "count"), [(0, 10), (2, 10), (3, 15), (4, 20), (50, 20)])
def test_a_long_way_to_the_runner_makes_batches_longer_until_five_fill_the_budget(
    way_ms: int, count: int
) -> None:
    rule = StopRule(Benchmark(rounds=5, steady_s_max=5.0, batch_s=0.1))
    assert rule.next_count(10 * MS, 0, way_ms / 1000) == count


def test_the_way_is_what_every_batch_takes_longer_and_is_not_forgiven() -> None:
    check = ClockCheck()
    assert check.way_s == 0.0
    for runner_ns, agent_ns in ((30 * MS, 36 * MS), (100 * MS, 108 * MS), (200 * MS, 205 * MS)):
        check.add(runner_ns, agent_ns)
    assert check.way_s == pytest.approx(0.005)
    check.add(200 * MS, 199 * MS)
    assert check.way_s == 0.0
    # Had it been taken off, this clock would pass.
    for _ in range(9):
        check.add(100 * MS, 110 * MS)
    check.end_process()
    assert (check.disputed, check.way_s) == (True, 0.0)


def test_a_slow_model_gets_up_to_four_budgets_for_its_least_count() -> None:
    rule = StopRule(Benchmark(rounds=5, steady_s_max=5.0, sample_count_min=130))
    slow = [80 * MS] * 13
    assert not rule.block_done(slow, 1040 * MS, 13, 1)
    assert rule.block_done([80 * MS] * 26, 2080 * MS, 26, 1)
    assert rule.block_done(slow, 4000 * MS, 13, 1)


def noisy(slope: float, seed: int, count: int = 500) -> list[int]:
    rng = random.Random(seed)
    return [int(MS * (1 + slope * i / count) * rng.lognormvariate(0.0, 0.05)) for i in range(count)]


def test_flat_blocks_are_steady_and_rising_ones_are_not() -> None:
    assert steady_state([noisy(0.0, seed) for seed in range(5)]) is SteadyState.REACHED
    assert steady_state([noisy(0.2, seed) for seed in range(5)]) is SteadyState.NOT_REACHED
    assert steady_state([noisy(0.0, 1)]) is SteadyState.REACHED
    assert steady_state([noisy(0.5, 1)]) is SteadyState.NOT_REACHED
    assert steady_state([[MS] * 19]) is SteadyState.NOT_ASSESSED
    assert steady_state([]) is SteadyState.NOT_ASSESSED


def test_flat_noise_is_rarely_called_unsteady() -> None:
    wrong = sum(
        steady_state([noisy(0.0, 100 * trial + b) for b in range(5)]) is SteadyState.NOT_REACHED
        for trial in range(40)
    )
    assert wrong <= 2


@pytest.mark.parametrize(
    ("batches", "disputed"),
    [
        ([(100 * MS, 104 * MS)], False),
        ([(100 * MS, 106 * MS)], True),
        ([(MS // 10, MS)], False),
        ([(MS // 10, 3 * MS)], True),
        ([(100 * MS, 110 * MS), *[(100 * MS, 101 * MS)] * 4], False),
        ([(100 * MS, 50 * MS)], True),
        # Short turns on a busy board: some wake-ups are late, the clock is right.
        ([(50 * MS, 51 * MS)] * 6 + [(50 * MS, 60 * MS)] * 5, False),
        # A clock that is off is so in every batch.
        ([(50 * MS, 53 * MS)] * 6 + [(50 * MS, 60 * MS)] * 5, True),
        ([], False),
    ],
)
def test_clocks_are_held_against_each_other(batches: list[tuple[int, int]], disputed: bool) -> None:
    check = ClockCheck()
    for runner_ns, agent_ns in batches:
        check.add(runner_ns, agent_ns)
    check.end_process()
    assert check.disputed is disputed
    assert (check.worst is None) == (not batches)
