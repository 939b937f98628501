"""One form for every ONNX file before it is quantised: weights as initializers, a new enough operator set,
named nodes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeloop_foundation.errors import EdgeloopError, InternalError, UnsupportedError

from edgeloop.compress.compare import answers, inequivalence
from edgeloop.compress.graph import (
    attribute,
    graphs_in,
    load_model,
    opsets_of,
    prune_opset_imports,
    save_model,
)
from edgeloop.compress.runtime import first_line, open_session, session_options
from edgeloop.domain.dataset import Dataset
from edgeloop.domain.model import ModelDescription

__all__ = [
    "copy_of",
    "drop_unused",
    "fix_parameters",
    "flatten_biases",
    "hoist_constants",
    "name_nodes",
    "prepare",
    "upgrade",
]

_MIN_OPSET = 13
"""Quantisation per channel exists since operator set 13."""

_ASSERTION = re.compile(r"^\S+:\d+: \w+: Assertion `.*?` failed: ")
"""What the converter puts before its reason: a place in its own source."""

_MIN_IR = 7
"""Format version that came with operator set 13."""

_FREE_INITIALIZERS_IR = 4
"""From this format version on an initializer need not be an input."""


def prepare(
    source: Path,
    target: Path,
    model: ModelDescription,
    data: Dataset | None,
    note: Callable[[str], None],
    seed: int = 0,
) -> None:
    """Write ``source`` in the form that the quantisers understand, folded at level "basic", and verify it.

    Args:
        source: Any ONNX file.
        target: Where to write.
        model: Description of ``source``.
        data: Items to verify with; None for a synthetic input.
        note: Takes notes for people.
        seed: Seed of the synthetic input.

    Raises:
        UnsupportedError: the operator set cannot be upgraded.
        InternalError: what came out answers differently.
    """
    from onnx import inliner

    proto = load_model(source, external=True)
    if proto.functions:
        proto = inliner.inline_local_functions(proto)
    proto = upgrade(proto, model.name, note)
    for graph in graphs_in(proto):
        hoist_constants(graph)
    raw = target.with_suffix(".raw.onnx")
    save_model(proto, raw)
    folded = _folded(raw, target.with_suffix(".folded.onnx"))
    for graph in graphs_in(folded):
        hoist_constants(graph)
    name_nodes(folded)
    flatten_biases(folded.graph)
    drop_unused(folded)
    prune_opset_imports(folded)
    _mark_as_prepared(folded)
    folded = _with_shapes(folded, note)
    save_model(folded, target)
    _verify(source, target, model, data, note, seed)


def _folded(source: Path, target: Path) -> Any:
    options = session_options("basic", portable=True)
    options.optimized_model_filepath = str(target)
    open_session(source, options)
    return load_model(target, external=True)


def _with_shapes(proto: Any, note: Callable[[str], None]) -> Any:
    """Add the types and shapes of inner values; symbolic inference where sympy is there and copes with
    the graph."""
    import onnx

    try:
        from onnxruntime.tools.symbolic_shape_infer import SymbolicShapeInference

        inferred = SymbolicShapeInference.infer_shapes(proto, auto_merge=True, guess_output_rank=False)
        proto = inferred if inferred is not None else proto
    except Exception as error:  # it raises anything on graphs that it does not know
        note(f"symbolic shape inference was left out: {first_line(error)}")
    try:
        return onnx.shape_inference.infer_shapes(proto)
    except Exception as error:
        note(f"shape inference was left out: {first_line(error)}")
        return proto


def _verify(
    source: Path,
    target: Path,
    model: ModelDescription,
    data: Dataset | None,
    note: Callable[[str], None],
    seed: int,
) -> None:
    try:
        expected = answers(source, model, data, seed=seed, limit=2)
    except EdgeloopError as error:
        if data is not None:
            raise
        note(f"the prepared model was not compared with the original: {error.message}")
        return
    difference = inequivalence(answers(target, model, data, seed=seed, limit=2), expected)
    if difference:
        raise InternalError(f"preparing {model.name} for quantisation changed its answers: {difference}.")


def upgrade(proto: Any, name: str, note: Callable[[str], None]) -> Any:
    """Return the model with standard operator set 13 or newer.

    Raises:
        UnsupportedError: the converter does not know the way.
    """
    import onnx
    from onnx import version_converter

    found = dict(opsets_of(proto)).get("", 0)
    if found < _MIN_OPSET:
        try:
            proto = version_converter.convert_version(proto, _MIN_OPSET)
            onnx.checker.check_model(proto)
        except Exception as error:  # the converter raises whatever its C++ half does
            raise UnsupportedError(
                f"{name} has operator set {found}, which cannot be upgraded to {_MIN_OPSET}: "
                f"{_ASSERTION.sub('', first_line(error))}",
                next_step=f"Export the model again with operator set {_MIN_OPSET} to 21.",
            ) from error
        note(f"upgraded from operator set {found} to {_MIN_OPSET} to be quantised")
    proto.ir_version = max(int(proto.ir_version), _MIN_IR)
    fix_parameters(proto)
    return proto


def fix_parameters(proto: Any) -> bool:
    """Take initializers off the lists of inputs and return whether any was there.

    Old files list every initializer as an input that may be overridden; as such it cannot be folded, and
    a tool that
    folds it all the same leaves an input behind that nobody feeds.
    """
    found = False
    for graph in graphs_in(proto):
        given = {tensor.name for tensor in graph.initializer}
        kept = [copy_of(value) for value in graph.input if value.name not in given]
        if len(kept) != len(graph.input):
            found = True
            del graph.input[:]
            graph.input.extend(kept)
    if found:
        proto.ir_version = max(int(proto.ir_version), _FREE_INITIALIZERS_IR)
    return found


def hoist_constants(graph: Any) -> None:
    """Turn Constant nodes and sparse initializers of one graph into dense initializers."""
    import onnx

    kept = []
    for node in graph.node:
        tensor = (
            _constant_tensor(node) if node.op_type == "Constant" and node.domain in ("", "ai.onnx") else None
        )
        if tensor is None:
            kept.append(node)
            continue
        tensor.name = node.output[0]
        graph.initializer.append(tensor)
    for sparse in graph.sparse_initializer:
        graph.initializer.append(onnx.numpy_helper.from_array(_dense(sparse), sparse.values.name))
    del graph.sparse_initializer[:]
    if len(kept) != len(graph.node):
        copies = [copy_of(node) for node in kept]
        del graph.node[:]
        graph.node.extend(copies)


def flatten_biases(graph: Any) -> None:
    """Give every Gemm with constant weight and bias a bias of one value a column.

    The standard lets the bias broadcast in other ways; the static quantiser reads it as one-dimensional.
    """
    import numpy as np
    import onnx

    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if (
            node.op_type != "Gemm"
            or len(node.input) < 3
            or not {node.input[1], node.input[2]} <= set(constants)
        ):
            continue
        columns = constants[node.input[1]].dims[0 if attribute(node, "transB", 0) else 1]
        bias = onnx.numpy_helper.to_array(constants[node.input[2]])
        if bias.shape == (columns,) or (bias.ndim == 2 and bias.shape[0] != 1):
            continue
        flat = np.ascontiguousarray(np.broadcast_to(bias.reshape(-1), (columns,)))
        name = f"{node.output[0]}_bias"
        graph.initializer.append(onnx.numpy_helper.from_array(flat, name))
        node.input[2] = name


def _mark_as_prepared(proto: Any) -> None:
    """Say what quant_pre_process says, because the quantiser logs advice to the terminal without it."""
    entry = proto.metadata_props.add()
    entry.key, entry.value = "onnx.quant.pre_process", "onnxruntime.quant"


def drop_unused(proto: Any) -> None:
    """Drop initializers of the main graph that nothing reads any more, so that replaced weights leave the
    file."""
    used = {name for graph in graphs_in(proto) for node in graph.node for name in node.input}
    used |= {value.name for graph in graphs_in(proto) for value in graph.output}
    kept = [copy_of(tensor) for tensor in proto.graph.initializer if tensor.name in used]
    if len(kept) != len(proto.graph.initializer):
        del proto.graph.initializer[:]
        proto.graph.initializer.extend(kept)


def copy_of(message: Any) -> Any:
    """Return a protobuf message of the same content that outlives the list it stands in."""
    twin = type(message)()
    twin.CopyFrom(message)
    return twin


def _constant_tensor(node: Any) -> Any:
    """Return the tensor of a Constant node; None for text, which no operator here needs as an initializer."""
    import numpy as np
    import onnx

    (entry,) = node.attribute
    value = onnx.helper.get_attribute_value(entry)
    if entry.name == "value":
        return copy_of(value)
    if entry.name == "sparse_value":
        return onnx.numpy_helper.from_array(_dense(value))
    kinds = {
        "value_float": np.float32,
        "value_floats": np.float32,
        "value_int": np.int64,
        "value_ints": np.int64,
    }
    if entry.name in kinds:
        return onnx.numpy_helper.from_array(np.asarray(value, kinds[entry.name]))
    return None


def _dense(sparse: Any) -> Any:
    """Return the dense array of a sparse tensor, indices given flat or as coordinates."""
    import numpy as np
    import onnx

    values = onnx.numpy_helper.to_array(sparse.values)
    indices = onnx.numpy_helper.to_array(sparse.indices)
    dense = np.zeros(tuple(sparse.dims), values.dtype)
    if indices.ndim == 1:
        dense.reshape(-1)[indices] = values
    else:
        dense[tuple(indices.T)] = values
    return dense


def name_nodes(proto: Any) -> None:
    """Give every node of the main graph a name of its own: the quantisers exclude and fuse by name."""
    taken: set[str] = set()
    for index, node in enumerate(proto.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{index}"
            while node.name in taken:
                node.name += "_"
        taken.add(node.name)
