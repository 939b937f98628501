"""Models in committed slots of a state directory, by the agent's own code; for the bench and the tests of serving."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from edgeloop_agent.sealed import seal
from edgeloop_agent.slots import Pointer, Slot, SlotRecord, Slots
from edgeloop_agent.store import ContentStore
from edgeloop_foundation.ports.fs import OsFileSystem, write_durably
from edgeloop_protocol.convert import to_canonical_json
from edgeloop_protocol.types.artifact import Artifact, FileEntry, TensorSpec, Tolerance
from edgeloop_protocol.types.deployment import NO_LIMITS, DeploymentState, ModelLimits
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Feeds = dict[str, NDArray[np.generic]]


def linear(
    weight: float = 1.0, *, features: int = 4, rows: str | int = "n", mixes: bool = False
) -> onnx.ModelProto:
    """Return y = weight * x, or weight * (x - mean over the batch), whose rows mix."""
    nodes = [helper.make_node("Mul", ["x", "w"], ["y"])]
    if mixes:
        nodes = [
            helper.make_node("ReduceMean", ["x"], ["m"], axes=[0], keepdims=1),
            helper.make_node("Sub", ["x", "m"], ["d"]),
            helper.make_node("Mul", ["d", "w"], ["y"]),
        ]
    shape = [rows, features]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.array(weight, np.float32), "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def convolutions(seed: int, *, side: int = 64, channels: int = 32, layers: int = 4) -> onnx.ModelProto:
    """Return an image classifier of random weights: RGB images of ``side`` pixels to ten numbers."""
    rng = np.random.default_rng(seed)
    nodes, weights, at, width = [], [], "x", 3
    for index in range(layers):
        scale = (width * 9) ** -0.5
        kernel = (rng.standard_normal((channels, width, 3, 3)) * scale).astype(np.float32)
        weights.append(numpy_helper.from_array(kernel, f"w{index}"))
        strides = [2, 2] if index == 0 else [1, 1]
        nodes.append(
            helper.make_node("Conv", [at, f"w{index}"], [f"c{index}"], pads=[1] * 4, strides=strides)
        )
        nodes.append(helper.make_node("Relu", [f"c{index}"], [f"r{index}"]))
        at, width = f"r{index}", channels
    head = (rng.standard_normal((channels, 10)) * channels**-0.5).astype(np.float32)
    weights.append(numpy_helper.from_array(head, "head"))
    nodes += [
        helper.make_node("GlobalAveragePool", [at], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "head"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "convolutions",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, side, side])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 10])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def layers(seed: int, *, width: int = 2048, count: int = 4) -> onnx.ModelProto:
    """Return a network of full layers, whose weights cost more to read than to multiply: what batches are made for."""
    rng = np.random.default_rng(seed)
    nodes, weights, at = [], [], "x"
    for index in range(count):
        matrix = (rng.standard_normal((width, width)) * (2 / width) ** 0.5).astype(np.float32)
        weights.append(numpy_helper.from_array(matrix, f"w{index}"))
        nodes.append(helper.make_node("MatMul", [at, f"w{index}"], [f"m{index}"]))
        nodes.append(helper.make_node("Relu", [f"m{index}"], ["y" if index == count - 1 else f"r{index}"]))
        at = f"r{index}"
    graph = helper.make_graph(
        nodes,
        "layers",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", width])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def random_feeds(model: onnx.ModelProto, rows: int, seed: int = 0) -> Feeds:
    """Return inputs of ``rows`` rows."""
    rng = np.random.default_rng(seed)
    return {
        spec.name: rng.standard_normal([rows if size == -1 else size for size in spec.shape]).astype(
            spec.dtype
        )
        for spec in specs(model.graph.input)
    }


def specs(values: object) -> tuple[TensorSpec, ...]:
    """Return the specifications of a graph's inputs or outputs."""
    found = []
    for value in values:  # type: ignore[attr-defined]
        tensor = value.type.tensor_type
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name
        shape = tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in tensor.shape.dim)
        found.append(TensorSpec(name=value.name, dtype=dtype, shape=shape))
    return tuple(found)


class SlotBoard:
    """The deployments below one state directory."""

    def __init__(self, state: Path) -> None:
        self.state = state
        fs = OsFileSystem()
        self._store = ContentStore(fs, state / "store", store_bytes=1 << 30, reserve_bytes=0)
        self._store.open()
        self.slots = Slots(fs, state / "deployments", self._store)

    def install(
        self,
        name: str,
        counter: int,
        model: onnx.ModelProto,
        *,
        items: int = 2,
        tolerance: Tolerance | None = None,
        limits: ModelLimits = NO_LIMITS,
    ) -> str:
        """Stage a model as a release and let it serve; return the name of its slot."""
        feeds = random_feeds(model, items)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        outputs = dict(zip(names, session.run(None, feeds), strict=True))
        pack = io.BytesIO()
        np.savez(
            pack,
            **{f"input/{key}": value for key, value in feeds.items()},
            **{f"host/{key}": value for key, value in outputs.items()},
        )
        files = [
            self._entry("golden.npz", pack.getvalue()),
            self._entry("model.onnx", model.SerializeToString()),
        ]
        artifact = Artifact(
            format="onnx",
            label=f"{name} {counter}",
            files=tuple(files),
            model_file="model.onnx",
            golden_file="golden.npz",
            source_digest="0" * 64,
            inputs=specs(model.graph.input),
            outputs=specs(model.graph.output),
            tolerances=(("original", tolerance),) if tolerance else (),
        )
        slot = Slot(counter=counter, digest=self._store.put(to_canonical_json(artifact))).text
        self.slots.stage(name, slot, artifact)
        before = self.slots.pointer(name)
        record = SlotRecord(name=name, state=DeploymentState.COMMITTED, slot=slot, before=before)
        self.slots.save(record.within(limits))
        pointer = Pointer(
            current=slot,
            current_limits=limits,
            previous=before.current,
            previous_limits=before.current_limits,
        )
        self.slots.point(name, pointer)
        return slot

    def back(self, name: str) -> None:
        """Let the version before serve again."""
        before = self.slots.pointer(name)
        pointer = Pointer(
            current=before.previous,
            current_limits=before.previous_limits,
            previous=before.current,
            previous_limits=before.current_limits,
        )
        self.slots.point(name, pointer)

    def point_blindly(self, name: str, slot: str) -> None:
        """Let a slot serve that nobody verified: what a spoilt disk amounts to."""
        pointer = Pointer(current=slot, previous=self.slots.pointer(name).current)
        path = self.state / "deployments" / name / "pointer.json"
        write_durably(OsFileSystem(), path, seal(to_canonical_json(pointer)))

    def _entry(self, name: str, data: bytes) -> FileEntry:
        self._store.put(data)
        return FileEntry(name=name, digest=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
