"""A device of the simulated loop: the whole real agent on a simulated disk, killed and started again."""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeloop_agent.execution import ExecutionContext, Progress
from edgeloop_agent.frames import PREFIX, decode_header, decode_prefix, encode_frame
from edgeloop_agent.job_journal import JobRecord, run_without_measurement
from edgeloop_agent.server import Agent, Limits
from edgeloop_agent.slots import SlotFiles, SlotRecord
from edgeloop_agent.store import ContentStore
from edgeloop_agent.trust.__main__ import answer
from edgeloop_agent.trust_files import DIRECTORY, TrustFiles
from edgeloop_foundation.errors import EdgeloopError, StateError
from edgeloop_foundation.ports.simulated_fs import PowerCut, SimulatedFileSystem
from edgeloop_foundation.ports.simulated_process import ChildStreams, SimulatedProcesses
from edgeloop_protocol.types.artifact import Artifact
from edgeloop_protocol.types.facts import Facts, Hardware, OperatingSystem, RuntimeFacts
from edgeloop_protocol.types.job import JobState
from edgeloop_protocol.types.run import FailureKind, Outcome, Run, Simulation
from edgeloop_protocol.types.trial import Trial

from scripts.heavy.loop_time import VirtualClock, VirtualLoop
from scripts.heavy.loop_wire import Endpoint, SimulatedServer, Weather

__all__ = ["NAME", "Device"]

NAME = "demo"
STATE = Path("/state")
_START_S = (0.2, 20.0)
_LIFE_S = (1.0, 400.0)
_OPERATIONS = (1, 400)


class _Board:
    """A board with facts; what runs on it is scripted."""

    simulation: Simulation | None = None

    def __init__(self, name: str, boot_id: str, clock: VirtualClock) -> None:
        self._name, self._boot_id, self.clock = name, boot_id, clock

    async def facts(self) -> Facts:
        return Facts(
            device_id=self._name.ljust(32, "0"),
            name=self._name,
            hardware=Hardware(architecture="x86_64", logical_cores=2, memory_total_bytes=1 << 30),
            operating_system=OperatingSystem(name="Simulated", kernel="6", python_version="3.11"),
            boot_id=self._boot_id,
            runtimes=(RuntimeFacts(name="onnxruntime", version="1.20.0", formats=("onnx",)),),
        )


class _Listener:
    """Listens nowhere: the endpoint knows the server."""

    def bind(self, server: Any) -> str:
        return "simulated"


class _Agent(Agent):
    """The agent; whether a slot works is for the device to say."""

    device: Device

    async def _probe(self, record: SlotRecord, directory: Path, artifact: Artifact) -> str:
        await asyncio.to_thread(SlotFiles(self._fs, STATE / "deployments").verify, record.name, record.slot)
        return await self.device.probe(record)


