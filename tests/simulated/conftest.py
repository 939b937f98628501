"""A small artifact with a kernel table, large enough that its upload takes several frames."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from edgeloop.store.artifacts import ArtifactDirectory
from edgeloop_protocol.types.artifact import Artifact, FileEntry, Kernel, TensorSpec, Tolerance
from onnx import TensorProto, helper, numpy_helper

WIDTH = 256


@pytest.fixture
def network(tmp_path: Path) -> tuple[ArtifactDirectory, str]:
    """Return a store with one artifact and the artifact's digest."""
    root = tmp_path / "network"
    root.mkdir()
    rng = np.random.default_rng(0)
    weight = (rng.standard_normal((WIDTH, WIDTH)) / 16).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])],
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, WIDTH])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    x = rng.standard_normal((8, WIDTH)).astype(np.float32)
    y = np.maximum(x @ weight, 0)
    pack = io.BytesIO()
    np.savez(pack, **{"input/x": x, "host/y": y, "original/y": y})
    contents = {"golden.npz": pack.getvalue(), "model.onnx": model.SerializeToString()}
    store = ArtifactDirectory(root / "artifacts")
    paths = {}
    for name, data in contents.items():
        paths[name] = root / name
        paths[name].write_bytes(data)
    tolerance = Tolerance(name="fp32", absolute=1e-3, relative=1e-3, flip_rate_max=0.0)
    manifest = Artifact(
        format="onnx",
        label="small",
        files=tuple(
            FileEntry(name=name, digest=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
            for name, data in contents.items()
        ),
        model_file="model.onnx",
        golden_file="golden.npz",
        source_digest="0" * 64,
        opsets=(("", 17),),
        inputs=(TensorSpec(name="x", dtype="float32", shape=(1, WIDTH)),),
        outputs=(TensorSpec(name="y", dtype="float32", shape=(1, WIDTH)),),
        tolerances=(("host", tolerance), ("original", tolerance)),
        kernels=(
            Kernel(
                name="h",
                kernel_class="matmul",
                op_type="MatMul",
                precision="fp32",
                macs=WIDTH * WIDTH,
                input_bytes=4 * WIDTH,
                weight_bytes=4 * WIDTH * WIDTH,
                output_bytes=4 * WIDTH,
            ),
        ),
        activation_peak_bytes=8 * WIDTH,
        weight_bytes=4 * WIDTH * WIDTH,
    )
    return store, store.put(manifest, paths)
