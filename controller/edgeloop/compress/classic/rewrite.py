"""A written model with other trees or another constant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from edgeloop_foundation.errors import UnsupportedError
from numpy.typing import NDArray

from edgeloop.compress.classic.forest import Forest, find_forest, tree_node
from edgeloop.compress.graph import load_model, save_model
from edgeloop.domain.model import ModelDescription

if TYPE_CHECKING:
    from edgeloop.compress.passes.base import PassContext

__all__ = ["constant", "put_constant", "rewrite_forest", "rows_of"]


def rows_of(context: PassContext, model: ModelDescription) -> NDArray[np.float32]:
    """Return the calibration items as rows, ``[items, features]``.

    Raises:
        UnsupportedError: there are none.
    """
    if context.calibration is None:
        raise UnsupportedError("there is no calibration data.", next_step="Give --data.")
    array = context.calibration.inputs[model.inputs[0].name]
    rows: NDArray[np.float32] = np.ascontiguousarray(array.reshape(len(array), -1), np.float32)
    return rows


def rewrite_forest(source: Path, target: Path, change: Callable[[Forest], Forest]) -> None:
    """Write the model with its trees changed.

    Raises:
        UnsupportedError: it has no tree operator of the known form, or the trees do not read the model's input.
    """
    model = load_model(source)
    node, forest = find_forest(model)
    if node.input[0] != model.graph.input[0].name:
        raise UnsupportedError(
            "the trees read what other operators make of the input.",
            next_step="Give the last step of the pipeline alone, and preprocessed data.",
        )
    node.CopyFrom(tree_node(change(forest), node.input[0], node.output[0]))
    save_model(model, target)


def constant(model: Any, name: str) -> NDArray[Any]:
    """Return a constant by name.

    Raises:
        UnsupportedError: the model has none of that name.
    """
    import onnx

    for tensor in model.graph.initializer:
        if tensor.name == name:
            return np.asarray(onnx.numpy_helper.to_array(tensor))
    raise UnsupportedError(f"the model has no constant {name!r}.")


def put_constant(model: Any, name: str, value: NDArray[Any]) -> None:
    """Replace a constant by name."""
    import onnx

    for tensor in model.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(value), name))
