"""Tiny models as artifacts on disk, and jobs over them on this machine with real runner processes."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = os.environ["ORT_TELEMETRY_DISABLED"] = "1"

import numpy as np
import onnxruntime
import pytest
from edgeloop_agent.board import RealBoard
from edgeloop_agent.execution import ExecutionContext, Progress, StopSignal
from edgeloop_agent.isolation_policy import IsolationPolicy
from edgeloop_agent.kept_runtimes import FILE
from edgeloop_agent.runner_unit import RunnerUnit
from edgeloop_foundation.ports.clock import SystemClock
from edgeloop_foundation.ports.process import ProcessPort, SystemProcesses
from edgeloop_protocol.convert import digest_of, to_canonical_json
from edgeloop_protocol.types.artifact import Artifact, FileEntry, StateBinding, TensorSpec, Tolerance
from edgeloop_protocol.types.trial import Benchmark, JobSpec, Trial
from onnx import TensorProto, helper, numpy_helper

from tests.device_agent.runner.tflite_models import tflite_classifier

Arrays = dict[str, Any]

EXACT = Tolerance(name="fp32", absolute=1e-5, relative=1e-5, flip_rate_max=0.01)


def tensor(name: str, shape: Sequence[Any], kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, list(shape))


def model_bytes(
    nodes: Sequence[Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    constants: Mapping[str, Any] | None = None,
    opset: int = 17,
    domains: Sequence[str] = (),
    ir_version: int = 8,
) -> bytes:
    weights = [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    graph = helper.make_graph(list(nodes), "g", list(inputs), list(outputs), initializer=weights)
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    model = helper.make_model(graph, opset_imports=opsets)
    model.ir_version = ir_version
    return bytes(model.SerializeToString())


def mlp_bytes(width: int = 16, classes: int = 4, seed: int = 0) -> bytes:
    rng = np.random.default_rng(seed)
    constants = {
        "w1": rng.standard_normal((width, width)).astype(np.float32),
        "w2": rng.standard_normal((width, classes)).astype(np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("MatMul", ["b", "w2"], ["c"], name="second"),
        helper.make_node("Softmax", ["c"], ["y"], name="softmax"),
    ]
    return model_bytes(nodes, [tensor("x", ["n", width])], [tensor("y", ["n", classes])], constants)


def run_model(data: bytes, feed: Arrays) -> Arrays:
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feed), strict=True))


@dataclass
class Workshop:
    """Builds artifacts below a directory."""

    root: Path

    def artifact(self, data: bytes, golden: Arrays, inputs: Sequence[TensorSpec], **fields: Any) -> Artifact:
        number = len(list(self.root.iterdir()))
        scratch = self.root / f"building{number}"
        scratch.mkdir()
        kind = fields.pop("format", "onnx")
        (scratch / f"model.{kind}").write_bytes(data)
        np.savez(scratch / "golden.npz", **golden)
        files = tuple(
            FileEntry(
                name=path.name,
                digest=hashlib.sha256(path.read_bytes()).hexdigest(),
                size_bytes=path.stat().st_size,
            )
            for path in sorted(scratch.iterdir())
        )
        artifact = Artifact(
            format=kind,
            label=fields.pop("label", "tiny"),
            files=files,
            model_file=f"model.{kind}",
            golden_file="golden.npz",
            source_digest="0" * 64,
            inputs=tuple(inputs),
            **fields,
        )
        (scratch / "manifest.json").write_bytes(to_canonical_json(artifact))
        if self.directory(artifact).exists():
            shutil.rmtree(scratch)
        else:
            scratch.rename(self.directory(artifact))
        return artifact

    def directory(self, artifact: Artifact) -> Path:
        return self.root / digest_of(artifact)

    def mlp(self, items: int = 12, seed: int = 0, width: int = 16, **changes: Any) -> Artifact:
        """A classifier whose golden outputs come from this machine; ``disturb`` changes the expected ones."""
        data = mlp_bytes(width, seed=seed)
        x = np.random.default_rng(7).standard_normal((items, width)).astype(np.float32)
        expected = run_model(data, {"x": x})["y"]
        if changes.get("format") == "tflite":
            data = tflite_classifier(data)
        disturb: Callable[[Any], Any] = changes.pop("disturb", lambda values: values)
        fields = {
            "decision_output": "y",
            "decision_rule": "argmax",
            "tolerances": (("host", EXACT), ("original", EXACT)),
            **changes,
        }
        return self.artifact(
            data,
            {"input/x": x, "host/y": disturb(expected.copy()), "original/y": expected},
            [TensorSpec(name="x", dtype="float32", shape=(-1, width))],
            **fields,
        )

    def hostile(self, data: bytes, **fields: Any) -> Artifact:
        """An artifact around any model with the input ``x`` of shape [1]."""
        golden = {"input/x": np.zeros((1, 1), np.float32), "host/y": np.zeros((1, 1), np.float32)}
        spec = TensorSpec(name="x", dtype="float32", shape=(1,))
        return self.artifact(data, golden, [spec], tolerances=(("host", EXACT),), **fields)

    def counter(self, items: int = 3, steps: int = 5) -> Artifact:
        """A model with state: y = x + s and s' = 2 s + x, so that a lost state shows at once."""
        two = {"two": np.array([2.0], np.float32)}
        nodes = [
            helper.make_node("Add", ["x", "s"], ["y"]),
            helper.make_node("Mul", ["s", "two"], ["d"]),
            helper.make_node("Add", ["d", "x"], ["t"]),
        ]
        shapes = [tensor(name, [1, 2]) for name in ("x", "s", "y", "t")]
        data = model_bytes(nodes, shapes[:2], shapes[2:], two)
        x = np.random.default_rng(3).standard_normal((items, steps, 2)).astype(np.float32)
        expected = np.zeros_like(x)
        for item in range(items):
            state = np.zeros(2, np.float32)
            for step in range(steps):
                expected[item, step] = x[item, step] + state
                state = 2 * state + x[item, step]
        inputs = [TensorSpec(name=name, dtype="float32", shape=(1, 2)) for name in ("x", "s")]
        return self.artifact(
            data,
            {"input/x": x, "host/y": expected},
            inputs,
            state=(StateBinding(input="s", output="t"),),
            tolerances=(("host", EXACT),),
        )


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    root = tmp_path / "artifacts"
    root.mkdir()
    return Workshop(root)


