"""Reading and writing ONNX files: every place where the standard lets nodes and parameters stand."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from edgeloop_foundation.errors import InvalidInputError, NotFoundError, UnsupportedError
from edgeloop_protocol.types.artifact import TensorSpec

__all__ = [
    "Parameter",
    "attribute",
    "digest_of_files",
    "element_bytes",
    "external_locations",
    "external_tensors",
    "graphs_in",
    "half_elements",
    "integer_elements",
    "load_model",
    "nodes_in",
    "opsets_of",
    "parameters_in",
    "prune_opset_imports",
    "save_model",
    "specs_of",
]

_EXTERNAL_ABOVE_BYTES = 1_800_000_000
"""A protobuf message ends at 2 GiB; parameters of larger models go to a file beside it."""

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One constant tensor, wherever it stands in the file."""

    #: Name of the value it gives.
    name: str
    #: NumPy name of the element type.
    dtype: str
    #: Shape.
    shape: tuple[int, ...]
    #: Bytes as stored; a sparse tensor's values and indices.
    stored_bytes: int
    #: The protobuf tensor (dense values), for those who look at the numbers.
    tensor: Any

    @property
    def element_count(self) -> int:
        """Number of stored elements."""
        return math.prod(self.shape)


def load_model(path: Path, *, external: bool = False) -> Any:
    """Read an ONNX file, with its external data only when ``external``.

    Raises:
        NotFoundError: there is no such file.
        InvalidInputError: it is not an ONNX model.
    """
    import onnx
    from google.protobuf.message import DecodeError

    if not path.is_file():
        raise NotFoundError(f"{path} is not a file.", next_step="Give the path of an .onnx file.")
    try:
        model = onnx.load_model(str(path), load_external_data=external)
    except (DecodeError, ValueError, RuntimeError, OSError) as error:
        detail = " ".join(str(error).split())[:200]
        raise InvalidInputError(f"{path.name} is not an ONNX model: {detail}.") from error
    except Exception as error:  # onnx.checker.ValidationError for external data is a binding's own class
        detail = " ".join(str(error).split())[:200]
        raise InvalidInputError(f"{path.name} is not a usable ONNX model: {detail}.") from error
    if model.ir_version < 1 or not (model.graph.node or model.graph.output) or not model.opset_import:
        raise InvalidInputError(
            f"{path.name} is not an ONNX model: it holds no graph, format version or operator set.",
            next_step="Export the model as ONNX.",
        )
    return model


def save_model(model: Any, path: Path) -> None:
    """Write a model, with its parameters in ``<name>.data`` beside it when one message cannot hold them."""
    import onnx

    if model.ByteSize() < _EXTERNAL_ABOVE_BYTES:
        path.write_bytes(model.SerializeToString())
        return
    onnx.save_model(model, str(path), save_as_external_data=True, location=path.name + ".data")


def attribute(node: Any, name: str, default: Any = None) -> Any:
    """Return the value of a node's attribute, or ``default``."""
    import onnx

    for entry in node.attribute:
        if entry.name == name:
            return onnx.helper.get_attribute_value(entry)
    return default


def _subgraphs(nodes: Any) -> Iterator[Any]:
    for node in nodes:
        for entry in node.attribute:
            if entry.HasField("g"):
                yield from _with_subgraphs(entry.g)
            for graph in entry.graphs:
                yield from _with_subgraphs(graph)


def _with_subgraphs(graph: Any) -> Iterator[Any]:
    yield graph
    yield from _subgraphs(graph.node)


def graphs_in(model: Any) -> Iterator[Any]:
    """Yield the main graph, then every subgraph of If, Loop and Scan at any depth, functions' bodies
    included."""
    yield from _with_subgraphs(model.graph)
    for function in model.functions:
        yield from _subgraphs(function.node)


def nodes_in(model: Any) -> Iterator[Any]:
    """Yield every node, of subgraphs and local functions too."""
    for graph in graphs_in(model):
        yield from graph.node
    for function in model.functions:
        yield from function.node


