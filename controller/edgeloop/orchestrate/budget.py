"""How long things are expected to take, and how a benchmark is cut to a budget.

The constants are planning figures, seen on a small x86 machine; a plan says "expected", never "measured".
"""

from __future__ import annotations

import sys
from dataclasses import replace

from edgeloop_protocol.types.trial import Benchmark

__all__ = ["fit_to_budget", "job_expected_s", "trials_that_fit"]

_PROCESS_S = 0.7
"""Start of a runner process with the runtime's import and session creation."""

_WARMUP_S = 0.3
"""Warm-up of one block, a little above its minimum."""

_STEADY_S_MIN = 0.5
_ROUNDS_MIN = 3
"""Fewer rounds give no usable interval of the paired ratio."""


_SCENARIO_OVERRUN = 1.5
"""A scenario ends when its count of queries is there too, and a server when its last query is answered."""

_PULSE_S = 8.0
"""Load pulses before the first round."""


def job_expected_s(benchmark: Benchmark, trial_count: int) -> float:
    """Return how long a job is expected to take on a board that does not slow the process start down."""
    passes = benchmark.measure_memory + benchmark.measure_nodes + benchmark.check_parity
    per_trial, once = passes * (_PROCESS_S + 0.3), 0.0
    if benchmark.measure_latency:
        per_trial += benchmark.rounds * (_PROCESS_S + _WARMUP_S) + benchmark.steady_s_max
        once = 2.0 * benchmark.idle_s + benchmark.load_pulse * (_PROCESS_S + _PULSE_S)
    for seconds in (benchmark.sustained_s, _scenario_s(benchmark)):
        if seconds:
            per_trial += _PROCESS_S + _WARMUP_S + seconds
    return once + trial_count * per_trial


def _scenario_s(benchmark: Benchmark) -> float:
    return _SCENARIO_OVERRUN * benchmark.scenario_s_min if benchmark.scenario else 0.0


def fit_to_budget(benchmark: Benchmark, trial_count: int, available_s: float) -> Benchmark:
    """Shorten the steady phase, then the rounds, until the job is expected to fit or nothing is left to shorten."""
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
    each = job_expected_s(shortest, 1)
    return int(available_s / each) if each else sys.maxsize
