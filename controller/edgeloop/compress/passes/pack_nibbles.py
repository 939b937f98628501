"""Integer weights of at most sixteen values as four bits in the file, bytes again when the runtime loads it.

The arithmetic is untouched: a few nodes on constants make the bytes out of the halves, which every runtime folds away
before it runs the model (ONNX Runtime at every level but "none"). What the runtime opens is smaller; resident memory is
that of the int8 form. Weights come to be of so few values by ``int4_at_rest`` with scales a channel before the
quantiser; unlike that pass alone, nothing has to be expanded before the file is a model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_foundation.errors import InvalidInputError, UnsupportedError

from edgeloop.compress.graph import load_model, save_model
from edgeloop.compress.passes.base import SMALLER, Ensures, Pass, PassContext
from edgeloop.compress.passes.conditions import NOT_A_TREE
from edgeloop.compress.prepare import copy_of, hoist_constants, upgrade
from edgeloop.domain.model import ModelDescription

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["PackNibbles", "Settings"]

_VALUES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of the pass.

    Raises:
        InvalidInputError: a number out of range.
    """

    #: Smaller weights stay as they are: the nodes and the table cost some hundred bytes.
    elements_min: int = 4096

    def __post_init__(self) -> None:
        if self.elements_min < 1024:
            raise InvalidInputError(
                f"pass 'pack_nibbles': elements_min is 1024 or more, not {self.elements_min}."
            )


class PackNibbles(Pass[Settings]):
    """Every large int8 or uint8 constant of the main graph with at most sixteen values, bit for bit."""

    name = "pack_nibbles"
    title = "four bits in the file"
    settings_type = Settings
    requires = (NOT_A_TREE,)
    ensures = Ensures(precision=SMALLER)

    def _run(
        self,
        source: Path,
        target: Path,
        context: PassContext,
        source_model: ModelDescription,
        note: Callable[[str], None],
    ) -> None:
        del context
        import numpy as np
        import onnx

        proto = upgrade(load_model(source, external=True), source_model.name, note)
        hoist_constants(proto.graph)
        kinds = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
        kept, nodes, before = [], [], 0
        for tensor in proto.graph.initializer:
            values = onnx.numpy_helper.to_array(tensor) if tensor.data_type in kinds else np.zeros(0)
            table = np.unique(values) if values.size >= self.settings.elements_min else np.zeros(_VALUES + 1)
            if len(table) > _VALUES:
                kept.append(copy_of(tensor))
                continue
            made, held = _unpacking(tensor.name, values, table)
            nodes += made
            kept += held
            before += values.nbytes
        if not before:
            raise UnsupportedError(
                f"{self.title} does not apply to {source_model.name}: no integer weight of "
                f"{self.settings.elements_min} elements has at most {_VALUES} values.",
                next_step="Put int4_at_rest with scales channel and quantize_static before it.",
            )
        nodes += [copy_of(node) for node in proto.graph.node]
        for place, content in ((proto.graph.initializer, kept), (proto.graph.node, nodes)):
            del place[:]
            place.extend(content)
        save_model(proto, target)
        note(f"four bits in the file: {before} bytes of weights are {before // 2}, expanded at load")


def _unpacking(
    name: str, values: NDArray[np.generic], table: NDArray[np.generic]
) -> tuple[list[Any], list[Any]]:
    """Return the nodes that give the tensor ``name``, and their constants.

    One look-up gives both elements of a byte, the upper half first: of all ways that runtimes take everywhere it needs
    least memory while loading.
    """
    import numpy as np
    import onnx

    flat = np.searchsorted(table, values.reshape(-1)).astype(np.uint8)
    even = np.pad(flat, (0, len(flat) % 2))
    padded = np.pad(table, (0, _VALUES - len(table)))
    constants = {
        "halves": even[0::2] << np.uint8(4) | even[1::2],
        "pairs": np.stack([np.repeat(padded, _VALUES), np.tile(padded, _VALUES)], axis=1),
        "shape": np.asarray(values.shape, np.int64),
    }
    make = onnx.helper.make_node
    nodes = [
        make("Cast", [f"{name}_halves"], [f"{name}_bytes"], to=onnx.TensorProto.INT32),
        make("Gather", [f"{name}_pairs", f"{name}_bytes"], [f"{name}_both"], axis=0),
    ]
    whole = f"{name}_both"
    if len(even) != len(flat):
        constants |= {
            key: np.asarray([v], np.int64) for key, v in (("all", -1), ("from", 0), ("to", len(flat)))
        }
        nodes.append(make("Reshape", [whole, f"{name}_all"], [f"{name}_even"]))
        nodes.append(make("Slice", [f"{name}_even", f"{name}_from", f"{name}_to"], [f"{name}_flat"]))
        whole = f"{name}_flat"
    nodes.append(make("Reshape", [whole, f"{name}_shape"], [name]))
    held = [onnx.numpy_helper.from_array(array, f"{name}_{key}") for key, array in constants.items()]
    return nodes, held
