"""A model that is a TFLite file already: measured, judged and compared as it is; compression starts from ONNX."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeloop_foundation.errors import InvalidInputError, MissingDependencyError, NotFoundError
from edgeloop_protocol.types.artifact import StateBinding, TensorSpec

from edgeloop.compress.describe import check_state, precision_of
from edgeloop.compress.graph import Parameter, digest_of_files
from edgeloop.compress.sources.base import Source
from edgeloop.domain.model import ModelDescription

__all__ = ["TfLiteFile"]

_SUFFIX = ".tflite"
_QUANTIZED = frozenset({"QUANTIZE", "DEQUANTIZE"})
_NOT_NUMBERS = frozenset({"string", "resource", "variant"})


class TfLiteFile(Source):
    """Takes paths that end in ``.tflite``."""

    name = "tflite_file"

    def accepts(self, spec: str) -> bool:
        """Return whether the path ends so."""
        return spec.lower().endswith(_SUFFIX)

    def locate(self, spec: str, work_directory: Path) -> Path:
        """Return the file's path.

        Raises:
            NotFoundError: there is no such file.
        """
        path = Path(spec).expanduser()
        if not path.is_file():
            raise NotFoundError(f"model {spec} does not exist.", next_step="Check the path.")
        return path.absolute()

    def describe(self, path: Path, name: str, state: tuple[StateBinding, ...]) -> ModelDescription:
        """Read the file's tables and let LiteRT open it once.

        Raises:
            MissingDependencyError: LiteRT is not installed here.
            InvalidInputError: it is no TFLite model that LiteRT opens, or the state does not fit.
        """
        graph, operators, buffers = _tables(path)
        inputs, outputs = (
            tuple(_spec(graph.tensors[index], path) for index in indices)
            for indices in (graph.inputs, graph.outputs)
        )
        check_state(state, inputs, outputs, path.name)
        parameters = list(_parameters(graph.tensors, buffers))
        precision = precision_of(parameters)
        return ModelDescription(
            name=name,
            format="tflite",
            digest=digest_of_files(path, ()),
            size_bytes=path.stat().st_size,
            inputs=inputs,
            outputs=outputs,
            opsets=(),
            ir_version=0,
            parameter_count=sum(parameter.element_count for parameter in parameters),
            operator_counts=tuple(sorted(operators.items(), key=lambda item: (-item[1], item[0]))),
            precision=precision,
            quantized=precision == "int8" or bool(_QUANTIZED & set(operators)),
            state=state,
        )

    def beside(self, path: Path) -> tuple[Path, ...]:
        """Return nothing: a TFLite file is whole."""
        return ()


def _tables(path: Path) -> tuple[Any, Counter[str], Sequence[Any]]:
    """Return the first graph, its operators by name and the file's buffers."""
    try:
        from ai_edge_litert import schema_py_generated as schema
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise MissingDependencyError(
            f"reading {path.name} needs ai-edge-litert: {error}.", next_step="pip install 'edgeloop[litert]'"
        ) from error
    try:
        # LiteRT checks the whole file first; the tables below are read without any check.
        Interpreter(model_path=str(path), num_threads=1)
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300].rstrip(".")
        raise InvalidInputError(f"LiteRT cannot open {path.name}: {reason}.") from error
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes())
    names = {
        number: name
        for name, number in vars(schema.BuiltinOperator).items()
        if isinstance(number, int) and not name.startswith("_")
    }
    kinds = []
    for code in model.operatorCodes:
        custom = (code.customCode or b"").decode(errors="replace")
        # The old field ends at 127 and holds the operators of old files.
        kinds.append(custom or names.get(max(code.builtinCode, code.deprecatedBuiltinCode), "unknown"))
    operators = Counter(kinds[entry.opcodeIndex] for part in model.subgraphs for entry in part.operators)
    return model.subgraphs[0], operators, model.buffers


def _dtype(tensor: Any) -> str:
    from ai_edge_litert.schema_py_generated import TensorType

    names = (name for name, number in vars(TensorType).items() if number == tensor.type)
    return str(next(names, "unknown")).lower()


def _shape(tensor: Any) -> tuple[int, ...]:
    signature = tensor.shapeSignature
    if signature is not None and len(signature):
        return tuple(map(int, signature))
    return () if tensor.shape is None else tuple(map(int, tensor.shape))


def _spec(tensor: Any, path: Path) -> TensorSpec:
    name, dtype = tensor.name.decode(errors="replace"), _dtype(tensor)
    if dtype in _NOT_NUMBERS:
        raise InvalidInputError(f"{name!r} of {path.name} is a {dtype}, not a tensor of numbers.")
    return TensorSpec(name=name, dtype=dtype, shape=_shape(tensor))


def _parameters(tensors: Sequence[Any], buffers: Sequence[Any]) -> list[Parameter]:
    found = []
    for tensor in tensors:
        data = buffers[tensor.buffer].data
        if data is not None and len(data):
            found.append(
                Parameter(
                    name=tensor.name.decode(errors="replace"),
                    dtype=_dtype(tensor),
                    shape=_shape(tensor),
                    stored_bytes=len(data),
                    tensor=None,
                )
            )
    return found
