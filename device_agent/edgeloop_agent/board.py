"""What the agent stands on: clock, facts, conditions and a way to start runners, real or simulated."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from edgeloop_foundation.ports.clock import Clock, SystemClock
from edgeloop_foundation.ports.fs import FileSystem, OsFileSystem
from edgeloop_foundation.ports.process import ProcessPort
from edgeloop_foundation.within import within
from edgeloop_protocol.convert import to_json
from edgeloop_protocol.types.artifact import Artifact
from edgeloop_protocol.types.conditions import Conditions
from edgeloop_protocol.types.deployment import NO_LIMITS, ModelLimits
from edgeloop_protocol.types.facts import Facts, RuntimeFacts, SensorFacts
from edgeloop_protocol.types.run import FailureKind, Isolation, Outcome, Simulation
from edgeloop_protocol.types.trial import RuntimeSettings

from edgeloop_agent import __version__, inventory
from edgeloop_agent.conditions import read_conditions
from edgeloop_agent.containment import Containment, task_count
from edgeloop_agent.directories import SCRATCH
from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.fitness.idle_temperature import IdleTemperature
from edgeloop_agent.fitness.kernel_files import read_vitals
from edgeloop_agent.fitness.memory_group import MemoryGroup, NoGroup
from edgeloop_agent.fitness.vitals import Seen, Vitals
from edgeloop_agent.isolation_policy import IsolationPolicy
from edgeloop_agent.kept_runtimes import Described, dependencies, keep_runtimes, read_runtimes
from edgeloop_agent.power.sampler import Sampler, ThreadSampler
from edgeloop_agent.runner_places import Place, RunnerPlaces
from edgeloop_agent.runner_process import Reply, RunnerProcess, oom_kill_count, remove_scratch
from edgeloop_agent.runner_unit import RunnerUnit
from edgeloop_agent.sensors import SensorSet
from edgeloop_agent.sensors.base import Sensor
from edgeloop_agent.sensors.clock_probe import ClockProbe
from edgeloop_agent.task_group import NoTaskGroup, TaskGroup
from edgeloop_agent.telemetry.activity import Activity, read_activity

if TYPE_CHECKING:
    from edgeloop_agent.emulate.emulator import Emulator
    from edgeloop_agent.emulate.group import RunnerGroup

__all__ = [
    "Board",
    "RealBoard",
    "Reply",
    "RunnerFailure",
    "RunnerSession",
    "RunnerStart",
    "open_arguments",
]

_DESCRIBE_TIMEOUT_S = 60.0
# The fastest of a dozen is undisturbed; twice per block, more would be felt in a short comparison.
_PROBE_SLICES = 12
# Runners that live at the same time are fewer by far.
_GROUPS_KEPT = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerStart:
    """Everything that decides how one runner process is started."""

    #: Directory with the artifact's files and ``manifest.json``.
    artifact_directory: Path
    #: The artifact's manifest.
    artifact: Artifact
    #: Runtime and its settings.
    settings: RuntimeSettings
    #: Items per inference.
    batch_size: int
    #: Limit of the address space.
    memory_bytes: int
    #: Limit of processor time, all threads together.
    cpu_s: int
    #: Seed of whatever is random in this process.
    seed: int
    #: "latency", "sustained", "scenario", "pulse", "memory", "nodes" or "parity".
    purpose: str
    #: Whether the model's pages are pushed out of the page cache before it is opened.
    drop_page_cache: bool = False
    #: What was signed for a release; a job has no limits of that kind.
    limits: ModelLimits = NO_LIMITS


class RunnerSession(Protocol):
    """One runner process, from start to death."""

    @property
    def isolation(self) -> Isolation:
        """What keeps it in; complete once ``open`` was answered."""
        ...

    @property
    def pid(self) -> int | None:
        """Process on this machine whose work is the model's; None when there is none."""
        ...

    async def request(self, command: str, arguments: Mapping[str, object], timeout_s: float) -> Reply:
        """Send one command and return its answer.

        Raises:
            RunnerFailure: refused, crashed, or not answered in time; in the last two cases it is dead.
        """
        ...

    def log_tail(self) -> str:
        """Return the last lines that it wrote, control characters removed."""
        ...

    async def close(self) -> None:
        """Kill what is left of it; safe to call twice."""
        ...


