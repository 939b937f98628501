"""How long things are expected to take, how a benchmark is cut to a budget, and when a job is given up.

The constants are planning figures, seen on a small x86 machine; a plan says "expected", never "measured".
"""

from __future__ import annotations

import sys
from dataclasses import replace

from edgeloop_protocol.types.trial import Benchmark

__all__ = ["fit_to_budget", "job_deadline_s", "job_expected_s", "runner_deadline_s", "trials_that_fit"]

_PROCESS_S = 0.7
"""Start of a runner process with the runtime's import and session creation."""

_WARMUP_S = 0.3
"""Warm-up of one block, a little above its minimum."""

_STEADY_S_MIN = 0.5
_ROUNDS_MIN = 3
"""Fewer rounds give no usable interval of the paired ratio."""

_RUNNER_S = 120.0
"""What a runner may take for loading, warming up and whatever has no duration of its own."""

_SCENARIO_STRETCH = 4.0
"""MLPerf's least counts of queries may keep a slow model far beyond the scenario's least duration."""


_PULSE_S = 8.0
"""Load pulses before the first round."""


def job_expected_s(benchmark: Benchmark, trial_count: int) -> float:
    """Return how long a job is expected to take on a board that does not slow the process start down.

    Waiting for the device to become fit is not in it: ``settle_s_max`` bounds that.
    """
    return _fixed_s(benchmark, trial_count) + trial_count * _variable_s(benchmark)


def _variable_s(benchmark: Benchmark) -> float:
    """Return a trial's time that depends on the machine."""
    passes = benchmark.measure_memory + benchmark.measure_nodes + benchmark.check_parity
    per_trial = passes * (_PROCESS_S + 0.3)
    if benchmark.measure_latency:
        per_trial += benchmark.rounds * (_PROCESS_S + _WARMUP_S) + _steady_s(benchmark)
        # A sustained run and a scenario have processes of their own.
        per_trial += (bool(benchmark.sustained_s) + bool(benchmark.scenario)) * (_PROCESS_S + _WARMUP_S)
    return per_trial


def _steady_s(benchmark: Benchmark) -> float:
    if benchmark.arrival == "closed":
        return benchmark.steady_s_max
    return max(benchmark.steady_s_max, benchmark.sample_count_min / benchmark.rate_hz)


def _fixed_s(benchmark: Benchmark, trial_count: int) -> float:
    """Return the time that was asked for and that no machine shortens."""
    if not benchmark.measure_latency:
        return 0.0
    scenario_s = benchmark.scenario_s_min if benchmark.scenario else 0.0
    once = 2.0 * benchmark.idle_s + benchmark.load_pulse * (_PROCESS_S + _PULSE_S)
    return once + trial_count * (benchmark.sustained_s + scenario_s)


def job_deadline_s(benchmark: Benchmark, trial_count: int) -> float:
    """Return after how long a job is given up, the wait for the device to become fit included."""
    scenario_s = benchmark.scenario_s_min if benchmark.scenario else 0.0
    return (
        120.0
        + benchmark.settle_s_max
        + _fixed_s(benchmark, trial_count)
        + trial_count * (_SCENARIO_STRETCH - 1.0) * scenario_s
        + 4.0 * trial_count * _variable_s(benchmark)
    )


def runner_deadline_s(benchmark: Benchmark, trial_count: int) -> float:
    """Return after how long one runner process is killed."""
    scenario_s = _SCENARIO_STRETCH * benchmark.scenario_s_min if benchmark.scenario else 0.0
    alone_s = max(benchmark.sustained_s, scenario_s, _steady_s(benchmark))
    # Processes that take turns live as long as all of them together.
    turns = trial_count if benchmark.interleave == "batch" else 1
    return max(_RUNNER_S * turns, _RUNNER_S + alone_s + (turns - 1) * _steady_s(benchmark))


def fit_to_budget(benchmark: Benchmark, trial_count: int, available_s: float) -> Benchmark:
    """Shorten the steady phase, then the rounds, until the job is expected to fit or nothing is left to shorten.

    Idling, sustained runs and scenarios are as long as they were asked to be.
    """
    while job_expected_s(benchmark, trial_count) > available_s:
        if benchmark.steady_s_max > _STEADY_S_MIN:
            benchmark = replace(benchmark, steady_s_max=max(_STEADY_S_MIN, benchmark.steady_s_max / 2))
        elif benchmark.rounds > _ROUNDS_MIN:
            benchmark = replace(benchmark, rounds=benchmark.rounds - 1)
        else:
            break
    return benchmark


def trials_that_fit(benchmark: Benchmark, available_s: float) -> int:
    """Return for how many trials the shortest usable benchmark is expected to fit."""
    shortest = fit_to_budget(benchmark, 1, 0.0)
    once = job_expected_s(shortest, 0)
    each = job_expected_s(shortest, 1) - once
    return max(0, int((available_s - once) / each)) if each else sys.maxsize