def element_bytes(data_type: int) -> float:
    """Return the bytes of one element of an ONNX element type; a half for packed 4-bit types."""
    import onnx

    name = onnx.TensorProto.DataType.Name(data_type)
    packed = {"INT4": 0.5, "UINT4": 0.5, "FLOAT4E2M1": 0.5, "INT2": 0.25, "UINT2": 0.25, "STRING": 0.0}
    if name in packed:
        return packed[name]
    return float(onnx.helper.tensor_dtype_to_np_dtype(data_type).itemsize)


def _parameter(name: str, tensor: Any, index_bytes: int = 0) -> Parameter:
    shape = tuple(tensor.dims)
    stored = math.ceil(math.prod(shape) * element_bytes(tensor.data_type)) + index_bytes
    dtype = type_name(tensor.data_type)
    return Parameter(name=name, dtype=dtype, shape=shape, stored_bytes=stored, tensor=tensor)


def _sparse_parameter(name: str, sparse: Any) -> Parameter:
    return _parameter(name, sparse.values, 8 * math.prod(sparse.indices.dims))


def _constant_node(node: Any) -> Iterator[Parameter]:
    import numpy as np
    import onnx

    for entry in node.attribute:
        if entry.name == "value":
            yield _parameter(node.output[0], entry.t)
        elif entry.name == "sparse_value":
            yield _sparse_parameter(node.output[0], entry.sparse_tensor)
        elif entry.name in ("value_float", "value_floats", "value_int", "value_ints"):
            value = onnx.helper.get_attribute_value(entry)
            kind = np.float32 if "float" in entry.name else np.int64
            yield _parameter(node.output[0], onnx.numpy_helper.from_array(np.asarray(value, kind)))


def parameters_in(model: Any) -> Iterator[Parameter]:
    """Yield every constant tensor: initializers, sparse initializers and Constant nodes of all graphs.

    Arrays that tree ensembles and the like keep in their attributes come as one-dimensional parameters.
    """
    for graph in graphs_in(model):
        for tensor in graph.initializer:
            yield _parameter(tensor.name, tensor)
        for sparse in graph.sparse_initializer:
            yield _sparse_parameter(sparse.values.name, sparse)
    for node in nodes_in(model):
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
            yield from _constant_node(node)
        elif node.domain.startswith("ai.onnx.ml"):
            yield from _attribute_arrays(node)


def integer_elements(model: Any) -> int:
    """Return how many parameters are stored in 8 bits or less; scalars such as zero points do not count."""
    kinds = ("int8", "uint8", "int4", "uint4", "int2", "uint2")
    return sum(p.element_count for p in parameters_in(model) if p.dtype in kinds and p.element_count > 1)


def half_elements(model: Any) -> int:
    """Return how many parameters are stored as float16; scalars do not count."""
    return sum(p.element_count for p in parameters_in(model) if p.dtype == "float16" and p.element_count > 1)


def _attribute_arrays(node: Any) -> Iterator[Parameter]:
    import numpy as np
    import onnx

    for entry in node.attribute:
        if entry.HasField("t"):
            yield _parameter(f"{node.name}/{entry.name}", entry.t)
        elif len(entry.floats) or len(entry.ints):
            value = (
                np.asarray(entry.floats, np.float32)
                if len(entry.floats)
                else np.asarray(entry.ints, np.int64)
            )
            yield _parameter(f"{node.name}/{entry.name}", onnx.numpy_helper.from_array(value))


def external_tensors(model: Any) -> Iterator[Any]:
    """Yield every tensor whose bytes are in another file."""
    import onnx

    for graph in graphs_in(model):
        for tensor in graph.initializer:
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                yield tensor
    for node in nodes_in(model):
        for entry in node.attribute:
            for tensor in (*([entry.t] if entry.HasField("t") else []), *entry.tensors):
                if tensor.data_location == onnx.TensorProto.EXTERNAL:
                    yield tensor


def location_of(tensor: Any) -> str:
    """Return the file, relative to the model's directory, that holds an external tensor's bytes."""
    return next((entry.value for entry in tensor.external_data if entry.key == "location"), "")


