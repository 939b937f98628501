"""One point: an agent that its disk kills or fails at one operation, a service manager, a controller that goes on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from edgeloop.orchestrate.measure import OpenDevice
from edgeloop.transport.collect import drain_spool, run_job
from edgeloop_agent.slots import SlotFiles
from edgeloop_foundation.errors import AccessDeniedError, EdgeloopError, StateError
from edgeloop_foundation.ports.fs import OsFileSystem
from edgeloop_foundation.within import within
from edgeloop_protocol.types.run import SpooledRun

from scripts.heavy.faulty_disk import Plan
from scripts.heavy.kill_world import NAME, World, at_rest, job_spec, opened

#: How many versions the device has before, and what serves afterwards.
SCENARIOS: dict[str, tuple[int, int]] = {
    "first": (0, 1),
    "next": (1, 2),
    "collect": (2, 3),
    "rollback": (2, 1),
    "job": (1, 1),
    "pin": (0, 1),
    "accept": (1, 2),
}
VERIFIED = ("pin", "accept")
"""Scenarios whose plans are for the program that verifies releases."""

_AGENT = Path(__file__).with_name("faulty_agent.py")
_ATTEMPTS = 5
_STARTS_MAX = 6
_HEALTH_S = 5.0
_REST_S = 60.0
_SWEPT_S, _LOOK_EVERY_S = 15.0, 0.1


@dataclass(kw_only=True)
class Result:
    """What came of one point."""

    scenario: str
    kind: str
    at: int
    #: Whether the planned operation was reached.
    hit: bool = False
    #: Kills, the second one during recovery.
    kills: int = 0
    #: Operations that did as planned; an error may be planned for several.
    strikes: int = 0
    #: Health questions that were asked while an error was due, and the longest answer.
    health_count: int = 0
    health_s_max: float = 0.0
    #: What did not hold.
    complaints: list[str] = field(default_factory=list)


class ManagedAgent:
    """An agent that is started again whenever it dies, as its service manager does, with one plan after the other."""

    def __init__(self, home: Path, plans: Sequence[Plan], on_death: Callable[[], None]) -> None:
        self.state, self.socket = home / "state", home / "s"
        self._log, self._plans, self._on_death = home / "log", list(plans), on_death
        self.up = asyncio.Event()
        self.exits: list[int] = []
        self.counts: dict[str, int] = {}
        self._stopping = False
        self._process: asyncio.subprocess.Process | None = None
        self._keeper = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        while not self._stopping and len(self.exits) < _STARTS_MAX:
            plan = self._plans.pop(0) if self._plans else Plan()
            with self._log.open("ab") as log:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable, str(_AGENT), str(self.state), str(self.socket),
                    json.dumps(asdict(plan)), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
                    stderr=log, start_new_session=True,
                )  # fmt: skip
            assert self._process.stdout is not None
            async for line in self._process.stdout:
                if line.startswith(b"ready"):
                    self.up.set()
                if line.startswith(b"counted "):
                    self.counts = json.loads(line[8:])
            code = await self._process.wait()
            self.up.clear()
            if not self._stopping:
                # What an agent started ends with it on a device, by its control group.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
                self.exits.append(code)
                self._on_death()

    async def stop(self) -> None:
        """Stop it as a service manager does."""
        self._stopping = True
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
        try:
            await within(self._keeper, 30.0)
        except asyncio.TimeoutError:
            self._keeper.cancel()
            if self._process is not None and self._process.returncode is None:
                os.killpg(self._process.pid, signal.SIGKILL)
                await self._process.wait()

    def log_tail(self) -> str:
        """Return the last lines that it wrote."""
        return " | ".join(self._log.read_text(errors="replace").splitlines()[-6:])


class Point:
    """One run of one scenario with one plan."""

    def __init__(self, world: World, home: Path, scenario: str, plans: Sequence[Plan]) -> None:
        self.world, self.home, self.scenario, self.plan = world, home, scenario, plans[0]
        self.before, self.goal = SCENARIOS[scenario]
        self.result = Result(scenario=scenario, kind=self.plan.kind, at=self.plan.at)
        self.rows: dict[tuple[str, int], str] = {}
        self._plans = plans

    async def run(self) -> tuple[Result, dict[str, int]]:
        """Run it and return what came of it, and how many operations of each kind there were."""
        self.home.mkdir(mode=0o700)
        shutil.copytree(self.world.base(self.before), self.home / "state")
        self.agent = ManagedAgent(self.home, self._plans, self._look)
        try:
            await within(self._controller(), 240.0)
            await self._until_swept()
        except asyncio.TimeoutError:
            self._complain("it took more than 240 s")
        finally:
            await self.agent.stop()
        self._judge()
        if not self.result.complaints:
            shutil.rmtree(self.home)
        return self.result, self.agent.counts

    def _complain(self, text: str) -> None:
        self.result.complaints.append(f"{text} [{self.agent.log_tail()}]")

    def _look(self) -> None:
        """Look at the disk that a dead agent left, before anything recovers it."""
        allowed = {self.world.slots.get(self.before, ""), self.world.slots.get(self.goal, "")}
        files = SlotFiles(OsFileSystem(), self.agent.state / "deployments")
        try:
            current = files.pointer(NAME).current
            if current:
                files.verify(NAME, current)
        except (EdgeloopError, OSError) as error:
            self._complain(f"half-installed: {error}")
            return
        if current not in allowed:
            self._complain(f"half-installed: it serves {current!r}")

    async def _ingest(self, spooled: SpooledRun) -> bool:
        key = (spooled.epoch, spooled.sequence)
        new = key not in self.rows
        self.rows[key] = spooled.run.run_id
        return new

    async def _controller(self) -> None:
        watching = asyncio.create_task(self._watch_health()) if self.plan.kind != "kill" else None
        try:
            await self._go_on()
        finally:
            if watching is not None:
                watching.cancel()
                await asyncio.wait({watching})

    async def _go_on(self) -> None:
        last = ""
        for attempt in range(_ATTEMPTS):
            await self.agent.up.wait()
            try:
                async with opened(self.agent.socket, self.home) as device:
                    await self._act(device)
                    await self._settled(device)
                    await self._refuses_older(device)
                    await drain_spool(device.client, self._ingest)
                return
            except EdgeloopError as error:
                last = f"attempt {attempt + 1}: {error}"
                await asyncio.sleep(0.2 * (attempt + 1))
        self._complain(f"it needs a hand: {last}")

    async def _act(self, device: OpenDevice) -> None:
        if self.scenario == "job":
            async with device.client.lease("kills") as lease:
                spec = job_spec(lease.lease_id, lease.fencing_token, self.world.digests[1])
                if len(await run_job(device.client, spec, self._ingest)) != len(spec.trials):
                    raise StateError("the job did not bring a record of every trial.")
            return
        status = await at_rest(device, _REST_S)
        if status == self.world.digests[self.goal]:
            return
        if self.scenario == "rollback":
            await device.client.deployments.rollback(NAME)
        else:
            await self.world.deploy(device, self.goal)

    async def _settled(self, device: OpenDevice) -> None:
        current = await at_rest(device, _REST_S)
        if current != self.world.digests[self.goal]:
            raise StateError(f"{current[:12]} serves, not version {self.goal}.")

    async def _refuses_older(self, device: OpenDevice) -> None:
        """See that what the verifier remembers was not lost with it: the release before is not taken again."""
        if self.scenario != "accept":
            return
        try:
            async with device.client.lease("kills") as lease:
                older = self.world.bundles[self.before]
                await device.client.deployments.deploy(NAME, older, lease, 0.0)
        except AccessDeniedError:
            await at_rest(device, _REST_S)
        else:
            self._complain("half-installed: an older release was taken again")

    async def _watch_health(self) -> None:
        await self.agent.up.wait()
        try:
            async with opened(self.agent.socket, self.home) as device:
                while True:
                    await self._ask_health(device)
                    await asyncio.sleep(0.05)
        except (EdgeloopError, asyncio.TimeoutError) as error:
            self._complain(f"no answer about health: {error}")

    async def _ask_health(self, device: OpenDevice) -> None:
        asked = time.monotonic()
        healthy = await within(device.client.health(), _HEALTH_S)
        self.result.health_count += 1
        self.result.health_s_max = max(self.result.health_s_max, time.monotonic() - asked)
        if not healthy:
            self._complain("it says that it is not healthy")

    def _judge(self) -> None:
        self._look()
        self.result.kills = sum(code == -signal.SIGKILL for code in self.agent.exits)
        counted = self.agent.counts.get(self.plan.kind, 0)
        self.result.strikes = sum(0 < at <= counted for at in self.plan.places)
        if self.plan.kind == "kill" and not self.plan.verifier:
            self.result.strikes = min(self.result.kills, 1)
        self.result.hit = self.result.strikes > 0
        if other := [code for code in self.agent.exits if code != -signal.SIGKILL]:
            self._complain(f"the agent ended by itself with {other}")
        kept = Counter(self.rows.values())
        if lost := self.world.waiting[str(self.before)] - set(kept):
            self._complain(f"{len(lost)} records are lost")
        if twice := [run for run, count in kept.items() if count > 1]:
            self._complain(f"{len(twice)} records are there twice")
        if left := self._left_over():
            self._complain(f"{len(left)} slots are left over")

    async def _until_swept(self) -> None:
        """Wait for an agent whose disk fails to try again, a last time some seconds after what it was asked is done."""
        for _ in range(round(_SWEPT_S / _LOOK_EVERY_S)):
            if not self._left_over():
                return
            await asyncio.sleep(_LOOK_EVERY_S)

    def _left_over(self) -> set[str]:
        """Return the slots that nothing points to."""
        deployments = self.agent.state / "deployments"
        slots = {name for name, _ in OsFileSystem().entries(deployments / NAME / "slots")}
        # A pointer that cannot be read is told where it is looked at.
        with contextlib.suppress(EdgeloopError):
            pointer = SlotFiles(OsFileSystem(), deployments).pointer(NAME)
            return slots - {pointer.current, pointer.previous}
        return set()


async def prepare(world: World) -> None:
    """Make the devices that every point begins with."""
    for versions in (0, 1, 2):
        home = world.home / f"prepare-{versions}"
        home.mkdir(mode=0o700)
        if versions:
            shutil.copytree(world.base(versions - 1), home / "state")
        agent = ManagedAgent(home, [], lambda: None)
        try:
            await within(agent.up.wait(), 60.0)
            async with opened(agent.socket, home) as device:
                if versions:
                    await world.deploy(device, versions)
                else:
                    world.waiting["0"] = await world.leave_records(device)
        finally:
            await agent.stop()
        if agent.exits or not world.waiting["0"]:
            raise StateError(f"the devices could not be prepared: {agent.log_tail()}")
        world.waiting[str(versions)] = world.waiting["0"]
        (home / "state").rename(world.base(versions))
