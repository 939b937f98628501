"""The whole loop from one seed: controllers and agents, a bad wire, failing disks, clocks that jump, kills of all.

Real: the client, the job, lease, spool, store, deployment and trust code of both sides, their services, messages and
stores. Simulated: disks of devices and of rollouts, the wire, time, processes. What runs in a job and in a probe is
scripted, the records' SQLite is a file of this machine, and blobs are on the devices from the beginning.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from edgeloop.release.repository import Repository
from edgeloop_agent.slots import SlotFiles
from edgeloop_foundation.errors import EdgeloopError
from edgeloop_protocol.convert import to_canonical_json
from edgeloop_protocol.types.artifact import Artifact, FileEntry
from edgeloop_protocol.types.deployment import OVER, ReleaseTerms

from scripts.heavy.loop_controller import Controller, Measurer, Release, Shipper, SimulatedApp
from scripts.heavy.loop_device import NAME, STATE, Device
from scripts.heavy.loop_time import Stuck, VirtualLoop, repeatable
from scripts.heavy.loop_wire import Weather

__all__ = ["Ground", "Outcome", "simulate"]

_TROUBLED_S = 900.0
_SETTLES_S = 7200.0
_YEAR_S = 365 * 86_400.0


@dataclass(kw_only=True)
class Outcome:
    """What came of one seed."""

    seed: int
    complaints: list[str]
    counts: Counter[str]
    #: Virtual seconds.
    duration_s: float
    #: SHA-256 over everything that is counted: the same for the same seed.
    trace: str = ""

    def __post_init__(self) -> None:
        tree = [self.seed, self.complaints, sorted(self.counts.items()), round(self.duration_s, 6)]
        self.trace = hashlib.sha256(json.dumps(tree).encode()).hexdigest()


@dataclass(kw_only=True)
class Ground:
    """What every seed begins with: three signed releases of one name."""

    releases: list[Release]
    blobs: list[bytes]
    artifacts: list[tuple[Artifact, dict[str, bytes]]] = field(default_factory=list)
    wall_s: float

    @classmethod
    def make(cls, home: Path) -> Ground:
        """Sign them."""
        # Not a time of its own: python-tuf holds expiry against this machine's clock as well.
        wall_s = float(int(time.time()))
        releases = Repository(home, home / "keys", "", lambda: wall_s)
        releases.create()
        made, blobs, artifacts = [], [], []
        for counter in (1, 2, 3):
            files = {name: f"{name} {counter}".encode() * 20 for name in ("golden.npz", "model.onnx")}
            manifest = _manifest(files)
            body = to_canonical_json(manifest)
            digest = hashlib.sha256(body).hexdigest()
            terms = ReleaseTerms(
                counter=counter, format="onnx", files=manifest.files, golden_digest=manifest.files[0].digest
            )
            releases.sign(NAME, digest, len(body), terms)
            made.append(Release(digest=digest, counter=counter, bundle=releases.bundle()))
            blobs += [*files.values(), body]
            artifacts.append((manifest, files))
        return cls(releases=made, blobs=blobs, artifacts=artifacts, wall_s=wall_s)


def _manifest(files: dict[str, bytes]) -> Artifact:
    entries = tuple(
        FileEntry(name=name, digest=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
        for name, data in files.items()
    )
    return Artifact(
        format="onnx",
        label="m",
        files=entries,
        model_file="model.onnx",
        golden_file="golden.npz",
        source_digest="0" * 64,
    )


class _World:
    """One seed, set up."""

    def __init__(self, ground: Ground, loop: VirtualLoop, home: Path, seed: int) -> None:
        text = f"loop/{seed}"
        self.loop, self.rng = loop, random.Random(text)
        self.weather = Weather(random.Random(f"{text}/weather"), self.rng.uniform(0.0, 0.3))
        self.app = _app(ground, home)
        self.devices = [Device(loop, name, text, self.weather, ground.wall_s) for name in ("left", "right")]
        self.app.devices = {device.name: device for device in self.devices}
        for device in self.devices:
            device.load(ground.blobs)
            if self.rng.random() < 0.3:
                device.bad.add(ground.releases[self.rng.randrange(1, 3)].slot)
        self.shipper = Shipper(loop, self.app, "shipper", text, ground.releases)
        first = ground.releases[0].digest
        self.measurers = [
            Measurer(loop, self.app, f"measurer-{n}", text, jobs=self.rng.randint(3, 6), digest=first)
            for n in (1, 2)
        ]
        self.controllers: list[Controller] = [self.shipper, *self.measurers]

    async def run(self) -> None:
        """Let everything go wrong for a while, then let it come to an end."""
        living = [asyncio.create_task(device.live()) for device in self.devices]
        working = [asyncio.create_task(one.live()) for one in self.controllers]
        jumping = asyncio.create_task(self._jump())
        await asyncio.sleep(_TROUBLED_S)
        jumping.cancel()
        self._calm_down()
        done, late = await asyncio.wait(working, timeout=_SETTLES_S)
        for device in self.devices:
            if late and (why := device.unsettled()):
                device.complaints.append(f"{device.name} does not come to an end: {why}")
        if late:
            self.devices[0].complaints.append(f"{len(late)} controllers do not come to an end")
        self.devices[0].complaints += [
            f"a controller broke: {error!r}" for task in done if (error := task.exception())
        ]
        await self._once_more()
        for task in living:
            task.cancel()

    def _calm_down(self) -> None:
        self.weather.trouble = 0.0
        for device in self.devices:
            device.calm = True
            device.clock.jump(-device.jumped_s)
            device.fs._faults.clear()
        for one in self.controllers:
            one.calm = True
        self.shipper.repair()

    async def _jump(self) -> None:
        """Let a clock be wrong for a while, by seconds or by years."""
        while True:
            await asyncio.sleep(self.rng.uniform(10.0, 200.0))
            device = self.rng.choice(self.devices)
            seconds = self.rng.choice((-10 * _YEAR_S, -3600.0, -1.0, 1.0, 3600.0, 10 * _YEAR_S))
            device.jump(seconds)
            await asyncio.sleep(self.rng.uniform(1.0, 60.0))
            device.jump(-seconds)

    async def _once_more(self) -> None:
        """Cut the power of what has settled: all of it has to be on the disk."""
        for device in self.devices:
            device.restart(power=True)
        for _ in range(200):
            await asyncio.sleep(0.5)
            if not any(device.unsettled() for device in self.devices):
                return
        self.devices[0].complaints.append("what had settled is unsettled after a power cut")

    # What must hold at the end

    def judge(self, home: Path) -> list[str]:
        """Return everything that did not hold."""
        found = [text for one in (*self.devices, *self.controllers) for text in one.complaints]
        rows = Counter(_rows(home / "records.sqlite"))
        for device in self.devices:
            found += self._records_of(device, rows)
            found += self._release_of(device)
        return found

    def _records_of(self, device: Device, rows: Counter[str]) -> Iterator[str]:
        for request_id, trials in device.endpoint.submitted.items():
            # One that was refused, or that a kill kept from the disk, has none.
            none = 0 if request_id in device.endpoint.accepted else trials
            if rows[request_id] != trials and rows[request_id] + none != trials:
                yield f"{device.name}: request {request_id} has {rows[request_id]} records of {trials}"

    def _release_of(self, device: Device) -> Iterator[str]:
        said = self.shipper.said.get(device.name)
        try:
            serving = device.serving()
        except EdgeloopError as error:
            yield f"{device.name}: half-installed: {error}"
            return
        if said is not None and serving != said:
            yield f"{device.name} serves {serving[:9]!r}, the rollout says {said[:9]!r}"
        files = SlotFiles(device.fs, STATE / "deployments")
        with contextlib.suppress(EdgeloopError):
            state = files.record(NAME).state
            if state not in OVER:
                yield f"{device.name} rests in {state.value}"

    def counts(self) -> Counter[str]:
        """Return how often everything happened."""
        found: Counter[str] = Counter()
        for one in (*self.devices, *self.controllers):
            found.update(one.counts)
        found.update({f"calls {fate}": count for fate, count in self.weather.counts.items()})
        found["jobs accepted"] = sum(len(device.endpoint.accepted) for device in self.devices)
        return found


def _rows(path: Path) -> Iterator[str]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for (record,) in connection.execute("select record from runs"):
            yield json.loads(record)["request_id"]


def _app(ground: Ground, home: Path) -> SimulatedApp:
    app = SimulatedApp.open(home)
    for number, (manifest, files) in enumerate(ground.artifacts):
        paths = {}
        for name, data in files.items():
            paths[name] = home / f"{number}-{name}"
            paths[name].write_bytes(data)
        app.artifacts.put(manifest, paths)
    return app  # type: ignore[return-value]


def simulate(ground: Ground, home: Path, seed: int) -> Outcome:
    """Run one seed in an empty directory.

    Raises:
        Stuck: everybody waits for something that cannot come.
    """
    logging.disable(logging.CRITICAL)
    loop = VirtualLoop(random.Random(f"loop/{seed}/threads"))
    with repeatable(loop, random.Random(f"loop/{seed}/identifiers")):
        asyncio.set_event_loop(loop)
        world = _World(ground, loop, home, seed)
        complaints: list[str] = []
        try:
            loop.run_until_complete(world.run())
        except Stuck as error:
            complaints.append(str(error))
        complaints += world.judge(home)
        loop.bury()
        world.app.close()
        outcome = Outcome(seed=seed, complaints=complaints, counts=world.counts(), duration_s=loop.time())
        asyncio.set_event_loop(None)
        loop.close()
    logging.disable(logging.NOTSET)
    return outcome