class Board(Protocol):
    """A device as jobs see it."""

    @property
    def simulation(self) -> Simulation | None:
        """Basis of its numbers; None for a real board."""
        ...

    @property
    def clock(self) -> Clock:
        """Job time: what durations on this board are measured in."""
        ...

    async def facts(self) -> Facts:
        """Return what this board is; the slow parts are probed once."""
        ...

    @property
    def idle_temperature(self) -> IdleTemperature:
        """What this board's temperature is when it is left alone, learned from what was seen."""
        ...

    async def conditions(self) -> Conditions:
        """Return the state of the board now."""
        ...

    async def vitals(self, runner_pids: Sequence[int] = ()) -> Vitals:
        """Return what tells whether this moment is fit to measure, with the work of a runner and its companions."""
        ...

    async def activity(self) -> Activity:
        """Return what the device has done since boot; cheap, and reads no sensor."""
        ...

    def sampler(self, sensor: SensorFacts) -> Sampler:
        """Return what samples one of its sensors of power or energy while batches run."""
        ...

    async def loop_speed(self) -> float | None:
        """Return the loops per second of a fixed busy loop: only ratios mean anything; None without a probe."""
        ...

    async def keep_spare(self) -> None:
        """Have ready what the next runner would wait for; returns once it is, and nothing is timed until then."""
        ...

    async def start_runner(self, start: RunnerStart) -> RunnerSession:
        """Start a runner process; nothing is loaded yet.

        Raises:
            RunnerFailure: it could not be started.
        """
        ...


def open_arguments(start: RunnerStart) -> dict[str, Any]:
    """Return the arguments of the ``open`` command for this start."""
    return {
        "artifact_directory": str(start.artifact_directory),
        "manifest_name": "manifest.json",
        "settings": to_json(start.settings),
        "batch_size": start.batch_size,
        "profile": start.purpose == "nodes",
        "drop_page_cache": start.drop_page_cache,
    }