QUICK = Benchmark(
    rounds=2,
    warmup_s_min=0.01,
    warmup_s_max=0.1,
    sample_count_min=64,
    steady_s_max=0.2,
    batch_s=0.02,
    measure_memory=False,
    measure_nodes=False,
    check_parity=False,
)
"""A benchmark of a fraction of a second."""


@dataclass
class Bench:
    """Runs jobs on a board of this machine."""

    state_directory: Path
    workshop: Workshop
    processes: ProcessPort = field(default_factory=SystemProcesses)
    blobs: dict[str, bytes] = field(default_factory=dict)
    steps: list[Progress] = field(default_factory=list)
    stop: StopSignal | None = None
    isolation: IsolationPolicy = field(default_factory=IsolationPolicy)
    unit: RunnerUnit | None = None
    _seen: dict[str, asyncio.Event] = field(default_factory=dict)

    @property
    def board(self) -> RealBoard:
        return RealBoard(
            self.state_directory, "bench", self.processes, isolation=self.isolation, unit=self.unit
        )

    def context(self, *artifacts: Artifact, benchmark: Benchmark = QUICK, **spec: Any) -> ExecutionContext:
        trials = tuple(
            Trial(trial_id=f"t{index}", label=artifact.label, artifact_digest=digest_of(artifact))
            for index, artifact in enumerate(artifacts)
        )
        self.stop = self.stop or StopSignal()
        return ExecutionContext(
            board=self.board,
            spec=JobSpec(
                request_id="r", lease_id="l", fencing_token=1, trials=trials, benchmark=benchmark, **spec
            ),
            job_id="job",
            device_id="device",
            device_name="bench",
            boot_id="boot",
            agent_version="0",
            directories={digest_of(artifact): self.workshop.directory(artifact) for artifact in artifacts},
            store_blob=self._store,
            report=self._report,
            stop=self.stop,
            wall_clock=SystemClock(),
        )

    def _report(self, step: Progress) -> None:
        self.steps.append(step)
        self._seen.setdefault(step.phase, asyncio.Event()).set()

    async def phase(self, name: str) -> None:
        """Wait until the job has reported this phase."""
        await self._seen.setdefault(name, asyncio.Event()).wait()

    async def _store(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        self.blobs[digest] = data
        return digest


@pytest.fixture(scope="session")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the runtimes of this machine said, asked once for all benches."""
    state = tmp_path_factory.mktemp("told")
    asyncio.run(RealBoard(state, "bench", SystemProcesses()).facts())
    return state / FILE


@pytest.fixture
def bench(tmp_path: Path, workshop: Workshop, told: Path) -> Bench:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    shutil.copy(told, state)
    return Bench(state, workshop)


@pytest.fixture
def quick() -> Benchmark:
    return QUICK


@pytest.fixture
def make_model() -> Callable[..., bytes]:
    return model_bytes
