"""A TFLite file behind the few calls of an ONNX Runtime session that evaluation makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_foundation.errors import InvalidInputError, MissingDependencyError, UnsupportedError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["TensorNode", "TfLiteSession"]

_TYPES = {"float32": "float", "float64": "double"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorNode:
    """Name, shape (None for a free axis) and type ("tensor(float)") of an input or output."""

    name: str
    shape: list[int | None]
    type: str


class TfLiteSession:
    """LiteRT's interpreter on this host.

    Args:
        path: the file.
        threads: within one operator; 0 is one.

    Raises:
        MissingDependencyError: LiteRT is not installed here.
        UnsupportedError: LiteRT cannot open the file.
    """

    def __init__(self, path: Path, threads: int = 0) -> None:
        self._name = path.name
        module = _module(path)
        try:
            self._interpreter = module.Interpreter(model_path=str(path), num_threads=threads or 1)
            self._interpreter.allocate_tensors()
        # The interpreter raises what its C++ half does.
        except Exception as error:
            raise UnsupportedError(
                f"LiteRT cannot load {path.name}: {' '.join(str(error).split())[:300].rstrip('.')}."
            ) from error
        self._inputs = {entry["name"]: entry for entry in self._interpreter.get_input_details()}
        self._outputs = {entry["name"]: entry for entry in self._interpreter.get_output_details()}
        self._shapes = {name: tuple(map(int, entry["shape"])) for name, entry in self._inputs.items()}

    def get_inputs(self) -> list[TensorNode]:
        """Return the inputs in the file's order."""
        return [_node(entry) for entry in self._inputs.values()]

    def get_outputs(self) -> list[TensorNode]:
        """Return the outputs in the file's order."""
        return [_node(entry) for entry in self._outputs.values()]

    def run(
        self, names: Sequence[str] | None, feed: Mapping[str, NDArray[np.generic]]
    ) -> list[NDArray[np.generic]]:
        """Return these outputs, or all, for one feed.

        Raises:
            InvalidInputError: an input is missing.
            ValueError: LiteRT refuses shape or element type, or fails.
        """
        if missing := [name for name in self._inputs if name not in feed]:
            raise InvalidInputError(f"{self._name} has the inputs {', '.join(missing)}, which nothing feeds.")
        shapes = {name: tuple(feed[name].shape) for name in self._inputs}
        if shapes != self._shapes:
            for name, shape in shapes.items():
                self._interpreter.resize_tensor_input(self._inputs[name]["index"], shape, strict=True)
            self._interpreter.allocate_tensors()
            self._shapes = shapes
        for name, entry in self._inputs.items():
            self._interpreter.set_tensor(entry["index"], feed[name])
        self._interpreter.invoke()
        wanted = self._outputs if names is None else names
        return [self._interpreter.get_tensor(self._outputs[name]["index"]) for name in wanted]


def _module(path: Path) -> Any:
    try:
        from ai_edge_litert import interpreter
    except ImportError as error:
        raise MissingDependencyError(
            f"running {path.name} on this host needs ai-edge-litert: {error}.",
            next_step="pip install 'edgeloop[litert]'",
        ) from error
    return interpreter


def _node(entry: Mapping[str, Any]) -> TensorNode:
    import numpy as np

    name = np.dtype(entry["dtype"]).name
    shape = [None if size < 0 else int(size) for size in entry.get("shape_signature", entry["shape"])]
    return TensorNode(name=entry["name"], shape=shape, type=f"tensor({_TYPES.get(name, name)})")
