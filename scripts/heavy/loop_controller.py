"""The controllers of the simulated loop: real code of the host, killed and started again on what they had kept."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgeloop.app import App
from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.experiment import SilentListener
from edgeloop.domain.rollout import DevicePhase, Rollout, RolloutDevice
from edgeloop.domain.rollout_plan import RolloutPlan
from edgeloop.orchestrate.rollout_device import DeviceWork
from edgeloop.store.rollouts import RolloutStore
from edgeloop.transport.base import Transport
from edgeloop.transport.client import AgentClient, RetryPolicy
from edgeloop.transport.collect import drain_spool, run_job
from edgeloop_foundation.errors import EdgeloopError, NotFoundError
from edgeloop_foundation.ports.simulated_fs import PowerCut, SimulatedFileSystem
from edgeloop_protocol.types.deployment import ReleaseBundle
from edgeloop_protocol.types.run import SpooledRun
from edgeloop_protocol.types.trial import Benchmark, JobSpec, Trial

from scripts.heavy.loop_device import NAME, Device
from scripts.heavy.loop_time import VirtualLoop
from scripts.heavy.loop_wire import SimulatedChannel

__all__ = ["Controller", "Measurer", "Release", "Shipper", "SimulatedApp"]

P = DevicePhase
_AWAY = frozenset({P.WAITING, P.AWAY, P.INSTALLING})
# The waits between attempts are the wire's own here, so that one seed decides them all.
_POLICY = RetryPolicy(base_s=0.0, cap_s=0.0)


@dataclass(frozen=True, kw_only=True)
class Release:
    """A signed release."""

    digest: str
    counter: int
    bundle: ReleaseBundle

    @property
    def slot(self) -> str:
        """Name of its slot on a device."""
        return f"{self.counter}-{self.digest}"


class _Transport(Transport):
    """Reaches a device of the simulation."""

    name = "simulated_loop"
    device: Device

    async def _open(self) -> AgentClient:
        return AgentClient(
            SimulatedChannel(self.device.endpoint),  # type: ignore[arg-type]
            device=self.spec.name,
            policy=_POLICY,
        )


class SimulatedApp(App):
    """The stores of a real controller; the devices are those of the simulation."""

    devices: dict[str, Device]

    def connect(self, spec: DeviceSpec, seed: int) -> Transport:
        """Return the way to a device of the simulation."""
        transport = _Transport(spec, self.state_directory, seed)
        transport.device = self.devices[spec.name]
        return transport


class Controller:
    """A process that works until it is done, whoever kills it meanwhile."""

    def __init__(self, loop: VirtualLoop, app: SimulatedApp, name: str, seed: str) -> None:
        self._loop, self._app, self.name = loop, app, name
        self._rng = random.Random(f"{seed}/{name}")
        #: Whether it is left in peace.
        self.calm = False
        self.counts: Counter[str] = Counter()
        self.complaints: list[str] = []
        self._incarnation, self._owner = 0, ""
        self._down = asyncio.Event()

    async def live(self) -> None:
        """Work to the end, again after every death."""
        while True:
            self._incarnation += 1
            self._owner = owner = f"{self.name}/{self._incarnation}"
            self._down.clear()
            self._loop.on_power_cut(owner, lambda owner=owner: self.die(owner))  # type: ignore[misc]
            if not self.calm and self._rng.random() < 0.7:
                self._loop.call_later(self._rng.expovariate(1 / 120.0), self.die, owner)
            work = self._loop.begin(owner, self.work())
            down = asyncio.ensure_future(self._down.wait())
            await asyncio.wait({work, down}, return_when=asyncio.FIRST_COMPLETED)
            if not self._down.is_set():
                down.cancel()
                work.result()
                return
            await asyncio.sleep(self._rng.uniform(0.5, 30.0))

    def die(self, owner: str) -> None:
        """End it as a kill does."""
        if owner == self._owner and not self._loop.is_dead(owner) and not self.calm:
            self.counts["controller kills"] += 1
            self._loop.kill(owner)
            self.reboot()
            self._down.set()

    def reboot(self) -> None:
        """Do what a crash does to what it keeps."""

    async def work(self) -> None:
        """Do what is left to do, by what was kept alone."""
        raise NotImplementedError

    def _spec(self, device: Device) -> DeviceSpec:
        return DeviceSpec(name=device.name, transport="ssh", address=device.name)


class Measurer(Controller):
    """Runs jobs and stores their records."""

    def __init__(
        self, loop: VirtualLoop, app: SimulatedApp, name: str, seed: str, jobs: int, digest: str
    ) -> None:
        super().__init__(loop, app, name, seed)
        self._left, self._digest = jobs, digest

    async def work(self) -> None:
        """Run the jobs that are left, then bring what waits on the devices."""
        while self._left > 0:
            self._left -= 1
            await self._tried(self._rng.choice(list(self._app.devices.values())), self._job)
            await asyncio.sleep(self._rng.uniform(0.0, 20.0))
        while True:
            for device in self._app.devices.values():
                await self._tried(device, self._drain)
            if self.calm and not any(device.unsettled() for device in self._app.devices.values()):
                return
            await asyncio.sleep(self._rng.uniform(1.0, 30.0))

    async def _tried(self, device: Device, what: object) -> None:
        try:
            async with self._app.connect(self._spec(device), 0) as client:
                await what(device, client)  # type: ignore[operator]
        except EdgeloopError as error:
            self.counts[f"refused: {type(error).__name__}"] += 1

    async def _job(self, device: Device, client: AgentClient) -> None:
        wait_s = self._rng.choice((0.0, 30.0, 300.0))
        async with client.lease(self.name, ttl_s=55.0, wait_timeout_s=wait_s) as lease:
            spec = self._job_spec(lease.lease_id, lease.fencing_token)
            self.counts["jobs submitted"] += 1
            runs = await run_job(client, spec, self._ingest(device), lost=lease.lost)
            self.counts["jobs whose rows came"] += len(runs) == len(spec.trials)

    def _job_spec(self, lease_id: str, token: int) -> JobSpec:
        count = self._rng.randint(1, 3)
        return JobSpec(
            request_id=str(uuid.uuid4()),
            lease_id=lease_id,
            fencing_token=token,
            trials=tuple(
                Trial(trial_id=f"t{n}", label=f"t{n}", artifact_digest=self._digest) for n in range(count)
            ),
            benchmark=Benchmark(),
            deadline_s=120.0,
        )

    async def _drain(self, device: Device, client: AgentClient) -> None:
        await drain_spool(client, self._ingest(device))

    def _ingest(self, device: Device):  # type: ignore[no-untyped-def]
        async def ingest(spooled: SpooledRun) -> bool:
            if not self.calm and self._rng.random() < 0.05:
                self.die(self._owner)
                await asyncio.sleep(0)
            new = await asyncio.to_thread(self._app.records.ingest, spooled, device.name)
            self.counts["records stored" if new else "records known"] += 1
            if not self.calm and self._rng.random() < 0.05:
                # Committed, and never acknowledged by this process.
                self.die(self._owner)
                await asyncio.sleep(0)
            return new

        return ingest


class Shipper(Controller):
    """Brings releases to every device and takes one back; how that stands is on a disk that loses power."""

    def __init__(
        self, loop: VirtualLoop, app: SimulatedApp, name: str, seed: str, releases: Sequence[Release]
    ) -> None:
        super().__init__(loop, app, name, seed)
        self._releases = releases
        self._fs = SimulatedFileSystem()
        #: Per rollout what is on the disk for certain, None before the first time, and what may be there.
        self._saved: dict[str, tuple[Rollout | None, Rollout]] = {}
        #: The device -> slot that the last rollout says it serves.
        self.said: dict[str, str] = {}
        self._back = self._rng.randrange(len(releases))

    def repair(self) -> None:
        """Let the disk fail no longer."""
        self._fs._faults.clear()

    def reboot(self) -> None:
        """Lose what was not synced, and see that the rollouts are those that were saved."""
        self._fs = self._fs.crash(self._rng.getrandbits(32))
        store = RolloutStore(self._app.state_directory, self._fs)
        for rollout_id, (kept, begun) in list(self._saved.items()):
            try:
                found = store.get(rollout_id)
            except EdgeloopError as error:
                if kept is not None:
                    self.complaints.append(f"{rollout_id} is lost: {error}")
                del self._saved[rollout_id]
                continue
            if found not in (kept, begun):
                self.complaints.append(f"{rollout_id} is not as it was saved")
            self._saved[rollout_id] = (found, found)

    async def work(self) -> None:
        """Drive every rollout to its end, the next one after it."""
        if not self.calm and self._rng.random() < 0.5:
            self._fs.fail_at(self._fs.operation_count + self._rng.randint(1, 80), PowerCut())
        for number, release in enumerate(self._releases):
            rollout = await self._rollout(number, release)
            for device in rollout.devices:
                rollout = await self._drive(rollout, device, release, back=number == self._back)
            self.counts["rollouts driven"] += 1
            self.said = {one.spec.name: self._slot(one, release) for one in rollout.devices}

    def _slot(self, device: RolloutDevice, release: Release) -> str:
        if device.phase in (P.SERVING, P.PRESENT):
            return release.slot
        before = next((one for one in self._releases if one.digest == device.before_digest), None)
        return "" if before is None else before.slot

    async def _rollout(self, number: int, release: Release) -> Rollout:
        rollout_id = f"rollout-{number}"
        store = RolloutStore(self._app.state_directory, self._fs)
        try:
            return await asyncio.to_thread(store.get, rollout_id)
        except NotFoundError:
            plan = RolloutPlan(release=NAME, trial_s=0.0)
            devices = [RolloutDevice(spec=self._spec(one), wave=0) for one in self._app.devices.values()]
            rollout = Rollout(
                rollout_id=rollout_id, plan=plan, artifact_digest=release.digest, counter=release.counter,
                devices=tuple(devices), started_wall_s=float(number), since_wall_s=float(number),
            )  # fmt: skip
            await self._save(rollout)
            return rollout

    async def _save(self, rollout: Rollout) -> None:
        kept, _ = self._saved.get(rollout.rollout_id, (None, rollout))
        # Until it has returned, a crash may leave either.
        self._saved[rollout.rollout_id] = (kept, rollout)
        await asyncio.to_thread(RolloutStore(self._app.state_directory, self._fs).save, rollout)
        self._saved[rollout.rollout_id] = (rollout, rollout)

    async def _drive(
        self, rollout: Rollout, device: RolloutDevice, release: Release, *, back: bool
    ) -> Rollout:
        async def keep(changed: RolloutDevice) -> None:
            nonlocal rollout
            rollout = rollout.with_device(changed)
            await self._save(rollout)

        work = DeviceWork(
            app=self._app,
            rollout=rollout,
            listener=SilentListener(),
            bundle=release.bundle,
            runtime="onnxruntime",
        )
        target = self._app.devices[device.spec.name]
        while device.phase in _AWAY:
            target.asked.add(release.slot)
            device = await work.bring(device, keep, simulated_evidence=False)
            if device.phase is P.REFUSED and not self.calm and "does not work" not in device.reason:
                # A clock that was wrong, a disk that failed: somebody looks, and tries again.
                self.counts["refused releases tried again"] += 1
                device = replace(device, phase=P.INSTALLING if device.before_digest else P.AWAY)
            await keep(device)
            if device.phase in _AWAY:
                await asyncio.sleep(self._rng.uniform(1.0, 20.0))
        self.counts[f"devices {device.phase.value}"] += 1
        while back and device.phase is P.SERVING and device.before_digest:
            device = await work.take_back(device)
            await keep(device)
            if device.phase is P.SERVING:
                await asyncio.sleep(self._rng.uniform(1.0, 20.0))
        return rollout
