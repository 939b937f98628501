"""The MLPerf scenarios played on a clock of the test, and what is said of their results."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.runner_process import Reply
from edgeloop_agent.scenario import read_result
from edgeloop_agent.scenarios import Plan, Played, play
from edgeloop_protocol.types.trial import Benchmark

MS = 1_000_000


class Clock:
    """Serves every inference in one millisecond, those named as slow in fifty."""

    def __init__(self, slow: frozenset[int] = frozenset()) -> None:
        self.now_ns, self.count, self._slow = 0, 0, slow

    def now(self) -> int:
        return self.now_ns

    def wait_until(self, deadline_ns: int) -> None:
        self.now_ns = max(self.now_ns, deadline_ns)

    def serve(self) -> tuple[int, int]:
        before = self.now_ns
        self.now_ns += 50 * MS if self.count in self._slow else MS
        self.count += 1
        return before, self.now_ns


def played(clock: Clock, scenario: str, **changes: Any) -> Played:
    plan = Plan(scenario=scenario, duration_s_min=1.0, batch_size=1, inference_s=0.001)
    plan = dataclasses.replace(plan, **changes)
    return play(plan, clock.now, clock.wait_until, clock.serve)


def test_a_single_stream_runs_for_its_time() -> None:
    result = played(Clock(), "single_stream")
    assert (result.query_count, result.sample_count, result.duration_ns) == (1000, 1000, 1000 * MS)
    assert result.early_stopping_ns == MS


def test_a_slow_stream_gets_overtime_for_its_fewest_queries_and_no_more() -> None:
    enough = played(Clock(), "single_stream", duration_s_min=0.02)
    assert (enough.query_count, enough.early_stopping_ns) == (64, MS)
    too_few = played(Clock(), "single_stream", duration_s_min=0.01)
    assert (too_few.query_count, too_few.early_stopping_ns) == (40, None)


@pytest.mark.parametrize(("batch", "inferences"), [(1, 8), (4, 2), (8, 1), (16, 1)])
def test_a_multi_stream_query_is_eight_samples_in_as_many_inferences_as_the_batch_needs(
    batch: int, inferences: int
) -> None:
    clock = Clock()
    result = played(clock, "multi_stream", batch_size=batch)
    assert clock.count == inferences * result.query_count
    assert result.sample_count == 8 * result.query_count
    assert set(result.latency_ns) == {inferences * MS}


def test_a_server_counts_what_waits_behind_a_stall() -> None:
    result = played(Clock(frozenset({100})), "server", rate_hz=400.0)
    assert result.query_count == 662
    assert sum(latency > 10 * MS for latency in result.latency_ns) > 10
    batched = played(Clock(frozenset({100})), "server", rate_hz=400.0, batch_size=8)
    assert sum(batched.latency_ns) < sum(result.latency_ns)


@pytest.mark.parametrize("batch", [1, 8])
def test_offline_is_one_query_that_fills_the_time(batch: int) -> None:
    result = played(Clock(), "offline", batch_size=batch)
    assert (result.query_count, result.sample_count, result.duration_ns) == (1, 1000 * batch, 1000 * MS)
    assert not result.latency_ns


def answered(result: Played, bound_s: float = 0.0) -> Reply:
    header, payload = result.answer(bound_s)
    return Reply(header=dict(header), payload=payload)


def test_a_short_run_is_never_valid_and_says_what_it_lacks() -> None:
    result = read_result(Benchmark(scenario="single_stream"), answered(played(Clock(), "single_stream")))
    assert not result.valid
    assert result.reason == "unofficial: not verified by MLCommons; 1 s of at least 600 s"
    assert result.throughput_hz == pytest.approx(1000.0)
    assert result.latency is not None
    assert result.latency.p99.value == pytest.approx(0.001)


def test_a_run_that_keeps_every_rule_is_valid_and_still_unofficial() -> None:
    benchmark = Benchmark(scenario="single_stream", scenario_s_min=600.0)
    result = read_result(benchmark, answered(played(Clock(), "single_stream", duration_s_min=600.0)))
    assert (result.valid, result.query_count) == (True, 600_000)
    assert result.reason == "unofficial: not verified by MLCommons"
    # The latencies of so many queries are thinned, the count and the estimate are not.
    assert result.latency is not None
    assert result.latency.sample_count < 100_001


def test_a_server_that_misses_its_bound_too_often_is_not_valid() -> None:
    benchmark = Benchmark(scenario="server", scenario_s_min=600.0, rate_hz=10.0, latency_bound_s=0.02)
    fine = played(Clock(), "server", duration_s_min=600.0, rate_hz=10.0)
    assert read_result(benchmark, answered(fine, 0.02)).valid
    stalls = Clock(frozenset(range(0, 6000, 50)))
    bad = read_result(benchmark, answered(played(stalls, "server", duration_s_min=600.0, rate_hz=10.0), 0.02))
    assert not bad.valid
    assert "took longer than 0.02 s" in bad.reason


def test_an_offline_run_of_few_samples_is_not_valid() -> None:
    benchmark = Benchmark(scenario="offline", scenario_s_min=600.0)
    few = read_result(benchmark, answered(played(Clock(), "offline", duration_s_min=600.0, inference_s=1.0)))
    assert (few.latency, few.early_stopping_s) == (None, None)
    assert "600 of at least 24576 samples" in few.reason


@pytest.mark.parametrize(
    "change",
    [{"query_count": 0}, {"sample_count": "many"}, {"duration_ns": 0}, {"query_count": 3}],
)
def test_an_answer_that_does_not_fit_together_is_the_harnesss_fault(change: dict[str, Any]) -> None:
    reply = answered(played(Clock(), "single_stream"))
    with pytest.raises(RunnerFailure):
        read_result(
            Benchmark(scenario="single_stream"),
            Reply(header={**reply.header, **change}, payload=reply.payload),
        )
