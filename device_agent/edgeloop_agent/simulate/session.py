"""A runner that is not there: answers the commands of a real one with predicted figures, on job time."""

from __future__ import annotations

import asyncio
import hashlib
import time
from array import array
from collections.abc import Callable, Mapping
from typing import Any

from edgeloop_profiles.predict import Prediction, SampleStream
from edgeloop_profiles.profile import Profile
from edgeloop_protocol.convert import digest_of
from edgeloop_protocol.types.run import FailureKind, Isolation, Outcome

from edgeloop_agent.arrivals import Serve, draw_schedule, serve_paced, serve_schedule
from edgeloop_agent.board import Reply, RunnerStart
from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.samples import to_bytes
from edgeloop_agent.scenarios import Plan, play
from edgeloop_agent.simulate.clock import SimulatedJobClock
from edgeloop_agent.simulate.state import BoardState
from edgeloop_agent.simulate.workload import Workload, runtime_version

__all__ = ["SimulatedSession", "derive_seed"]

_LOOK_S = 0.05
"""Heat and clock are looked at about this often within a batch of inferences."""

_YIELD_COUNT = 2000
"""Samples after which other tasks get their turn."""


def derive_seed(board_seed: int, start: RunnerStart) -> int:
    """Return the seed of one process, from board, artifact, round and purpose."""
    text = f"{board_seed}/{digest_of(start.artifact)}/{start.seed}/{start.purpose}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


