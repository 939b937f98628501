"""Models that do harm, and how to pack one as an artifact; for the scripts beside this file."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from edgeloop.store.artifacts import ArtifactDirectory
from edgeloop_protocol.types.artifact import Artifact, FileEntry, TensorSpec
from edgeloop_protocol.types.run import FailureKind, Outcome
from onnx import TensorProto, helper, numpy_helper

X = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])


@dataclass(frozen=True)
class Hostile:
    name: str
    data: bytes
    expected: frozenset[tuple[Outcome, FailureKind]]
    format: str = "onnx"
    runtime: str = "onnxruntime"


def allocation_bomb() -> bytes:
    """A few bytes that ask for 64 GiB."""
    size = helper.make_tensor("s", TensorProto.INT64, [1], [1 << 34])
    graph = helper.make_graph(
        [helper.make_node("ConstantOfShape", ["s"], ["y"])], "g", [X],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], [size],
    )  # fmt: skip
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()


def endless_loop(start: str) -> bytes:
    """A Loop whose condition stays true; from the constant "v" it hangs at load, from the input "x" at inference."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Identity", ["p"], ["q"])], "b",
        [value("i", TensorProto.INT64, []), value("c", TensorProto.BOOL, []), value("p", TensorProto.FLOAT, [1])],
        [value("d", TensorProto.BOOL, []), value("q", TensorProto.FLOAT, [1])],
    )  # fmt: skip
    constants = [
        numpy_helper.from_array(np.array(True), "t"),
        numpy_helper.from_array(np.zeros(1, np.float32), "v"),
    ]
    graph = helper.make_graph(
        [helper.make_node("Loop", ["", "t", start], ["y"], body=body)], "g", [X],
        [value("y", TensorProto.FLOAT, [1])], constants,
    )  # fmt: skip
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()


def seal(store: ArtifactDirectory, root: Path, hostile: Hostile) -> str:
    pack = io.BytesIO()
    np.savez(pack, **{"input/x": np.zeros((4, 1), np.float32)})
    paths: Mapping[str, Path] = {name: root / name for name in (f"model.{hostile.format}", "golden.npz")}
    entries = []
    for (name, path), data in zip(paths.items(), (hostile.data, pack.getvalue()), strict=True):
        path.write_bytes(data)
        entries.append(FileEntry(name=name, digest=hashlib.sha256(data).hexdigest(), size_bytes=len(data)))
    inputs = (TensorSpec(name="x", dtype="float32", shape=(1,)),)
    manifest = Artifact(
        format=hostile.format, label=hostile.name, files=tuple(sorted(entries, key=lambda e: e.name)),
        model_file=f"model.{hostile.format}", golden_file="golden.npz", source_digest=entries[0].digest, inputs=inputs,
    )  # fmt: skip
    return store.put(manifest, paths)
