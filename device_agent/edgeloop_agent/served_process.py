"""One serving process from its start to its end, held from outside: its tier, memory, tasks, and that it goes on.

It opens its listeners, confines itself, tells how far, and opens a model only once it is told to go on: nothing that
comes later can be believed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeloop_foundation.errors import CorruptDataError, InvalidInputError
from edgeloop_foundation.ports.fs import FileSystem, make_durable_directory
from edgeloop_foundation.ports.process import ChildProcess, ProcessPort
from edgeloop_foundation.within import within
from edgeloop_protocol.convert import from_json, to_json
from edgeloop_protocol.types.deployment import NO_LIMITS
from edgeloop_protocol.types.run import FailureKind, Isolation, Outcome
from edgeloop_protocol.types.serving import ServingSpec, ServingState, ServingStatus
from edgeloop_protocol.types.telemetry import ServedTelemetry

from edgeloop_agent import inventory
from edgeloop_agent.containment import Containment, resident_bytes
from edgeloop_agent.directories import SCRATCH
from edgeloop_agent.enclosure import Enclosure, innermost, status_within
from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.frames import PREFIX, decode_header, decode_prefix, encode_frame
from edgeloop_agent.isolation_policy import IsolationPolicy
from edgeloop_agent.quarantine import Quarantine
from edgeloop_agent.runner_process import autopsy, oom_kill_count
from edgeloop_agent.served_bounds import Bounds, ServedBounds, names_of, readable_of, writable_of
from edgeloop_agent.slots import SlotFiles
from edgeloop_agent.task_group import TaskGroup
from edgeloop_agent.telemetry.request_log import remove_request_log

__all__ = ["ENDS_S", "Ended", "Served", "ServedProcess", "ServingHost"]

ENDS_S = 15.0
"""Longer than the process itself gives to requests under way."""

_REFUSED_STATUS = 2
_NOT_IN_UNIT = "systemd: a serving process listens on the network, which the runner's unit has not"
_LOG_CHARACTERS = 300
_LOOK_S, _READ_POINTERS_S = 0.1, 1.0
# It gives a sign of life each second; so much later than its longest step it has none to give.
_SILENCE_S = 10.0
# A version that has answered for so long is not what took the next process down at its start.
_PROVEN_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingHost:
    """What every serving process of one agent stands on."""

    #: Where the files are.
    fs: FileSystem
    #: The agent's state directory.
    state: Path
    #: The deployments.
    slots: SlotFiles
    #: Starts children.
    processes: ProcessPort
    #: How far they are confined.
    policy: IsolationPolicy
    #: What is opened no more, and counts strikes; None counts none.
    quarantine: Quarantine | None
    #: Starts them within a helper program, where that was asked for.
    enclosure: Enclosure
    #: Where ``/proc`` and ``/sys`` are.
    root: Path = Path("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a process ended that was not asked to."""

    #: Why.
    reason: str
    #: What a runner's end of that kind is; None when no artifact is to blame.
    failure: RunnerFailure | None = None
    #: The artifact that is to blame; empty when it cannot be told.
    digest: str = ""


class Served:
    """One deployment that is served, and the task that watches over its process."""

    def __init__(self, spec: ServingSpec) -> None:
        self.status = ServingStatus(spec=spec, state=ServingState.STARTING)
        self.listens = asyncio.Event()
        self.ends = asyncio.Event()
        self.ends_within_s = ENDS_S
        self.task: asyncio.Task[None] | None = None
        self.child: ChildProcess | None = None
        self.counts: asyncio.Queue[ServedTelemetry] = asyncio.Queue(maxsize=1)

    def now(self, **changes: Any) -> None:
        """Change how it stands."""
        self.status = replace(self.status, **changes)