class Device:
    """One device, and what it must not have done."""

    def __init__(self, loop: VirtualLoop, name: str, seed: str, weather: Weather, wall_s: float) -> None:
        self.name, self._loop, self._weather = name, loop, weather
        self._rng = random.Random(f"{seed}/{name}")
        self.endpoint = Endpoint(loop, weather)
        self.clock = VirtualClock(loop, wall_s)
        self.fs = SimulatedFileSystem(capacity_bytes=64 << 20)
        self.agent: _Agent | None = None
        #: Whether it is left in peace.
        self.calm = False
        self.complaints: list[str] = []
        self.counts: Counter[str] = Counter()
        #: Slots that were ever asked for; what serves is one of them.
        self.asked: set[str] = set()
        #: Slots whose release does not work here.
        self.bad: set[str] = set()
        self.served_once = False
        #: How far its wall clock is off.
        self.jumped_s = 0.0
        self._boot, self._incarnation, self._owner = 1, 0, ""
        self._down = asyncio.Event()
        self._executed: Counter[str] = Counter()
        self._running, self._token_started = "", 0

    def load(self, blobs: Sequence[bytes]) -> None:
        """Put blobs into its store, durably."""
        store = ContentStore(self.fs, STATE / "store", store_bytes=1 << 30, reserve_bytes=0)
        store.open()
        for data in blobs:
            store.put(data)
        self.fs.settle()

    def jump(self, seconds: float) -> None:
        """Set its wall clock wrong, or right again; one that is left in peace keeps its time."""
        if not self.calm:
            self.clock.jump(seconds)
            self.jumped_s += seconds
            self.counts["clock jumps"] += 1

    # Life and death

    async def live(self) -> None:
        """Start the agent whenever it is down, as a service manager does."""
        while True:
            await self._start()
            await self._down.wait()
            low, high = _START_S
            await asyncio.sleep(low if self.calm else self._rng.uniform(low, high))

    async def _start(self) -> None:
        self._incarnation += 1
        self._owner = owner = f"{self.name}/{self._incarnation}"
        self._down.clear()
        self._loop.on_power_cut(owner, lambda: self._cut(owner))
        self._arm(owner)
        starting = self._loop.begin(owner, self._compose(owner))
        await asyncio.wait(
            {starting, asyncio.ensure_future(self._down.wait())}, return_when=asyncio.FIRST_COMPLETED
        )
        if starting.done() and not starting.cancelled() and not self._down.is_set():
            error = starting.exception()
            if error is None:
                self.agent = starting.result()
                self.endpoint.up(owner, self.agent._server)
            elif not isinstance(error, PowerCut):
                # The disk refused: the service manager tries again.
                self.counts["failed starts"] += 1
                self.crash(owner, power=False)

    async def _compose(self, owner: str) -> _Agent:
        agent = _Agent(
            fs=self.fs,
            clock=self.clock,
            state_directory=STATE,
            board=_Board(self.name, f"boot-{self._boot}", self.clock),  # type: ignore[arg-type]
            execute=self._execute,
            boot_id=f"boot-{self._boot}",
            limits=Limits(reserve_bytes=0, store_bytes=1 << 30),
            processes=SimulatedProcesses({sys.executable: self._verify}),
            make_server=SimulatedServer,
        )
        agent.device = self
        await agent.start(_Listener())  # type: ignore[arg-type]
        return agent

    def _arm(self, owner: str) -> None:
        """Plan how this process ends: at an operation of the disk, at a time, or not at all."""
        if self.calm:
            return
        kind = self._rng.choice(("operation", "operation", "time", "error", "none"))
        at = self.fs.operation_count + self._rng.randint(*_OPERATIONS)
        if kind == "operation":
            self.fs.fail_at(at, PowerCut())
        elif kind == "error":
            number, text = self._rng.choice(((5, "EIO"), (28, "ENOSPC")))
            self.fs.fail_at(at, OSError(number, text))
            self.counts[f"{text} planned"] += 1
        if kind in ("time", "error"):
            power = self._rng.random() < 0.5
            self._loop.call_later(self._rng.uniform(*_LIFE_S), self.crash, owner, power)

    def _cut(self, owner: str) -> None:
        self.crash(owner, power=self._rng.random() < 0.5)

    def crash(self, owner: str, power: bool) -> None:
        """End the agent, and with the power what was not synced; look at what is left."""
        if owner != self._owner or self._loop.is_dead(owner) or self.calm:
            return
        self.down(owner, power)

    def down(self, owner: str, power: bool) -> None:
        """Do what ``crash`` does, also to a device that is left in peace."""
        self._loop.kill(owner)
        self.endpoint.down()
        self.agent, self._running = None, ""
        self.counts["power cuts" if power else "kills"] += 1
        if power:
            self._boot += 1
            self.clock.boot()
        else:
            self.fs.settle()
        self.fs = self.fs.crash(self._rng.getrandbits(32))
        self._look()
        self._down.set()

    def restart(self, *, power: bool) -> None:
        """End the agent once more, to see that what is settled is on the disk."""
        self.down(self._owner, power)

    # What runs on it

    async def _verify(self, argv: Sequence[str], env: Mapping[str, str], streams: ChildStreams) -> int:
        """Be the program that verifies releases: its code, this disk."""
        size, _ = decode_prefix(await streams.read_exactly(PREFIX.size))
        header = decode_header(await streams.read_exactly(size))
        files = TrustFiles(self.fs, STATE / DIRECTORY)
        reply = await asyncio.to_thread(answer, files, lambda: header, self.clock.wall_s())
        streams.write(encode_frame(reply))
        return 0

    async def probe(self, record: SlotRecord) -> str:
        """Try a slot for some seconds."""
        await asyncio.sleep(self._rng.uniform(0.1, 2.0))
        if record.slot in self.bad and record.state.value == "trial":
            raise StateError("it does not work here.")
        return "it works."

    async def _execute(self, context: ExecutionContext) -> tuple[Run, ...]:
        owner, request_id = self._owner, context.spec.request_id
        self._executed[request_id] += 1
        if self._executed[request_id] > 1:
            self._complain(f"job {request_id} ran {self._executed[request_id]} times")
        if self._running:
            self._complain(f"{self._running} and {request_id} ran at once")
        if context.spec.fencing_token < self._token_started:
            self._complain(
                f"a job of token {context.spec.fencing_token} ran after one of {self._token_started}"
            )
        self._running, self._token_started = request_id, context.spec.fencing_token
        try:
            return tuple([await self._row(context, trial) for trial in context.spec.trials])
        finally:
            if owner == self._owner:
                self._running = ""

    async def _row(self, context: ExecutionContext, trial: Trial) -> Run:
        context.report(Progress(trial_id=trial.trial_id, phase="steady"))
        stopping = asyncio.ensure_future(context.stop.wait())
        await asyncio.wait({stopping}, timeout=self._rng.uniform(0.1, 20.0))
        stopping.cancel()
        stop = context.stop.reason
        spec = context.spec
        record = JobRecord(
            job_id=context.job_id, request_id=spec.request_id, body_digest="", order=1, state=JobState.RUNNING,
            fencing_token=spec.fencing_token, spec=spec, device_id=context.device_id,
            device_name=context.device_name, boot_id=context.boot_id, agent_version=context.agent_version,
            accepted_wall_s=context.wall_clock.wall_s(),
        )  # fmt: skip
        kind = {Outcome.CANCELLED: FailureKind.CANCELLED, Outcome.TIMEOUT: FailureKind.DEADLINE}
        return run_without_measurement(
            record, trial, stop or Outcome.SUCCESS, kind[stop] if stop else FailureKind.NONE, ""
        )

    # What must hold

    def _complain(self, text: str) -> None:
        self.complaints.append(f"{self._loop.now_s:.3f} s, {self.name}: {text}")

    def serving(self) -> str:
        """Return the slot that serves by the files alone; empty for none."""
        return SlotFiles(self.fs, STATE / "deployments").pointer(NAME).current

    def _look(self) -> None:
        """Look at the disk before anything recovers it: old or new, whole; and no floor that went down."""
        self.counts["disks looked at"] += 1
        files = SlotFiles(self.fs, STATE / "deployments")
        try:
            if current := files.pointer(NAME).current:
                files.verify(NAME, current)
        except (EdgeloopError, OSError) as error:
            self._complain(f"half-installed: {error}")
            return
        if current not in self.asked and (current or self.served_once):
            self._complain(f"half-installed: it serves {current!r}")
        self.served_once = self.served_once or bool(current)
        try:
            state = TrustFiles(self.fs, STATE / DIRECTORY).read()
        except EdgeloopError as error:
            self._complain(f"the trust state is lost: {error}")
            return
        counters = {} if state is None else {one.name: one.counter for one in state.floor.counters}
        if counters.get(NAME, 0) < self.endpoint.counter:
            self._complain(f"the counter fell from {self.endpoint.counter} to {counters.get(NAME, 0)}")
        for token, leases in self.endpoint.granted.items():
            if len(leases) > 1:
                self._complain(f"token {token} was granted {len(leases)} times")

    def unsettled(self) -> str:
        """Return what has not come to an end yet; empty when everything has."""
        agent = self.agent
        if agent is None:
            return "it is down"
        if agent.jobs.running is not None:
            return "a job runs"
        if agent.spool.waiting_count:
            return f"{agent.spool.waiting_count} records wait"
        if agent.leases.listing():
            return "somebody holds it"
        if agent.deployments.active:
            return "it installs"
        return ""