def external_locations(model: Any, path: Path) -> tuple[str, ...]:
    """Return the names of the files with external data, sorted, each checked to lie beside the model.

    Raises:
        InvalidInputError: a name leads out of the model's directory.
        NotFoundError: a file is missing.
    """
    names = sorted({location_of(tensor) for tensor in external_tensors(model)})
    base = path.parent.resolve()
    for name in names:
        parts = PurePosixPath(name)
        target = (base / name).resolve()
        if not name or parts.is_absolute() or ".." in parts.parts or not target.is_relative_to(base):
            raise InvalidInputError(
                f"{path.name} keeps parameters in {name!r}, which is outside of its directory.",
                next_step="Save the model again with its external data beside it.",
            )
        if not target.is_file():
            raise NotFoundError(
                f"{path.name} keeps parameters in {name!r}, which is not there.",
                next_step=f"Put the file into {path.parent}.",
            )
    return tuple(names)


def digest_of_files(path: Path, names: tuple[str, ...]) -> str:
    """Return the SHA-256 over a model's bytes: of the file alone, or of the file and its external data by
    name."""
    if not names:
        return _file_digest(path)
    total = hashlib.sha256(f"model {_file_digest(path)}\n".encode())
    for name in names:
        total.update(f"{name} {_file_digest(path.parent / name)}\n".encode())
    return total.hexdigest()


def _file_digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def opsets_of(model: Any) -> tuple[tuple[str, int], ...]:
    """Return the imported operator sets by domain, "" for the standard one, sorted; the last entry of a
    domain wins."""
    return tuple(
        sorted({("" if o.domain == "ai.onnx" else o.domain): o.version for o in model.opset_import}.items())
    )


def prune_opset_imports(model: Any) -> None:
    """Drop operator sets that no node uses: older runtimes refuse versions of domains they would never
    need."""
    used = {"" if node.domain == "ai.onnx" else node.domain for node in nodes_in(model)} | {""}
    seen: dict[str, Any] = {}
    for entry in model.opset_import:
        seen["" if entry.domain == "ai.onnx" else entry.domain] = entry
    kept = [entry for domain, entry in seen.items() if domain in used]
    copies = [(entry.domain, entry.version) for entry in kept]
    del model.opset_import[:]
    for domain, version in copies:
        model.opset_import.add(domain=domain, version=version)


def type_name(data_type: int) -> str:
    """Return the NumPy name of an ONNX element type, "str" for text."""
    import onnx

    if data_type == onnx.TensorProto.STRING:
        return "str"
    return str(onnx.helper.tensor_dtype_to_np_dtype(data_type).name)


def specs_of(model: Any, file_name: str) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Return inputs and outputs; initializers that old files list among the inputs are not inputs.

    Raises:
        UnsupportedError: one is not a tensor of numbers.
    """
    given = {t.name for t in model.graph.initializer} | {
        s.values.name for s in model.graph.sparse_initializer
    }
    inputs = [value for value in model.graph.input if value.name not in given]
    return (
        tuple(_spec(value, "input", file_name) for value in inputs),
        tuple(_spec(value, "output", file_name) for value in model.graph.output),
    )


def _spec(value: Any, role: str, file_name: str) -> TensorSpec:
    kind = value.type.WhichOneof("value")
    if kind not in ("tensor_type", None):
        hint = "Export the classifier without ZipMap (zipmap=False)." if kind == "sequence_type" else ""
        raise UnsupportedError(
            f"{role} {value.name!r} of {file_name} is a {str(kind).removesuffix('_type')}, not a tensor.",
            next_step=hint or "Export the model with plain tensors as inputs and outputs.",
        )
    tensor = value.type.tensor_type
    dtype = type_name(tensor.elem_type) if tensor.elem_type else ""
    if dtype == "str":
        raise UnsupportedError(
            f"{role} {value.name!r} of {file_name} holds text, not numbers.",
            next_step="Cut the text handling off the model and feed it numbers.",
        )
    shape = tuple(
        d.dim_value if d.HasField("dim_value") and d.dim_value >= 0 else -1 for d in tensor.shape.dim
    )
    return TensorSpec(name=value.name, dtype=dtype, shape=shape)
