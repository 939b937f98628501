"""An ONNX file made plain before a converter reads it: no free batch, no shape arithmetic, outputs in their own layout.

Converters handle few of the operators that exporters write around a shape, and those that work channels last
may hand an output over in that order. Both are cured on a copy: the original is only read.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_foundation.errors import InvalidInputError

if TYPE_CHECKING:
    import onnx

__all__ = ["simplify"]

_SPATIAL_RANK_MIN = 3


def simplify(model: Path, target: Path) -> None:
    """Write an equal model: batch 1 where the batch is free, constants folded, no layout left to the converter.

    Inputs and outputs keep their names, order and element types, and their shapes up to the batch.

    Args:
        model: ONNX file, with weights inside or beside it; only read.
        target: file to write, weights inside.

    Raises:
        InvalidInputError: the model cannot be read or held in one file; the reason in one sentence.
    """
    import onnx
    from google.protobuf.message import DecodeError, EncodeError

    draft = target.with_name(f"{target.stem}-draft.onnx")
    try:
        loaded = onnx.load(model)
        _fix_batch(loaded)
        onnx.save(loaded, draft)
        shapes = _fold(draft, target)
        folded = onnx.load(target)
        _drop_unused_domains(folded)
        _pin_layouts(folded, shapes)
        onnx.save(folded, target)
    except (DecodeError, EncodeError, ValueError, OSError) as error:
        raise InvalidInputError(f"{model.name} cannot be simplified: {_sentence(error)}.") from error
    finally:
        draft.unlink(missing_ok=True)


def _fix_batch(model: onnx.ModelProto) -> None:
    """Give a free first axis of an input the size 1; what follows from it is inferred again."""
    weights = {tensor.name for tensor in model.graph.initializer}
    free = False
    for value in model.graph.input:
        axes = value.type.tensor_type.shape.dim
        if value.name in weights or not axes or axes[0].WhichOneof("value") == "dim_value":
            continue
        axes[0].dim_value = 1
        free = True
    if free:
        del model.graph.value_info[:]
        for value in model.graph.output:
            value.type.tensor_type.ClearField("shape")


def _fold(source: Path, target: Path) -> dict[str, tuple[int, ...]]:
    """Let onnxruntime fold what is constant, into standard operators; return the fixed shapes of the outputs."""
    os.environ["ORT_DISABLE_TELEMETRY"] = os.environ["ORT_TELEMETRY_DISABLED"] = "1"
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    try:
        session = ort.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own errors share no other base
        raise ValueError(_sentence(error)) from error
    return {
        output.name: tuple(output.shape)
        for output in session.get_outputs()
        if output.shape and all(isinstance(size, int) and size > 0 for size in output.shape)
    }


def _drop_unused_domains(model: onnx.ModelProto) -> None:
    """onnxruntime declares every domain it knows, and a reader that checks them knows fewer."""
    used = {"", *_domains(model.graph), *(domain for f in model.functions for domain in _domains(f))}
    kept = [entry for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)


def _domains(graph: Any) -> set[str]:
    found = set()
    for node in graph.node:
        found.add(node.domain)
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                found |= _domains(inner)
    return found


def _pin_layouts(model: onnx.ModelProto, shapes: dict[str, tuple[int, ...]]) -> None:
    """Put a Reshape to its own shape behind every output that has channels.

    It changes nothing, and a converter that works channels last has to restore the order before it. Comparing
    shapes afterwards would not do: with as many channels as rows, the wrong order has the right shape.
    Whoever else reads the output reads it behind the Reshape: onnx2tf takes it out again and forgets other readers
    of what lies before it.
    """
    import numpy as np
    from onnx import helper, numpy_helper

    graph = model.graph
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    made = {name for node in graph.node for name in node.output}
    for output in graph.output:
        name, shape = output.name, shapes.get(output.name, ())
        if len(shape) < _SPATIAL_RANK_MIN or name not in made:
            continue
        inner, size = _unused(f"{name}_unpinned", taken), _unused(f"{name}_shape", taken)
        graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), size))
        pinned = helper.make_node("Reshape", [inner, size], [name], name=_unused(f"{name}_pinned", taken))
        place = next(index for index, node in enumerate(graph.node) if name in node.output)
        maker = graph.node[place].output
        maker[list(maker).index(name)] = inner
        graph.node.insert(place + 1, pinned)


def _unused(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")[:300]