class SimulatedSession:
    """One simulated process; ``open`` decides whether the board could run the artifact at all."""

    def __init__(
        self,
        profile: Profile,
        start: RunnerStart,
        *,
        clock: SimulatedJobClock,
        state: BoardState,
        board_seed: int,
        disturbed: str = "",
    ) -> None:
        """Take everything in; ``disturbed`` is said behind the basis of its figures."""
        self.isolation = Isolation(tier="simulated")
        self.pid: int | None = None
        self._profile, self._start = profile, start
        self._clock, self._state = clock, state
        self._board_seed, self._disturbed = board_seed, disturbed
        self._workload: Workload | None = None
        self._inferences = 0

    async def request(self, command: str, arguments: Mapping[str, object], timeout_s: float) -> Reply:
        """Answer one command; job time passes, and wall time as far as the board keeps to a pace.

        Raises:
            RunnerFailure: what a runner on such a board would fail with, or job time beyond ``timeout_s``.
        """
        begin_ns, begin_s = self._clock.monotonic_ns(), time.monotonic()
        try:
            reply = await self._answer(command, arguments, timeout_s)
        except RunnerFailure:
            await self._clock.keep_pace(begin_ns, begin_s)
            raise
        await self._clock.keep_pace(begin_ns, begin_s)
        return reply

    async def _answer(self, command: str, arguments: Mapping[str, object], timeout_s: float) -> Reply:
        answers: dict[str, Callable[[Mapping[str, object], float], Reply]] = {
            "open": self._open,
            "memory": self._memory,
            "nodes": self._nodes,
            "prepare": self._prepare,
            "serve": self._serve,
            "scenario": self._scenario,
        }
        if command == "infer":
            return await self._infer(arguments, timeout_s)
        if command not in answers:
            raise _harness(f"a simulated runner knows no command {command!r}.")
        return answers[command](arguments, timeout_s)

    def log_tail(self) -> str:
        """Return nothing: no process, no log."""
        return ""

    async def close(self) -> None:
        """End the process; the board cools down from here on."""
        self._workload = None
        self._state.rest()

    def _prepare(self, arguments: Mapping[str, object], timeout_s: float) -> Reply:
        """Import nothing: what imports take is no part of the model of a board."""
        return Reply(header={"ok": True}, payload=b"")

    def _open(self, arguments: Mapping[str, object], timeout_s: float) -> Reply:
        start = self._start
        workload = Workload(self._profile, start.artifact, start.settings, start.batch_size)
        workload.check_memory(start.memory_bytes)
        load = workload.load(cold=start.drop_page_cache, frequency_hz=self._state.frequency_hz)
        self._samples = SampleStream(self._profile, workload.nominal, derive_seed(self._board_seed, start))
        # Loading has its own noise, of the same kind: one draw relative to the median.
        load_s = load.load_s * self._draw_s(1.0) / workload.nominal.point_s
        self._pass(load_s, 1, timeout_s)
        self._workload, self._load = workload, load
        self._peak_bytes = workload.memory.load_peak_bytes
        header = {
            "ok": True,
            "runtime_version": runtime_version(workload.runtime),
            "providers": list(workload.runtime.providers),
            "load_ns": round(load_s * 1e9),
            "cold": start.drop_page_cache,
            "baseline_rss_bytes": workload.memory.baseline_bytes,
            "prediction": self._prediction(workload.nominal),
            "notes": list(workload.nominal.notes),
        }
        return Reply(header=header, payload=b"")

    def _prediction(self, nominal: Prediction) -> dict[str, object]:
        """Return what the figures of this process rest on, by the fields of a record's ``Simulation``."""
        trust = nominal.trust
        return {
            "basis": trust.basis + self._disturbed,
            "interval_factor": trust.interval_factor,
            "nearest_family": trust.nearest_family,
            "family_distance": trust.family_distance,
            "extrapolations": list(trust.extrapolations),
            "stale": trust.stale,
        }

    async def _infer(self, arguments: Mapping[str, object], timeout_s: float) -> Reply:
        """Draw samples; with ``keep_every`` each one that is kept stands for those that are not."""
        workload, count = self._opened(), _count(arguments)
        stride = arguments.get("keep_every", 1)
        if not isinstance(stride, int) or stride < 1:
            raise _harness(f"every first, second, ... sample is kept, not every {stride!r}.")
        start_ns = self._clock.monotonic_ns()
        samples, pending_ns, spent_ns = array("q"), 0, 0
        for index in range(0, count, stride):
            sample_ns = self._next_ns(workload, min(stride, count - index))
            samples.append(sample_ns)
            pending_ns += sample_ns * min(stride, count - index)
            if pending_ns >= _LOOK_S * 1e9 or index + stride >= count:
                self._pass(pending_ns / 1e9, workload.threads, timeout_s - spent_ns / 1e9)
                spent_ns, pending_ns = spent_ns + pending_ns, 0
            if len(samples) % _YIELD_COUNT == 0:
                await asyncio.sleep(0)
        self._peak_bytes = max(self._peak_bytes, workload.memory.inference_peak_bytes)
        header = {
            "ok": True,
            "start_ns": start_ns,
            "end_ns": self._clock.monotonic_ns(),
            "max_ns": max(samples),
        }
        return Reply(header=header, payload=to_bytes(samples))

    def _serve(self, arguments: Mapping[str, object], timeout_s: float) -> Reply:
        """Answer scheduled requests on job time, by the rule of the real runner."""
        count, rate_hz = _count(arguments), _number(arguments, "rate_hz")
        served = self._on_job_time(timeout_s)
        if arguments["process"] == "paced":
            answer = serve_paced(
                round(1e9 / rate_hz), count, self._clock.monotonic_ns, self._wait_until, served
            )
        else:
            seed, queue = (round(_number(arguments, name)) for name in ("seed", "queue_count_max"))
            schedule = draw_schedule(str(arguments["process"]), rate_hz, count, seed)
            answer = serve_schedule(schedule, queue, self._clock.monotonic_ns, self._wait_until, served)
        payload = to_bytes(answer.service_ns) + to_bytes(answer.latency_ns)
        return Reply(header={"ok": True, **answer.header()}, payload=payload)

    def _scenario(self, arguments: Mapping[str, object], timeout_s: float) -> Reply:
        """Play an MLPerf scenario on job time; LoadGen knows wall time only."""
        fields = arguments["plan"]
        if not isinstance(fields, dict):
            raise _harness("a scenario comes with its plan.")
        plan = Plan(**fields)
        played = play(plan, self._clock.monotonic_ns, self._wait_until, self._on_job_time(timeout_s))
        header, payload = played.answer(plan.latency_bound_s)
        return Reply(header={"ok": True, **header}, payload=payload)

    def _on_job_time(self, timeout_s: float) -> Serve:
        """Return a function that lets one inference pass and returns the job time before and after it."""
        workload, begin_ns = self._opened(), self._clock.monotonic_ns()
        self._peak_bytes = max(self._peak_bytes, workload.memory.inference_peak_bytes)

        def serve() -> tuple[int, int]:
            before = self._clock.monotonic_ns()
            spent_s = (before - begin_ns) / 1e9
            self._pass(self._next_ns(workload) / 1e9, workload.threads, timeout_s - spent_s)
            return before, self._clock.monotonic_ns()

        return serve

    def _wait_until(self, deadline_ns: int) -> None:
        left_ns = deadline_ns - self._clock.monotonic_ns()
        if left_ns > 0:
            self._state.advance(left_ns / 1e9, 0, self._opened().nominal.precision)

    def _next_ns(self, workload: Workload, count: int = 1) -> int:
        now = workload.latency(self._state.frequency_hz)
        factor = now.point_s / workload.nominal.point_s * self._load.warmup_factor(self._inferences)
        self._inferences += count
        return max(1, round(self._draw_s(factor) * 1e9))

    def _draw_s(self, factor: float) -> float:
        return self._samples.next_s(factor) * self._state.stress.slowdown

    def _memory(self, arguments: Mapping[str, object], timeout_s: float) -> Reply:
        memory = self._opened().memory
        ran = self._inferences > 0
        # Activations stay in the runtime's arena once they were needed.
        rss = memory.inference_peak_bytes if ran else memory.loaded_bytes
        header = {
            "ok": True,
            "rss_bytes": rss,
            "pss_bytes": None,
            "anonymous_bytes": rss - memory.file_bytes,
            "file_bytes": memory.file_bytes,
            "peak_rss_bytes": max(self._peak_bytes, rss),
            "method": f"predicted from profile {self._profile.name}",
            "reason": "the model does not tell shared pages apart, so there is no proportional set size",
        }
        if arguments.get("reset_peak"):
            self._peak_bytes = rss
        return Reply(header=header, payload=b"")

    def _nodes(self, arguments: Mapping[str, object], timeout_s: float) -> Reply:
        workload, count = self._opened(), _count(arguments)
        now = workload.latency(self._state.frequency_hz)
        mean_factor = sum(self._draw_s(1.0) for _ in range(count)) / count / workload.nominal.point_s
        self._inferences += count
        self._pass(now.point_s * mean_factor * count, workload.threads, timeout_s)
        provider = (self._start.settings.providers or workload.runtime.providers)[0]
        nodes = [
            {
                "name": timed.kernel.name,
                "op_type": timed.kernel.op_type,
                "provider": provider,
                "mean_s": timed.time_s * mean_factor,
            }
            for timed in now.kernels
        ]
        header: dict[str, Any] = {
            "ok": True,
            "nodes": nodes,
            "nodes_per_provider": {provider: len(nodes)},
            "reason": "",
        }
        return Reply(header=header, payload=b"")

    def _opened(self) -> Workload:
        if self._workload is None:
            raise _harness("no model has been opened.")
        return self._workload

    def _pass(self, seconds: float, busy_threads: int, timeout_s: float) -> None:
        within = min(seconds, max(0.0, timeout_s))
        precision = self._workload.nominal.precision if self._workload else "fp32"
        self._state.advance(within, busy_threads, precision)
        if seconds > timeout_s:
            raise RunnerFailure(
                Outcome.TIMEOUT,
                FailureKind.DEADLINE,
                f"the simulated {self._profile.name} needs {seconds:.3g} s where {timeout_s:.3g} s are left.",
            )


def _count(arguments: Mapping[str, object]) -> int:
    count = arguments.get("count")
    if not isinstance(count, int) or count < 1:
        raise _harness(f"a count of inferences starts at 1, not {count!r}.")
    return count


def _number(arguments: Mapping[str, object], name: str) -> float:
    value = arguments.get(name)
    if not isinstance(value, (int, float)) or value < 0:
        raise _harness(f"{name} is a number from 0, not {value!r}.")
    return value


def _harness(reason: str) -> RunnerFailure:
    return RunnerFailure(Outcome.HARNESS_ERROR, FailureKind.RUNNER_CRASHED, reason)
