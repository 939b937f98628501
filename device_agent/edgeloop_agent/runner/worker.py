"""The commands of a runner: one method each, from the header of a frame to the answer."""

from __future__ import annotations

import contextlib
import errno
import gc
import importlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edgeloop_foundation.errors import EdgeloopError, InvalidInputError
from edgeloop_protocol.convert import from_json, to_json
from edgeloop_protocol.types.artifact import Artifact
from edgeloop_protocol.types.emulation import EmulationReading
from edgeloop_protocol.types.isolation_tier import TIERS, check_tier
from edgeloop_protocol.types.outcome import FailureKind, Isolation, Outcome, Placement
from edgeloop_protocol.types.trial import RuntimeSettings

from edgeloop_agent.arrivals import SCHEDULE_COUNT_MAX, Serve, draw_schedule, serve_paced, serve_schedule
from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.frames import HEADER_BYTES_MAX
from edgeloop_agent.isolation_policy import check_isolation
from edgeloop_agent.runner.loop import wait_until
from edgeloop_agent.runner.memory import ProcessMemory
from edgeloop_agent.runner.runtimes import BUILTIN, RUNTIMES
from edgeloop_agent.runner.runtimes.base import LoadedModel, Runtime
from edgeloop_agent.samples import to_bytes

__all__ = ["Answer", "Worker", "describe_runtimes"]

Answer = tuple[dict[str, Any], bytes]

_FEED_COUNT_MAX = 8
_PROFILE_WARMUP = 3
# The rest of the header is for the fields around it.
_PLACEMENT_BYTES_MAX = HEADER_BYTES_MAX - 64 * 1024
_COUNT_MAX = 2_000_000
_DROP_TRIES = 20
_DROP_PAUSE_S = 0.005
_now = time.perf_counter_ns


def describe_runtimes() -> dict[str, Any]:
    """Return the facts of every registered runtime, present and absent, and whether they last.

    They last while nothing that is installed changes: every driver is one of ours and found its runtime, or found that
    the package is not there. One that failed may succeed the next time, and of others' drivers nobody knows what they
    depend on.
    """
    found, lasting = [], True
    for name in RUNTIMES.names():
        try:
            runtime = RUNTIMES.load(name)()
            facts = runtime.facts()
            found.append(to_json(facts))
            lasting &= name in BUILTIN and bool(facts.version) == bool(runtime.installed())
        except EdgeloopError as error:  # noqa: PERF203 - one broken driver must not hide the others
            found.append({"name": name, "reason": str(error)})
            lasting = False
    return {"runtimes": found, "lasting": lasting}