class ServedProcess:
    """One process; ``run`` it once."""

    def __init__(self, host: ServingHost, served: Served) -> None:
        self._host, self._served = host, served
        self._bounds = ServedBounds(host.slots, served.status.spec)
        self._now: Bounds
        self._killed: RunnerFailure | None = None
        self._enclosed, self._pid = False, 0
        self._opening = ""
        self._open: dict[str, str] = {}
        self._closed: tuple[str, ...] = ()
        self._heard_s = self._began_s = 0.0
        self._guard: asyncio.Task[None] | None = None

    async def run(self) -> Ended | None:
        """Run to its end; None when it was asked to end."""
        host, served = self._host, self._served
        served.now(state=ServingState.STARTING, isolation=None)
        scratch = host.state / SCRATCH / secrets.token_hex(8)
        try:
            await asyncio.to_thread(self._make_ready, scratch)
            group = await asyncio.to_thread(TaskGroup.make, host.root, self._now.task_count)
            containment = Containment(host.root, host.policy, NO_LIMITS, group)
        except OSError as error:
            return Ended(reason=f"its process cannot be started: {error}.")
        try:
            return await self._in(scratch, containment)
        except OSError as error:
            return Ended(reason=f"its process cannot be started: {error}.")
        finally:
            await containment.remove()
            with contextlib.suppress(OSError):
                await asyncio.to_thread(host.fs.remove_tree, scratch)

    def _make_ready(self, scratch: Path) -> None:
        for name in names_of(self._served.status.spec):
            # What it may read is named when it is confined; a second form may be installed later.
            make_durable_directory(self._host.fs, self._host.state / "deployments" / name)
        spec, fs = self._served.status.spec, self._host.fs
        for path in writable_of(spec, self._host.state):
            fs.make_directory(path)
        if not spec.request_log_bytes:
            # Enclosed, the process does not see what it would have to remove.
            remove_request_log(fs, self._host.state, spec.name)
        self._host.fs.make_directory(scratch)
        self._now = self._bounds.read(0.0)

    async def _in(self, scratch: Path, containment: Containment) -> Ended | None:
        served, oom_kills = self._served, oom_kill_count(self._host.root)
        argv = await self._argv(scratch)
        child = await self._host.processes.spawn(argv, _environment(scratch), str(scratch))
        self._pid = child.pid
        served.child = child
        events = asyncio.create_task(self._follow(child, containment))
        ends = asyncio.create_task(served.ends.wait())
        try:
            await asyncio.wait({events, ends}, return_when=asyncio.FIRST_COMPLETED)
            if events.done():
                return await self._why(child, events.result(), oom_kills)
            # The end of its input tells it to finish what it began.
            child.close_input()
            with contextlib.suppress(asyncio.TimeoutError):
                await within(child.wait(), served.ends_within_s)
            return None
        finally:
            served.child = None
            child.kill()
            await child.wait()
            tasks = {task for task in (events, ends, self._guard) if task is not None}
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _argv(self, scratch: Path) -> tuple[str, ...]:
        host, spec = self._host, self._served.status.spec
        argv: tuple[str, ...] = (
            *(sys.executable, "-I", "-m", "edgeloop_agent.serving", "--state", str(self._host.state)),
            *("--isolation", self._host.policy.tier, "--parent-pid", str(os.getpid())),
            *("--task-count", str(self._now.task_count)),
        )
        if host.policy.tier not in ("bubblewrap", "systemd"):
            return argv
        if host.policy.tier == "systemd":
            # The strongest of the others, and why it is not this one.
            refused = await host.enclosure.refusal()
            argv = (*argv, "--lacking", "; ".join(filter(None, (_NOT_IN_UNIT, refused))))
            if refused:
                return argv
        argv, self._enclosed = await host.enclosure.command(
            argv,
            readable=readable_of(spec, host.state),
            writable=(scratch, *writable_of(spec, host.state)),
            serves=True,
        )
        return argv

    async def _why(self, child: ChildProcess, refusal: str, oom_kills: int | None) -> Ended:
        if refusal:
            return Ended(reason=refusal)
        if self._killed is not None:
            return Ended(reason=self._killed.reason, failure=self._killed, digest=self._blamed())
        child.kill()
        status = await child.wait()
        status = status_within(status) if self._enclosed else status
        lines = [line for line in child.log_tail().splitlines() if line.strip()]
        said = f": {lines[-1].strip()[:_LOG_CHARACTERS].rstrip('.')}" if lines else ""
        reason = f"its process ended with status {status}{said}."
        if status in (0, _REFUSED_STATUS):
            return Ended(reason=reason)
        now = oom_kill_count(self._host.root)
        oom = now != oom_kills if now is not None and oom_kills is not None else None
        failure = autopsy(status, child.log_tail(), oom, "serving")
        return Ended(reason=reason, failure=failure, digest=self._blamed())

    def _blamed(self) -> str:
        """Return what was being opened, or the only one that was open: of several nobody can tell."""
        if self._opening:
            return self._opening
        digests = set(self._open.values())
        return digests.pop() if len(digests) == 1 else ""

    async def _follow(self, child: ChildProcess, containment: Containment) -> str:
        """Hand over what to serve and take in what the process tells, until it ends; return why it was refused."""
        try:
            await child.write(encode_frame({"spec": to_json(self._served.status.spec)}))
            while True:
                header_bytes, _ = decode_prefix(await child.read_exactly(PREFIX.size))
                event = decode_header(await child.read_exactly(header_bytes))
                self._heard_s = asyncio.get_running_loop().time()
                if event.get("event") == "refused":
                    return str(event.get("reason", ""))
                if event.get("event") == "listening" and self._guard is None:
                    await self._admit(child, event, containment)
                self._note(child, event)
        except (EOFError, ConnectionError):
            return ""
        except RunnerFailure as failure:
            return failure.reason
        except (CorruptDataError, InvalidInputError, ValueError, TypeError, KeyError) as error:
            return f"its process told nonsense: {error}"

    async def _admit(self, child: ChildProcess, event: dict[str, Any], containment: Containment) -> None:
        """Hold what it says of itself against what is wanted, and let it open a model."""
        if self._enclosed:
            self._pid = await asyncio.to_thread(innermost, self._host.root, child.pid)
        isolation = containment.admit(from_json(event["isolation"], Isolation), self._pid)
        self._served.now(isolation=isolation)
        baseline = await asyncio.to_thread(resident_bytes, self._host.root, self._pid)
        layers = dict(isolation.layers)
        self._closed = self._quarantined()
        go = {
            "go": True,
            "closed": self._closed,
            "tasks_bounded": layers["cgroup_pids"] or layers.get("rlimit_nproc", False),
        }
        await child.write(encode_frame(go))
        self._began_s = asyncio.get_running_loop().time()
        watch = self._watch(child, containment, baseline or 0)
        self._guard = asyncio.create_task(watch, name=f"guard of {self._served.status.spec.name}")

    def _quarantined(self) -> tuple[str, ...]:
        if self._host.quarantine is None:
            return ()
        return tuple(one.digest for one in self._host.quarantine.listing() if one.quarantined)

    async def _watch(self, child: ChildProcess, containment: Containment, baseline: int) -> None:
        """Look at it until it is dead, and kill what passes a bound."""
        loop, read_s = asyncio.get_running_loop(), float("-inf")
        while self._killed is None:
            now_s = loop.time()
            if now_s - read_s >= _READ_POINTERS_S:
                read_s = now_s
                await self._refresh(child, containment, now_s)
            taken = await asyncio.to_thread(resident_bytes, self._host.root, self._pid)
            if taken is None:
                return
            bound = self._now.memory_bytes
            if bound and taken - baseline > bound:
                self._kill(
                    child,
                    FailureKind.OUT_OF_MEMORY,
                    f"its resident memory of {taken} bytes, {baseline} of them the server's own, passed the signed "
                    f"{bound}; it was killed.",
                )
            silent_s = self._now.step_s + _SILENCE_S
            if now_s - self._heard_s > silent_s:
                self._kill(
                    child,
                    FailureKind.DEADLINE,
                    f"it gave no sign of life for {silent_s:.0f} s and was killed.",
                )
            await asyncio.sleep(_LOOK_S)

    async def _refresh(self, child: ChildProcess, containment: Containment, now_s: float) -> None:
        """Follow the pointers, the quarantine, and a version that has shown that it does no harm."""
        before, self._now = self._now, await asyncio.to_thread(self._bounds.read, now_s)
        if before.task_count != self._now.task_count:
            await asyncio.to_thread(containment.bound_tasks, self._now.task_count)
        closed = self._quarantined()
        if closed != self._closed:
            self._closed = closed
            with contextlib.suppress(ConnectionError):
                await child.write(encode_frame({"closed": closed}))
        blamed = self._blamed()
        if now_s - self._began_s > _PROVEN_S and blamed and self._host.quarantine is not None:
            self._began_s = now_s
            await self._host.quarantine.note_probe(blamed, None)

    def _kill(self, child: ChildProcess, kind: FailureKind, reason: str) -> None:
        outcome = Outcome.TIMEOUT if kind is FailureKind.DEADLINE else Outcome.DEVICE_ERROR
        self._killed = RunnerFailure(outcome, kind, reason)
        child.kill()

    def _note(self, child: ChildProcess, event: dict[str, Any]) -> None:
        served, kind = self._served, event.get("event")
        if kind == "listening":
            spec = replace(
                served.status.spec, grpc_address=str(event["grpc"]), http_address=str(event["http"])
            )
            served.now(spec=spec)
            served.listens.set()
        elif kind == "opening":
            digest = str(event["digest"])
            # It may name no other one: blame is what it could be out for.
            self._opening = digest if digest in self._now.digests or digest in self._reread() else ""
        elif kind == "opened":
            if event["digest"]:
                self._open[str(event["name"])] = self._opening
            self._opening = ""
        elif kind == "overdue":
            self._kill(
                child, FailureKind.DEADLINE, f"{str(event['reason'])[:_LOG_CHARACTERS]}; it was killed."
            )
        elif kind == "model":
            self._note_model(event)
        elif kind == "counts" and served.counts.empty():
            served.counts.put_nowait(from_json(event.get("counts"), ServedTelemetry))

    def _reread(self) -> frozenset[str]:
        # A switch of a moment ago.
        self._now = self._bounds.read(asyncio.get_running_loop().time())
        return self._now.digests

    def _note_model(self, event: dict[str, Any]) -> None:
        counter = int(event["counter"])
        self._served.now(
            state=ServingState.READY if counter else ServingState.STARTING,
            counter=counter,
            digest=str(event["digest"]),
            batch_limit=int(event["batch_limit"]),
            reason=str(event["reason"]),
            form=str(event.get("form", "")),
        )


def _environment(scratch: Path) -> dict[str, str]:
    """Return its environment: nothing of the agent's own reaches a model."""
    return {
        **inventory.runner_environment(),
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        # A thread that is started with an import comes too early for a user namespace.
        "OPENBLAS_NUM_THREADS": "1",
    }
