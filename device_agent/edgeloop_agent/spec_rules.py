"""What a job may ask for: bounds that keep one job from holding a device for ever or filling its memory.

Law: no I/O; values in, an error or nothing out.
"""

from __future__ import annotations

import math

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.trial import Benchmark, JobSpec

from edgeloop_agent.arrivals import SCHEDULE_COUNT_MAX
from edgeloop_agent.open_loop import request_count

__all__ = ["check_spec"]

_TRIALS_MAX = 100
_DEADLINE_S_MAX = 24 * 3600.0
# Each round is a block in the record, and a record has to fit into one message.
_ROUNDS_MAX = 1000
_WINDOWS_MAX = 2000
_SECONDS = (
    *("warmup_s_min", "warmup_s_max", "steady_s_max", "batch_s", "settle_s_max", "idle_s"),
    *("sustained_s", "window_s", "scenario_s_min", "latency_bound_s"),
)
_RATE_HZ_MAX = 1e6


def check_spec(spec: JobSpec) -> None:
    """Refuse a job that no agent carries out.

    Raises:
        InvalidInputError: names the field, its bound and what was found.
    """
    if not 0 < len(spec.request_id) <= 200:
        raise InvalidInputError(f"request_id has 1 to 200 characters, not {len(spec.request_id)}.")
    if len(spec.trials) > _TRIALS_MAX:
        raise InvalidInputError(f"a job has at most {_TRIALS_MAX} trials, not {len(spec.trials)}.")
    for name, seconds in (("deadline_s", spec.deadline_s), ("runner_deadline_s", spec.runner_deadline_s)):
        if not (math.isfinite(seconds) and seconds <= _DEADLINE_S_MAX):
            raise InvalidInputError(f"{name} is at most {_DEADLINE_S_MAX:.0f} seconds, not {seconds}.")
    benchmark = spec.benchmark
    if benchmark.rounds > _ROUNDS_MAX:
        raise InvalidInputError(f"a benchmark has at most {_ROUNDS_MAX} rounds, not {benchmark.rounds}.")
    for name in _SECONDS:
        if not 0.0 <= (seconds := getattr(benchmark, name)) <= _DEADLINE_S_MAX:
            raise InvalidInputError(
                f"{name} of a benchmark is between 0 and {_DEADLINE_S_MAX:.0f} seconds, not {seconds}."
            )

    if not 0.0 <= benchmark.rate_hz <= _RATE_HZ_MAX:
        raise InvalidInputError(
            f"rate_hz of a benchmark is between 0 and {_RATE_HZ_MAX:.0f}, not {benchmark.rate_hz}."
        )
    _check_load(benchmark)


def _check_load(benchmark: Benchmark) -> None:
    """Refuse what cannot be carried out as it was asked for."""
    if benchmark.arrival != "closed" and benchmark.interleave == "batch":
        raise InvalidInputError(
            "interleave 'batch' cuts a round into turns, which a schedule of requests does not survive.",
            next_step=f"Use interleave 'block' with arrival {benchmark.arrival!r}.",
        )
    requests = {"an arrival": request_count(benchmark) if benchmark.arrival != "closed" else 0}
    if benchmark.scenario == "server":
        requests["the server scenario"] = math.ceil(benchmark.rate_hz * benchmark.scenario_s_min)
    for what, count in requests.items():
        if count > SCHEDULE_COUNT_MAX:
            raise InvalidInputError(
                f"{what} at {benchmark.rate_hz:g} requests a second is a schedule of {count} requests, "
                f"at most {SCHEDULE_COUNT_MAX} are drawn.",
                next_step="Lower the rate or the time.",
            )
    windows = benchmark.sustained_s / benchmark.window_s
    if windows > _WINDOWS_MAX:
        raise InvalidInputError(
            f"a sustained run has at most {_WINDOWS_MAX} windows, not {math.ceil(windows)}.",
            next_step="Make window_s longer.",
        )