class Worker:
    """One model, opened once, in this process."""

    def __init__(
        self, isolation: Isolation, memory: ProcessMemory, own_limits: EmulationReading | None = None
    ) -> None:
        self._isolation = isolation
        self._own_limits = own_limits
        self._memory = memory
        self._opened: _Opened | None = None
        self._minimum = TIERS[0]

    def require(self, tier: str) -> None:
        """Refuse to open anything below this tier of isolation."""
        self._minimum = check_tier(tier)

    def answer(self, header: dict[str, Any]) -> Answer:
        """Carry out one command.

        Raises:
            RunnerFailure: it failed in a way that has a name.
        """
        commands: dict[str, Callable[[dict[str, Any]], Answer]] = {
            "isolation": lambda _: ({"isolation": to_json(self._isolation)}, b""),
            "describe": lambda _: (describe_runtimes(), b""),
            "prepare": self._prepare,
            "open": self._open,
            "infer": self._infer,
            "serve": self._serve,
            "scenario": self._scenario,
            "memory": self._read_memory,
            "nodes": self._nodes,
            "parity": self._parity,
        }
        command = commands.get(str(header.get("command")))
        if command is None:
            raise RunnerFailure(
                Outcome.HARNESS_ERROR,
                FailureKind.RUNNER_CRASHED,
                f"the runner knows no command {header.get('command')!r}.",
            )
        return command(header)

    def _prepare(self, header: dict[str, Any]) -> Answer:
        """Import what ``open`` will need: slow, and the same for every model."""
        version = _runtime(from_json(header["settings"], RuntimeSettings).runtime).prepare()
        importlib.import_module("edgeloop_agent.runner.golden")
        return {"runtime_version": version}, b""

    def _open(self, header: dict[str, Any]) -> Answer:
        check_isolation(self._isolation, self._minimum)
        settings = from_json(header["settings"], RuntimeSettings)
        opened = _Opened(Path(header["artifact_directory"]), header, settings)
        version = opened.runtime.prepare()
        # Whatever the golden pack left behind shall not count as the model's.
        gc.collect()
        self._memory.reset_peak()
        baseline = self._memory.read().rss_bytes
        cold = bool(header.get("drop_page_cache")) and opened.drop_page_cache()
        load_ns = opened.load("profile" if header.get("profile") else "", header.get("isa_tier", ""))
        gc.collect()
        gc.freeze()
        self._opened = opened
        reply: dict[str, Any] = {
            "runtime_version": version,
            "providers": list(opened.model.providers),
            "load_ns": load_ns,
            "cold": cold,
            "baseline_rss_bytes": baseline,
            "isolation": to_json(self._isolation),
            "numerics": opened.numerics,
        }
        if self._own_limits is not None:
            reply["own_limits"] = to_json(self._own_limits)
        return reply, b""

    @property
    def _session(self) -> _Opened:
        if self._opened is None:
            raise RunnerFailure(
                Outcome.HARNESS_ERROR, FailureKind.RUNNER_CRASHED, "no model has been opened."
            )
        return self._opened

    def _infer(self, header: dict[str, Any]) -> Answer:
        timed = self._session.infer(_count(header))
        kept = timed.samples_ns[:: _keep_every(header)]
        reply = {
            "start_ns": timed.start_ns,
            "end_ns": timed.end_ns,
            "max_ns": max(timed.samples_ns),
        }
        return reply, to_bytes(kept)

    def _serve(self, header: dict[str, Any]) -> Answer:
        """Answer scheduled requests: times of service, then latencies."""
        count = _count(header, SCHEDULE_COUNT_MAX)
        process, rate_hz = str(header["process"]), float(header["rate_hz"])
        with self._session.serving() as serve:
            if process == "paced":
                served = serve_paced(round(1e9 / rate_hz), count, _now, wait_until, serve)
            else:
                schedule = draw_schedule(process, rate_hz, count, int(header["seed"]))
                served = serve_schedule(schedule, int(header["queue_count_max"]), _now, wait_until, serve)
        return served.header(), to_bytes(served.service_ns) + to_bytes(served.latency_ns)

    def _scenario(self, header: dict[str, Any]) -> Answer:
        """Play one MLPerf scenario; with LoadGen where it is installed."""
        from edgeloop_agent.runner.loadgen import is_installed, play_with_loadgen
        from edgeloop_agent.scenarios import Plan, play

        plan = Plan(**header["plan"])
        with self._session.serving() as serve:
            if is_installed() and not header.get("own_engine"):
                played = play_with_loadgen(plan, serve)
            else:
                played = play(plan, _now, wait_until, serve)
        return played.answer(plan.latency_bound_s)

    def _read_memory(self, header: dict[str, Any]) -> Answer:
        reading = self._memory.read()
        if header.get("reset_peak"):
            self._memory.reset_peak()
        return reading.as_header(), b""

    def _nodes(self, header: dict[str, Any]) -> Answer:
        session = self._session
        session.infer(_PROFILE_WARMUP)
        session.infer(_count(header))
        return to_json(_within_a_frame(session.model.placement(_PROFILE_WARMUP))), b""

    def _parity(self, header: dict[str, Any]) -> Answer:
        from edgeloop_agent.runner.golden import GoldenPack
        from edgeloop_agent.runner.parity import check_parity

        session = self._session
        pack = GoldenPack(session.directory, session.artifact)
        pack.check_digest()
        return {"parity": to_json(check_parity(session.artifact, pack, session.model))}, b""


