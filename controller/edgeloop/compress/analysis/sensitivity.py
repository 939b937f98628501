"""What fewer bits or fewer weights in one layer alone do to the model's answers, measured."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop.compress.compare import answers, output_error
from edgeloop.compress.graph import load_model, parameters_in, save_model
from edgeloop.compress.products import channel_axes
from edgeloop.domain.dataset import Dataset
from edgeloop.domain.model import ModelDescription

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["LayerSensitivity", "layer_sensitivity", "rounded"]

_SMALLEST = 64
_ITEMS = 8
_PRUNED = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSensitivity:
    """Error of the answers, relative to their size, when this weight alone is changed."""

    #: Name of the weight.
    name: str
    #: Share of all elements of the weights that were looked at.
    element_share: float
    #: Rounded to 8 bits, one scale an output channel.
    int8_error: float
    #: Rounded to 4 bits, one scale an output channel.
    int4_error: float
    #: Rounded to 2 bits, one scale an output channel.
    int2_error: float
    #: Without the half of its elements that are smallest.
    half_pruned_error: float


def layer_sensitivity(path: Path, model: ModelDescription, data: Dataset) -> tuple[LayerSensitivity, ...]:
    """Change one weight after the other and run the model on eight items each time.

    Args:
        path: ONNX file with float32 weights.
        model: its description.
        data: items of the user's data; on random inputs the errors would say little.
    """
    expected = answers(path, model, data, limit=_ITEMS)
    proto = load_model(path, external=True)
    weights = [p for p in parameters_in(proto) if _is_weight(p)]
    axes = channel_axes(proto)
    total = sum(p.element_count for p in weights)
    with tempfile.TemporaryDirectory(prefix="edgeloop-sensitivity-") as name:
        changed = Path(name) / "changed.onnx"

        def errors(tensor: Any, axis: int) -> Iterator[float]:
            import onnx

            original = onnx.numpy_helper.to_array(tensor).copy()
            for form in _forms(original, axis):
                tensor.CopyFrom(onnx.numpy_helper.from_array(form, tensor.name))
                save_model(proto, changed)
                yield output_error(answers(changed, model, data, limit=_ITEMS), expected)
            tensor.CopyFrom(onnx.numpy_helper.from_array(original, tensor.name))

        found = [(p, tuple(errors(p.tensor, axes.get(p.name, 0)))) for p in weights]
    return tuple(
        LayerSensitivity(
            name=p.name,
            element_share=p.element_count / total,
            int8_error=measured[0],
            int4_error=measured[1],
            int2_error=measured[2],
            half_pruned_error=measured[3],
        )
        for p, measured in found
    )


def _is_weight(parameter: Any) -> bool:
    dense = list(parameter.tensor.dims) == list(parameter.shape)
    matrix = sum(size > 1 for size in parameter.shape) > 1
    return bool(parameter.dtype == "float32" and dense and matrix and parameter.element_count >= _SMALLEST)


def _forms(values: NDArray[np.float32], axis: int) -> Iterator[NDArray[np.float32]]:
    import numpy as np

    for bits in (8, 4, 2):
        yield rounded(values, axis, bits)
    threshold = np.quantile(np.abs(values), _PRUNED)
    yield np.where(np.abs(values) < threshold, np.float32(0), values)


def rounded(values: NDArray[np.float32], axis: int, bits: int) -> NDArray[np.float32]:
    """Return the values on ``2 ** bits - 1`` levels around zero, one scale an index of ``axis``."""
    import numpy as np

    others = tuple(i for i in range(values.ndim) if i != axis % values.ndim)
    largest = np.abs(values).max(axis=others, keepdims=True)
    scale = np.where(largest > 0, largest, 1.0) / (2 ** (bits - 1) - 1)
    return np.asarray(np.rint(values / scale) * scale, np.float32)
