"""What the kills are tried on: signed releases of three versions, and devices that have none, one or two of them."""

from __future__ import annotations

import asyncio
import hashlib
import io
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from edgeloop.app import App
from edgeloop.domain.device import DeviceSpec
from edgeloop.orchestrate.deploy import bring
from edgeloop.orchestrate.measure import OpenDevice
from edgeloop.release.repository import Repository
from edgeloop.transport.base import connect
from edgeloop_foundation.errors import StateError
from edgeloop_protocol.types.artifact import Artifact, FileEntry, TensorSpec, Tolerance
from edgeloop_protocol.types.deployment import OVER, ReleaseBundle, ReleaseTerms
from edgeloop_protocol.types.job import TERMINAL
from edgeloop_protocol.types.trial import Benchmark, JobSpec, Trial
from onnx import TensorProto, helper, numpy_helper

NAME = "demo"


@dataclass(kw_only=True)
class World:
    """The controller's side; ``slots`` and ``bundles`` by version from 1."""

    home: Path
    app: App
    digests: dict[int, str] = field(default_factory=dict)
    slots: dict[int, str] = field(default_factory=dict)
    bundles: dict[int, ReleaseBundle] = field(default_factory=dict)
    #: Records that wait on every prepared device.
    waiting: dict[str, frozenset[str]] = field(default_factory=dict)

    @classmethod
    def make(cls, home: Path, version_count: int = 3) -> World:
        """Build the models and sign them."""
        world = cls(home=home, app=App.open(home / "controller"))
        releases = Repository(home / "release", home / "release" / "keys", "", time.time)
        releases.create()
        for version in range(1, version_count + 1):
            manifest, files = _model(home / f"model-{version}", version)
            digest = world.app.artifacts.put(manifest, files)
            golden = next(entry.digest for entry in manifest.files if entry.name == manifest.golden_file)
            terms = ReleaseTerms(
                counter=releases.next_counter(NAME),
                format="onnx",
                files=manifest.files,
                inputs=manifest.inputs,
                outputs=manifest.outputs,
                golden_digest=golden,
            )
            releases.sign(NAME, digest, world.app.artifacts.blob(digest).stat().st_size, terms)
            world.digests[version] = digest
            world.slots[version] = f"{terms.counter}-{digest}"
            world.bundles[version] = releases.bundle()
        return world

    def base(self, versions: int) -> Path:
        """Return the state of a device that has this many versions installed."""
        return self.home / f"base-{versions}"

    async def deploy(self, device: OpenDevice, version: int) -> None:
        """Bring a version to a device, as ``edgeloop deploy`` does; raises when it does not end committed."""
        status, _ = await bring(self.app, device, NAME, self.digests[version], self.bundles[version], 0.0)
        if status.state.value != "committed":
            from edgeloop_foundation.errors import StateError

            raise StateError(f"version {version} is {status.state.value}: {status.reason}")

    async def leave_records(self, device: OpenDevice) -> frozenset[str]:
        """Run a job and let its records wait on the device; return their identifiers."""
        client = device.client
        await client.push_artifact(self.digests[1], self.app.artifacts)
        async with client.lease("kills") as lease:
            job = await client.submit(job_spec(lease.lease_id, lease.fencing_token, self.digests[1]))
            async for event in client.watch(job.job_id):
                if event.state in TERMINAL:
                    break
        return frozenset([spooled.run.run_id async for spooled in client.fetch()])


@asynccontextmanager
async def opened(socket: Path, home: Path) -> AsyncIterator[OpenDevice]:
    """Open a connection of its own to the agent behind a socket."""
    spec = DeviceSpec(name="board", transport="grpc", address=f"unix:{socket}")
    transport = connect(spec, home)
    async with transport as client:
        yield OpenDevice(spec=spec, transport=transport, client=client, facts=await client.describe())


def job_spec(lease_id: str, token: int, digest: str) -> JobSpec:
    """Return a job of two short trials."""
    benchmark = Benchmark(
        rounds=1,
        warmup_count_min=2,
        warmup_s_min=0.01,
        warmup_s_max=0.1,
        sample_count_min=16,
        steady_s_max=0.1,
        batch_s=0.02,
        measure_memory=False,
        measure_nodes=False,
    )
    return JobSpec(
        request_id=str(uuid.uuid4()),
        lease_id=lease_id,
        fencing_token=token,
        trials=tuple(Trial(trial_id=name, label=name, artifact_digest=digest) for name in ("a", "b")),
        benchmark=benchmark,
        deadline_s=120.0,
        runner_deadline_s=30.0,
    )


def _model(directory: Path, seed: int) -> tuple[Artifact, dict[str, Path]]:
    """Write a small real model with its golden pack."""
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((64, 64)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])],
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 64])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    x = rng.standard_normal((4, 64)).astype(np.float32)
    y, pack = np.maximum(x @ weight, 0), io.BytesIO()
    np.savez(pack, **{"input/x": x, "host/y": y, "original/y": y})
    contents = {"golden.npz": pack.getvalue(), "model.onnx": model.SerializeToString()}
    directory.mkdir()
    entries = []
    for name, data in contents.items():
        (directory / name).write_bytes(data)
        entries.append(FileEntry(name=name, digest=hashlib.sha256(data).hexdigest(), size_bytes=len(data)))
    tolerance = Tolerance(name="fp32", absolute=1e-3, relative=1e-3, flip_rate_max=0.0)
    manifest = Artifact(
        format="onnx",
        label=f"small {seed}",
        files=tuple(entries),
        model_file="model.onnx",
        golden_file="golden.npz",
        source_digest=entries[1].digest,
        opsets=(("", 17),),
        inputs=(TensorSpec(name="x", dtype="float32", shape=(1, 64)),),
        outputs=(TensorSpec(name="y", dtype="float32", shape=(1, 64)),),
        tolerances=(("host", tolerance), ("original", tolerance)),
    )
    return manifest, {name: directory / name for name in contents}


async def at_rest(device: OpenDevice, rest_s: float) -> str:
    """Wait for the end of what a recovered agent goes on with; return the digest that serves, empty for none.

    Raises:
        StateError: it does not come to rest.
    """
    ends = time.monotonic() + rest_s
    while True:
        found = [one for one in await device.client.deployments.listing() if one.name == NAME]
        if not found:
            return ""
        if found[0].state in OVER:
            return found[0].current_digest
        if time.monotonic() > ends:
            raise StateError(f"it rests in {found[0].state.value}.")
        await asyncio.sleep(0.2)