class RealBoard:
    """The machine that this agent runs on.

    Args:
        state_directory: the agent's own directory; scratch directories of runners live in it.
        name: the device's name for people.
        processes: starts the runners.
        root: where ``/proc`` and ``/sys`` are; another one is for recorded trees.
        fs: keeps the device identifier.
        clock_probe: measures the real clock; by default this machine's, unless the root is another one's.
        emulator: holds the runners in a share of the machine; None leaves them all of it.
        isolation: how far runners are confined.
        unit: where runners of the tier "systemd" are started; that of an installed agent when not given.
    """

    simulation: Simulation | None = None

    def __init__(
        self,
        state_directory: Path,
        name: str,
        processes: ProcessPort,
        root: Path = Path("/"),
        fs: FileSystem | None = None,
        clock_probe: ClockProbe | None = None,
        emulator: Emulator | None = None,
        isolation: IsolationPolicy | None = None,
        unit: RunnerUnit | None = None,
    ) -> None:
        self._isolation = isolation or IsolationPolicy()
        self._emulator = emulator
        self._groups: dict[int, RunnerGroup] = {}
        self.clock: Clock = SystemClock()
        self._state_directory = state_directory
        self._name = name
        self._places = RunnerPlaces(
            processes, self._isolation.tier, state_directory, emulated=emulator is not None, unit=unit
        )
        self._root = root
        self._fs = fs or OsFileSystem()
        self._sensors = SensorSet(root)
        self._clock_probe = clock_probe or (
            ClockProbe(slice_count=_PROBE_SLICES) if root == Path("/") else None
        )
        self.idle_temperature = IdleTemperature()
        # What the runtimes depended on, and what they were then.
        self._runtimes: tuple[str, tuple[RuntimeFacts, ...]] | None = None
        self._asking = asyncio.Lock()

    async def facts(self) -> Facts:
        """Return what this board is; the runtimes are asked in a process of their own, where that is not known yet."""
        runtimes = await self._described()
        facts = await asyncio.to_thread(self._probe)
        facts = replace(facts, runtimes=runtimes)
        return facts if self._emulator is None else self._emulator.mark(facts)

    async def _described(self) -> tuple[RuntimeFacts, ...]:
        """Return the runtimes: asked again after something was installed, removed or replaced."""
        async with self._asking:
            depends_on = await asyncio.to_thread(self._dependencies)
            if self._runtimes is not None and self._runtimes[0] == depends_on:
                return self._runtimes[1]
            kept = await asyncio.to_thread(read_runtimes, self._state_directory, depends_on)
            if kept is None:
                described = await self._ask_runtimes()
                kept = described.runtimes
                # Without the kernel's word for it, a boot with other hardware would go unnoticed.
                if described.lasting and inventory.boot_id(self._root):
                    await asyncio.to_thread(keep_runtimes, self._fs, self._state_directory, depends_on, kept)
            self._runtimes = depends_on, kept
            return kept

    def _dependencies(self) -> str:
        how = (self._isolation.tier, self._isolation.minimum)
        return dependencies(self._root, inventory.boot_id(self._root), inventory.runner_environment(), how)

    def _probe(self) -> Facts:
        return Facts(
            device_id=inventory.device_id(self._fs, self._root, self._state_directory),
            name=self._name,
            hardware=inventory.hardware(self._root),
            operating_system=inventory.operating_system(self._root),
            sensors=self._sensors.probe(),
            disk_total_bytes=self._fs.total_bytes(self._state_directory),
            disk_free_bytes=self._fs.free_bytes(self._state_directory),
            boot_id=inventory.boot_id(self._root),
            agent_version=__version__,
        )

    async def _ask_runtimes(self) -> Described:
        scratch = self._state_directory / SCRATCH / secrets.token_hex(8)
        argv: tuple[str, ...] = (
            *(sys.executable, "-I", "-m", "edgeloop_agent.runner", "--describe"),
            *("--parent-pid", str(os.getpid())),
            *self._isolation.arguments(None, self._state_directory),
        )
        try:
            self._fs.make_directory(scratch)
            place = await self._places.choose(argv, scratch, ())
            asking = inventory.runtime_facts(place.processes, place.argv, scratch)
            return await within(asking, _DESCRIBE_TIMEOUT_S)
        except asyncio.TimeoutError:
            reason = f"the runner did not describe its runtimes within {_DESCRIBE_TIMEOUT_S:.0f} s"
            return Described(runtimes=(RuntimeFacts(name="onnxruntime", reason=reason),))
        finally:
            await remove_scratch(self._fs, scratch)

    async def conditions(self) -> Conditions:
        """Read clocks, load, memory, disk and every sensor, in a thread."""
        return await asyncio.to_thread(
            read_conditions, self._root, self._state_directory, self._fs, self.clock, self._sensors
        )

    async def vitals(self, runner_pids: Sequence[int] = ()) -> Vitals:
        """Read processor times, limits and sensors, in a thread."""
        return await asyncio.to_thread(self._vitals, runner_pids)

    def _vitals(self, runner_pids: Sequence[int]) -> Vitals:
        vitals = read_vitals(self._root, self.clock.monotonic_ns(), self._sensors.read(), runner_pids)
        group = self._groups.get(runner_pids[0]) if runner_pids else None
        spent = None if group is None else group.quota_time()
        if spent is None:
            return vitals
        return replace(vitals, quota_time=(spent.period_count, spent.throttled_count, spent.throttled_s))

    async def activity(self) -> Activity:
        """Read the kernel's counters, in a thread."""
        return await asyncio.to_thread(
            lambda: read_activity(self._root, Seen(value=self._fs.total_bytes(self._state_directory)))
        )

    async def loop_speed(self) -> float | None:
        """Count in a thread for some milliseconds."""
        if self._clock_probe is None:
            return None
        with contextlib.suppress(ArithmeticError):
            return (await asyncio.to_thread(self._clock_probe.measure)).loops_per_s
        return None

    def attach_meters(self, meters: Sequence[Sensor]) -> None:
        """Read these external meters beside the board's own sensors from now on."""
        self._sensors.attach(meters)

    def sampler(self, sensor: SensorFacts) -> Sampler:
        """Return a sampler with a thread of its own."""
        return ThreadSampler(sensor, self._sensors.reader(sensor.name, self.clock.monotonic_ns))

    async def keep_spare(self) -> None:
        """Have a unit stand ready, where runners are started in units of the system."""
        await self._places.keep_spare()

    async def start_runner(self, start: RunnerStart) -> RunnerProcess:
        """Exec a runner in a process group and an empty scratch directory of its own."""
        scratch = self._state_directory / SCRATCH / secrets.token_hex(8)
        argv: tuple[str, ...] = (
            *(sys.executable, "-I", "-m", "edgeloop_agent.runner"),
            *("--memory-bytes", str(start.memory_bytes), "--cpu-s", str(start.cpu_s)),
            *("--parent-pid", str(os.getpid()), "--task-count", str(task_count(start.limits))),
            *self._isolation.arguments(start.artifact_directory, self._state_directory),
        )
        place = await self._places.choose(argv, scratch, (start.artifact_directory,))
        oom_kills = oom_kill_count(self._root)
        emulator, share = self._emulator, None
        try:
            self._fs.make_directory(scratch)
            if emulator is not None:
                share = emulator.make_group(start.settings.intra_op_threads)
                place = place.changed(share.entering((*place.argv, "--emulated")))
            child = await place.processes.spawn(
                place.argv, _environment(start.settings, scratch), str(scratch)
            )
        except OSError as error:
            self._fs.remove_tree(scratch)
            if share is not None:
                share.remove()
            raise RunnerFailure(
                Outcome.DEVICE_ERROR, FailureKind.RUNNER_CRASHED, f"the runner cannot be started: {error}"
            ) from error
        if emulator is not None and share is not None:
            emulator.place(child.pid)
            self._groups[child.pid] = share
            while len(self._groups) > _GROUPS_KEPT:
                del self._groups[next(iter(self._groups))]
        group = self._memory_group(child.pid, share, place) if start.purpose == "memory" else None
        containment = Containment(
            self._root, self._isolation, start.limits, self._task_group(start, group, share, place)
        )
        process = RunnerProcess(
            child, self._fs, scratch, self._root, oom_kills, group, containment, place.enclosed
        )
        if emulator is not None and share is not None:
            process.hold(share, lambda seen: emulator.disagreement(seen, start.settings.intra_op_threads))
        return process

    def _task_group(
        self,
        start: RunnerStart,
        memory: MemoryGroup | NoGroup | None,
        share: RunnerGroup | None,
        place: Place,
    ) -> TaskGroup | NoTaskGroup:
        """Return what bounds its tasks; in version 2 a process is in one group alone, and another one came first."""
        if place.in_unit:
            return NoTaskGroup("the runner is in the control group of its own unit")
        if (share is not None and share.version_2) or (isinstance(memory, MemoryGroup) and memory.version_2):
            return NoTaskGroup("another control group holds the runner")
        return TaskGroup.make(self._root, task_count(start.limits))

    def _memory_group(self, pid: int, share: RunnerGroup | None, place: Place) -> MemoryGroup | NoGroup:
        """Return what keeps the peak; a runner is never moved out of the groups that limit it."""
        if place.in_unit:
            return NoGroup("the runner is in the control group of its own unit, which its keeper shares")
        if share is None:
            return MemoryGroup.make(self._root, pid)
        if (found := share.memory_directory()) is not None:
            return MemoryGroup.of(*found)
        if share.version_2:
            return NoGroup("its control group limits its processor time and does not count memory")
        return MemoryGroup.make(self._root, pid)


def _environment(settings: RuntimeSettings, scratch: Path) -> dict[str, str]:
    """Return the runner's environment: nothing of the agent's own reaches a model."""
    return {
        **inventory.runner_environment(),
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        # Thread pools other than the runtime's would reserve address space and take processors.
        "OMP_NUM_THREADS": str(settings.intra_op_threads),
        "OMP_WAIT_POLICY": "ACTIVE" if settings.allow_spinning else "PASSIVE",
        "OPENBLAS_NUM_THREADS": "1",
    }
