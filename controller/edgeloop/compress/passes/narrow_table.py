"""A table of neighbours in float32, float16 or int8: smaller on disk and on the wire, widened where it is used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from edgeloop_foundation.errors import UnsupportedError
from numpy.typing import NDArray

from edgeloop.compress.classic.neighbours import TABLE
from edgeloop.compress.classic.rewrite import constant, put_constant
from edgeloop.compress.graph import load_model, save_model
from edgeloop.compress.passes.base import SMALLER, Ensures, Pass, PassContext
from edgeloop.compress.passes.conditions import HAS_NEIGHBOURS
from edgeloop.compress.passes.settings import one_of
from edgeloop.domain.model import ModelDescription

__all__ = ["NarrowTable", "Settings"]

_WORDS = ("float32", "float16", "int8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of the pass.

    Raises:
        InvalidInputError: a word that is not offered.
    """

    #: Element type of the stored table.
    table: str = "float16"

    def __post_init__(self) -> None:
        one_of("narrow_table", "table", self.table, _WORDS)


class NarrowTable(Pass[Settings]):
    """The stored table in fewer bits; int8 with one scale a feature."""

    name = "narrow_table"
    title = "narrower table"
    settings_type = Settings
    requires = (HAS_NEIGHBOURS,)
    ensures = Ensures(precision=SMALLER, approximate=True)
    otherwise = "Take another table, or leave the pass out."

    def _run(
        self,
        source: Path,
        target: Path,
        context: PassContext,
        source_model: ModelDescription,
        note: Callable[[str], None],
    ) -> None:
        model = load_model(source)
        table = constant(model, TABLE)
        word = self.settings.table
        if np.dtype(word).itemsize >= table.dtype.itemsize:
            raise UnsupportedError(
                f"{self.title} does not apply to {source_model.name}: its table is {table.dtype} already."
            )
        if word == "int8":
            _put_bytes(model, table)
        else:
            with np.errstate(over="ignore"):
                narrow = table.astype(word)
            if not np.isfinite(narrow).all():
                raise UnsupportedError(
                    f"{self.title} does not apply to {source_model.name}: a value does not fit into {word}."
                )
            put_constant(model, TABLE, narrow)
        save_model(model, target)
        note(f"table of {table.shape[0]} x {table.shape[1]} from {table.dtype} to {word}")


def _put_bytes(model: Any, table: NDArray[np.floating]) -> None:
    """Store the table as int8 around the middle of each feature's range, and widen it in the graph."""
    import onnx

    low, high = table.min(axis=0).astype(np.float64), table.max(axis=0).astype(np.float64)
    scale = np.maximum((high - low) / 254.0, np.finfo(np.float32).tiny)
    middle = (low + high) / 2
    put_constant(model, TABLE, np.clip(np.rint((table - middle) / scale), -127, 127).astype(np.int8))
    for name, value in (("table_scale", scale), ("table_middle", middle)):
        model.graph.initializer.append(onnx.numpy_helper.from_array(value.astype(np.float32), name))
    zero = np.zeros(table.shape[1], np.int8)
    model.graph.initializer.append(onnx.numpy_helper.from_array(zero, "table_zero"))
    for node in model.graph.node:
        node.input[:] = ["table_float" if name == TABLE else name for name in node.input]
    widen = [
        onnx.helper.make_node(
            "DequantizeLinear",
            [TABLE, "table_scale", "table_zero"],
            ["table_scaled"],
            name="table_scaled",
            axis=1,
        ),
        onnx.helper.make_node("Add", ["table_scaled", "table_middle"], ["table_float"], name="table_float"),
    ]
    kept = [type(node).FromString(node.SerializeToString()) for node in model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend([*widen, *kept])
