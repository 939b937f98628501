"""One update and one rollback on a disk that loses power: every state it may leave, recovered and looked at."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

from edgeloop_agent.deployments import Accepted, Deployments
from edgeloop_agent.slots import Slot, SlotRecord, Slots
from edgeloop_agent.store import ContentStore
from edgeloop_agent.trust_files import Counter, TrustedMetadata, TrustFiles, TrustFloor, TrustState
from edgeloop_agent.workspace import Workspace
from edgeloop_foundation.ports.simulated_fs import SimulatedFileSystem
from edgeloop_protocol.convert import to_canonical_json
from edgeloop_protocol.types.artifact import Artifact, FileEntry
from edgeloop_protocol.types.deployment import OVER, DeploymentState, ReleaseBundle, ReleaseTerms
from edgeloop_protocol.types.facts import Facts, Hardware, OperatingSystem, RuntimeFacts

STATE = Path("/state")
BUNDLE = ReleaseBundle(roots=("r",), timestamp="t", snapshot="s", targets="t")
FACTS = Facts(
    device_id="d" * 32,
    name="board",
    hardware=Hardware(architecture="x86_64", logical_cores=2, memory_total_bytes=1 << 30),
    operating_system=OperatingSystem(name="Test", kernel="6", python_version="3.11"),
    boot_id="boot-1",
    runtimes=(RuntimeFacts(name="onnxruntime", version="1.20.0", formats=("onnx",)),),
)


class Device:
    """The deployments of one device on a disk; signatures and runner are not what is looked at here."""

    def __init__(self, fs: SimulatedFileSystem, *, healthy: bool = True) -> None:
        self.store = ContentStore(fs, STATE / "store", store_bytes=1 << 30, reserve_bytes=0)
        self.store.open()
        self.slots = Slots(fs, STATE / "deployments", self.store)
        self.workspace = Workspace(fs, STATE / "work", self.store)
        self.healthy, self.probed, self.releases = healthy, 0, {}
        self.deployments = Deployments(
            self.slots, self._accept, self.workspace.read_manifest, self._facts, self._probe
        )

    async def _accept(self, name: str, bundle: ReleaseBundle) -> Accepted:
        return self.releases[name]

    async def _facts(self) -> Facts:
        return FACTS

    async def _probe(self, record: SlotRecord, directory: Path, artifact: Artifact) -> str:
        self.slots.verify(record.name, record.slot)
        self.probed += 1
        # The first probe is before the switch, the second one on trial.
        if self.probed > 1 and not self.healthy:
            from edgeloop_foundation.errors import StateError

            raise StateError("it is not healthy.")
        return "probed"

    def release(self, counter: int, content: bytes) -> str:
        """Put an artifact into the store and sign it, so to speak; return the name of its slot."""
        files = []
        for name, data in (("golden.npz", b"golden" + content), ("model.onnx", content)):
            self.store.put(data)
            files.append(FileEntry(name=name, digest=hashlib.sha256(data).hexdigest(), size_bytes=len(data)))
        artifact = Artifact(
            format="onnx",
            label="m",
            files=tuple(files),
            model_file="model.onnx",
            golden_file="golden.npz",
            source_digest="0" * 64,
        )
        digest = self.store.put(to_canonical_json(artifact))
        terms = ReleaseTerms(
            counter=counter, format="onnx", files=artifact.files, golden_digest=files[0].digest
        )
        self.releases["demo"] = Accepted(digest=digest, terms=terms)
        return Slot(counter=counter, digest=digest).text

    async def deploy(self) -> DeploymentState:
        """Deploy what was released last and wait for its end."""
        self.probed = 0
        status = await self.deployments.deploy("demo", BUNDLE, 0.0)
        while status.state not in OVER:
            await asyncio.sleep(0.001)
            status = self.deployments.status("demo")
        while self.deployments.active:  # noqa: ASYNC110 - the sweep after the last state
            await asyncio.sleep(0.001)
        return status.state


async def _old(seed: int) -> tuple[SimulatedFileSystem, Device, str]:
    fs = SimulatedFileSystem()
    device = Device(fs)
    old = device.release(1, random.Random(seed).randbytes(40))
    await device.deploy()
    fs.settle()
    return fs, device, old


async def _histories(seed: int) -> list[tuple[SimulatedFileSystem, set[str]]]:
    draw = random.Random(f"new/{seed}")
    fs, device, old = await _old(seed)
    new = device.release(2, draw.randbytes(draw.randint(1, 64)))
    fs.settle()
    device.healthy = bool(seed % 3)
    await device.deploy()
    found = [(fs, {old, new})]
    fs, device, old = await _old(seed)
    new = device.release(2, draw.randbytes(draw.randint(1, 64)))
    await device.deploy()
    fs.settle()
    await device.deployments.rollback("demo")
    return [*found, (fs, {old, new})]


def _complaint(fs: SimulatedFileSystem, allowed: set[str]) -> str:
    """Return what is wrong with a disk after recovery; empty when nothing is."""
    device = Device(fs)
    device.deployments.open()
    current = device.slots.pointer("demo").current
    if current not in allowed:
        return f"it serves {current!r}"
    device.slots.verify("demo", current)
    state = device.slots.record("demo").state
    return "" if state in OVER or state is DeploymentState.TRIAL else f"it rests in {state.value}"


def install_crashes(seed: int, *, again: bool = False) -> Iterator[str]:
    """Yield one complaint, empty for none, per state that a power cut in an update or a rollback may leave.

    With ``again`` the power also goes while each of them is recovered.
    """
    for fs, allowed in asyncio.run(_histories(seed)):
        for left in fs.crash_states():
            yield _complaint(left, allowed)
            if again:
                for twice in left.crash_states():
                    yield _complaint(twice, allowed)


def trust_crashes(seed: int) -> Iterator[str]:
    """Yield one complaint per state that a power cut while a trust state is written may leave."""
    draw = random.Random(f"trust/{seed}")
    states = [
        TrustState(
            floor=TrustFloor(
                root_version=n + 1,
                time_floor_s=draw.randint(1, 9) + 10 * n,
                counters=(Counter(name="demo", counter=n + 1, digest=f"{n:064x}"),) if n else (),
            ),
            metadata=TrustedMetadata(root="r" * draw.randint(1, 99), timestamp=f"t{n}" if n else ""),
        )
        for n in range(3)
    ]
    for before, after in ((None, states[0]), (states[0], states[1]), (states[1], states[2])):
        fs = SimulatedFileSystem()
        if before is not None:
            TrustFiles(fs, STATE / "releases").write(before)
        fs.settle()
        TrustFiles(fs, STATE / "releases").write(after)
        # The floor may be the newer one already, never an older one; the metadata is one of the two.
        for left in fs.crash_states():
            found = TrustFiles(left, STATE / "releases").read()
            if found is None:
                yield "" if before is None else "the device believes that it is new"
            elif found.metadata not in [s.metadata for s in (before, after) if s is not None]:
                yield "metadata that nobody wrote"
            elif found.floor not in [s.floor for s in (before, after) if s is not None]:
                yield "a floor that nobody wrote"
            else:
                yield ""