class _Opened:
    """The artifact in hand: manifest, golden pack, runtime and, once loaded, the model."""

    def __init__(self, directory: Path, header: dict[str, Any], settings: RuntimeSettings) -> None:
        self.artifact = _manifest(directory / header.get("manifest_name", "manifest.json"))
        self.runtime = _runtime(settings.runtime)
        self.directory, self._settings = directory, settings
        #: Whose arithmetic was worked out, in words; empty for that of this machine.
        self.numerics = ""
        if not self.artifact.golden_file:
            raise RunnerFailure(
                Outcome.USER_ERROR,
                FailureKind.CORRUPT_ARTIFACT,
                f"the artifact {self.artifact.label!r} has no golden pack: nothing to feed the model.",
            )
        self._cycle = self._build_cycle(int(header.get("batch_size", 1)))

    def _build_cycle(self, batch_size: int) -> Any:
        from edgeloop_agent.runner.golden import GoldenPack, zero_states
        from edgeloop_agent.runner.loop import FeedCycle

        pack = GoldenPack(self.directory, self.artifact, item_count_max=_FEED_COUNT_MAX * batch_size)
        pairs = list(pack.benchmark_feeds(batch_size, _FEED_COUNT_MAX))
        feeds = [{**feed, **zero_states(self.artifact, batch_size)} for feed, _ in pairs]
        return FeedCycle(feeds=feeds, starts=[start for _, start in pairs])

    def drop_page_cache(self) -> bool:
        """Push the model's files out of the page cache; True when none of them is in it any more."""
        names = [entry.name for entry in self.artifact.files if entry.name != self.artifact.golden_file]
        names += [expansion.made.name for expansion in self.artifact.expansions]
        dropped = [_drop(self.directory / name) for name in names]
        return all(dropped)

    def load(self, profile: str, isa_tier: str = "") -> int:
        """Open the model, with the arithmetic of a tier if one is named; return the nanoseconds that took."""
        prefix = Path.cwd() / profile if profile else None
        before = time.perf_counter_ns()
        self.model: LoadedModel
        if isa_tier:
            from edgeloop_agent.runner.numerics.model import load_with_numerics

            self.model, self.numerics = load_with_numerics(
                self.runtime, self.directory, self.artifact, self._settings, isa_tier
            )
        else:
            self.model = self.runtime.load(self.directory, self.artifact, self._settings, prefix)
        elapsed = time.perf_counter_ns() - before
        positions = {name: index for index, name in enumerate(self.model.output_names)}
        for binding in self.artifact.state:
            if binding.output not in positions:
                raise RunnerFailure(
                    Outcome.USER_ERROR,
                    FailureKind.CORRUPT_ARTIFACT,
                    f"the manifest carries state from {binding.output!r}, which is no output of the model.",
                )
            self._cycle.bindings.append((binding.input, positions[binding.output]))
        self._execute = self.model.executor()
        return elapsed

    @contextlib.contextmanager
    def serving(self) -> Iterator[Serve]:
        """Yield a function that runs one inference; errors become what the runtime makes of them."""
        from edgeloop_agent.runner.loop import server, still_collector

        try:
            with still_collector():
                yield server(self._execute, self._cycle)
        except Exception as error:
            raise self.model.explain(error) from error

    def infer(self, count: int) -> Any:
        """Time ``count`` inferences."""
        from edgeloop_agent.runner.loop import time_inferences

        try:
            return time_inferences(self._execute, self._cycle, count)
        except Exception as error:
            raise self.model.explain(error) from error


def _within_a_frame(placement: Placement) -> Placement:
    """Return the placement, without its nodes and with the reason when they are too many for one answer."""
    size = len(json.dumps(to_json(placement)))
    if size <= _PLACEMENT_BYTES_MAX:
        return placement
    return Placement(
        nodes_per_provider=placement.nodes_per_provider,
        reason=f"the times of {len(placement.nodes)} nodes take {size} bytes, "
        f"at most {_PLACEMENT_BYTES_MAX} are recorded",
    )


def _runtime(name: str) -> Runtime:
    try:
        return RUNTIMES.load(name)()
    except EdgeloopError as error:
        raise RunnerFailure(Outcome.UNSUPPORTED, FailureKind.LOAD_FAILED, str(error)) from error


def _count(header: dict[str, Any], maximum: int = _COUNT_MAX) -> int:
    count = header.get("count")
    if not isinstance(count, int) or not 1 <= count <= maximum:
        raise RunnerFailure(
            Outcome.HARNESS_ERROR,
            FailureKind.RUNNER_CRASHED,
            f"a count of inferences lies within 1..{maximum}, not {count!r}.",
        )
    return count


def _keep_every(header: dict[str, Any]) -> int:
    stride = header.get("keep_every", 1)
    if not isinstance(stride, int) or stride < 1:
        raise RunnerFailure(
            Outcome.HARNESS_ERROR,
            FailureKind.RUNNER_CRASHED,
            f"every first, second, ... sample is kept, not every {stride!r}.",
        )
    return stride


def _manifest(path: Path) -> Artifact:
    try:
        return from_json(path.read_bytes(), Artifact)
    except (OSError, InvalidInputError) as error:
        raise RunnerFailure(
            Outcome.USER_ERROR, FailureKind.CORRUPT_ARTIFACT, f"the manifest cannot be read: {error}"
        ) from error


def _drop(path: Path) -> bool:
    """Drop one file's pages; proven by a read that may not wait for the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # Pages that still wait to be written cannot be dropped, nor those a processor has just touched.
        os.fdatasync(descriptor)
        for _ in range(_DROP_TRIES):
            if _is_dropped(descriptor):
                return True
            time.sleep(_DROP_PAUSE_S)
        return False
    finally:
        os.close(descriptor)


def _is_dropped(descriptor: int) -> bool:
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    try:
        os.preadv(descriptor, [bytearray(1)], 0, os.RWF_NOWAIT)
    except OSError as error:
        return error.errno == errno.EAGAIN
    return False
