"""One job over the real wire, on this machine and on a simulated board: push, lease, run, samples, records."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from edgeloop.domain.device import DeviceSpec
from edgeloop.transport.base import connect
from edgeloop.transport.collect import run_job
from edgeloop_foundation.errors import BusyError
from edgeloop_protocol.convert import digest_of, from_json, to_canonical_json
from edgeloop_protocol.types.artifact import Artifact, FileEntry, Kernel, TensorSpec, Tolerance
from edgeloop_protocol.types.job import JobEvent, JobState
from edgeloop_protocol.types.run import Outcome, Run, Source, SpooledRun, Verdict
from edgeloop_protocol.types.trial import Benchmark, JobSpec, Trial
from onnx import TensorProto, helper, numpy_helper


class Store:
    """Artifacts in a directory."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def add(self, name: str, data: bytes) -> FileEntry:
        digest = hashlib.sha256(data).hexdigest()
        self.blob(digest).write_bytes(data)
        return FileEntry(name=name, digest=digest, size_bytes=len(data))

    def put(self, manifest: Artifact, files: Mapping[str, Path]) -> str:
        digest = digest_of(manifest)
        self.blob(digest).write_bytes(to_canonical_json(manifest))
        return digest

    def manifest(self, digest: str) -> Artifact:
        return from_json(self.blob(digest).read_bytes(), Artifact)

    def blob(self, digest: str) -> Path:
        return self._root / digest

    def directory(self, digest: str) -> Path:
        raise NotImplementedError

    def digests(self) -> list[str]:
        raise NotImplementedError


@pytest.fixture
def artifact(tmp_path: Path) -> tuple[Store, str]:
    rng = np.random.default_rng(0)
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
    x = rng.standard_normal((8, 64)).astype(np.float32)
    y = np.maximum(x @ weight, 0)
    pack = io.BytesIO()
    np.savez(pack, **{"input/x": x, "host/y": y, "original/y": y})
    (tmp_path / "blobs").mkdir()
    store = Store(tmp_path / "blobs")
    files = (store.add("golden.npz", pack.getvalue()), store.add("model.onnx", model.SerializeToString()))
    tolerance = Tolerance(name="fp32", absolute=1e-3, relative=1e-3, flip_rate_max=0.0)
    kernel = Kernel(
        name="h",
        kernel_class="matmul",
        op_type="MatMul",
        precision="fp32",
        macs=4096,
        input_bytes=256,
        weight_bytes=16384,
        output_bytes=256,
    )
    manifest = Artifact(
        format="onnx",
        label="small",
        files=files,
        model_file="model.onnx",
        golden_file="golden.npz",
        source_digest=files[1].digest,
        opsets=(("", 17),),
        inputs=(TensorSpec(name="x", dtype="float32", shape=(1, 64)),),
        outputs=(TensorSpec(name="y", dtype="float32", shape=(1, 64)),),
        tolerances=(("host", tolerance), ("original", tolerance)),
        kernels=(kernel,),
        activation_peak_bytes=512,
        weight_bytes=16384,
    )
    return store, store.put(manifest, {})


async def loop(
    device: str, home: Path, artifact: tuple[Store, str], seed: int = 0
) -> tuple[tuple[Run, ...], dict[str, bytes], list[JobEvent]]:
    """Run one job of two trials and return its records, its raw samples and its events."""
    store, digest = artifact
    rows: dict[tuple[str, int], Run] = {}
    samples: dict[str, bytes] = {}
    events: list[JobEvent] = []

    async def ingest(spooled: SpooledRun) -> bool:
        timing = spooled.run.timing
        assert timing is None or not timing.samples_digest or timing.samples_digest in samples
        rows[spooled.epoch, spooled.sequence] = spooled.run
        return True

    async def keep(name: str, data: bytes) -> None:
        samples[name] = data

    async with connect(DeviceSpec.parse(device), home, seed) as client:
        await client.push_artifact(digest, store)
        async with client.lease("first") as lease:
            with pytest.raises(BusyError, match="first"):
                async with client.lease("second"):
                    pytest.fail("two holders at once")
            spec = JobSpec(
                request_id="8a1c2c86-6f3c-4b6e-9d51-6f0f0e3b6a01",
                lease_id=lease.lease_id,
                fencing_token=lease.fencing_token,
                trials=tuple(Trial(trial_id=t, label=t, artifact_digest=digest) for t in ("a", "b")),
                benchmark=Benchmark(
                    rounds=2,
                    warmup_count_min=2,
                    warmup_s_min=0.01,
                    warmup_s_max=0.1,
                    steady_s_max=0.3,
                    batch_s=0.02,
                    seed=seed,
                    measure_memory=False,
                    measure_nodes=False,
                ),
                deadline_s=60.0,
            )
            runs = await run_job(client, spec, ingest, on_event=events.append, store_samples=keep)
            assert [e async for e in client.fetch()] == []
        assert await client.list_leases() == ()
        again = await client.push_artifact(digest, store)
        assert again.sent_bytes == 0
    assert sorted(rows.values(), key=lambda run: run.trial.trial_id) == list(runs)
    return runs, samples, events


@pytest.mark.parametrize(
    ("device", "source"),
    [("desk=local", Source.MEASURED), ("pi=sim:raspberry_pi_5", Source.SIMULATED)],
)
async def test_a_job_brings_measured_or_simulated_records(
    device: str, source: Source, tmp_path: Path, artifact: tuple[Store, str]
) -> None:
    runs, samples, events = await loop(device, tmp_path, artifact)
    assert [run.trial.trial_id for run in runs] == ["a", "b"]
    for run in runs:
        assert (run.source, run.outcome) == (source, Outcome.SUCCESS), run.failure_reason
        assert run.timing is not None
        assert run.timing.steady is not None
        counted = sum(block.sample_count for block in run.timing.blocks)
        raw = np.frombuffer(samples[run.timing.samples_digest], "<i8")
        assert len(raw) == counted
        assert np.median(raw) / 1e9 == pytest.approx(run.timing.steady.p50.value, rel=0.05)
        assert run.parity is not None
        assert [c.verdict for c in run.parity.comparisons] == [Verdict.PASSED] * 2
    assert [e.sequence for e in events] == list(range(1, len(events) + 1))
    assert events[-1].state is JobState.SUCCEEDED


async def test_one_seed_gives_one_result_and_another_seed_another(
    tmp_path: Path, artifact: tuple[Store, str]
) -> None:
    taken = []
    for number, seed in enumerate((1, 1, 2)):
        _, samples, _ = await loop("pi=sim:raspberry_pi_5", tmp_path / str(number), artifact, seed)
        taken.append(samples)
    assert taken[0] == taken[1]
    assert taken[0] != taken[2]
