"""Tables of embeddings as one byte for a few neighbouring numbers, looked up as they are; needs no data.

Four-bit kernels are there for products only, and a table of embeddings is looked up, not multiplied: in a small
language model it is half of the file. Here a row is bytes and the numbers behind them are in codebooks
(:mod:`edgeloop.compress.codebooks`). The graph reads a row's bytes, then the codebooks, with Gather alone, so that
nothing is expanded when the model is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_foundation.errors import InvalidInputError, UnsupportedError

from edgeloop.compress.codebooks import CODES, coded, decoded
from edgeloop.compress.graph import attribute, graphs_in, load_model, save_model
from edgeloop.compress.passes.base import SMALLER, Ensures, Pass, PassContext
from edgeloop.compress.passes.conditions import NOT_A_TREE
from edgeloop.compress.passes.settings import one_of
from edgeloop.compress.prepare import copy_of, drop_unused, hoist_constants, upgrade
from edgeloop.domain.model import ModelDescription

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["CodeTables", "Settings"]

_SIZES = ("2", "3", "4")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of the pass.

    Raises:
        InvalidInputError: a number out of range.
    """

    #: Neighbouring numbers behind one byte: 2 are four bits a number, 3 are 2.7, 4 are two.
    size: int = 3
    #: Smaller tables stay as they are.
    elements_min: int = 65536

    def __post_init__(self) -> None:
        one_of("code_tables", "size", str(self.size), _SIZES)
        if self.elements_min < CODES:
            raise InvalidInputError(
                f"pass 'code_tables': elements_min is {CODES} or more, not {self.elements_min}."
            )


class CodeTables(Pass[Settings]):
    """Every large matrix of float32 constants that only Gather reads, by rows."""

    name = "code_tables"
    title = "coded tables"
    settings_type = Settings
    requires = (NOT_A_TREE,)
    ensures = Ensures(precision=SMALLER, approximate=True)
    otherwise = "Lower elements_min, or leave the pass out."

    def _run(
        self,
        source: Path,
        target: Path,
        context: PassContext,
        source_model: ModelDescription,
        note: Callable[[str], None],
    ) -> None:
        import numpy as np
        import onnx

        proto = upgrade(load_model(source, external=True), source_model.name, note)
        hoist_constants(proto.graph)
        tables = self._tables(proto)
        if not tables:
            raise UnsupportedError(
                f"{self.title} does not apply to {source_model.name}: no Gather reads rows of a float32 table with "
                f"{self.settings.elements_min} elements and {CODES} rows."
            )
        before = sum(4 * int(np.prod(tensor.dims)) for tensor in tables.values())
        signal, noise, after = 0.0, 0.0, 0
        replaced: dict[str, tuple[NDArray[np.uint8], NDArray[np.float32], int]] = {}
        for name, tensor in tables.items():
            values = np.asarray(onnx.numpy_helper.to_array(tensor), np.float32)
            codes, books = coded(values, self.settings.size, context.seed)
            made = decoded(codes, books, values.shape[1])
            signal += float((values.astype(np.float64) ** 2).sum())
            noise += float(((made - values).astype(np.float64) ** 2).sum())
            after += codes.nbytes + books.nbytes
            replaced[name] = (codes, books, values.shape[1])
        _rewrite(proto, replaced)
        drop_unused(proto)
        save_model(proto, target)
        ratio = f"{10.0 * np.log10(signal / noise):.1f} dB above the rounding" if noise else "exact"
        note(
            f"coded tables: {len(tables)} tables, {self.settings.size} numbers a byte, {before} to {after} bytes, "
            f"{ratio}"
        )

    def _tables(self, proto: Any) -> dict[str, Any]:
        """Return the tables by name, those of the main graph that nothing but its own Gathers reads."""
        import onnx

        held = {t.name: t for t in proto.graph.initializer if t.data_type == onnx.TensorProto.FLOAT}
        others = {value.name for value in proto.graph.output}
        read: set[str] = set()
        for number, graph in enumerate(graphs_in(proto)):
            for node in graph.node:
                names = list(node.input)
                if number == 0 and _by_rows(node):
                    read.add(names.pop(0))
                others.update(names)
        return {name: tensor for name, tensor in held.items() if name in read - others and self._pays(tensor)}

    def _pays(self, tensor: Any) -> bool:
        if len(tensor.dims) != 2 or tensor.dims[0] < CODES:
            return False
        rows, columns = tensor.dims
        groups = -(-columns // self.settings.size)
        coded_bytes = groups * (rows + 4 * CODES * self.settings.size)
        return bool(rows * columns >= self.settings.elements_min and coded_bytes < 4 * rows * columns)


def _by_rows(node: Any) -> bool:
    return bool(
        node.op_type == "Gather" and node.domain in ("", "ai.onnx") and attribute(node, "axis", 0) == 0
    )


def _rewrite(proto: Any, replaced: dict[str, tuple[NDArray[np.uint8], NDArray[np.float32], int]]) -> None:
    """Put two look-ups in the place of each Gather of a replaced table.

    Codes of all groups index one matrix of codebooks; the shape of what comes out is that of the indices with a last
    axis of numbers, whatever their rank.
    """
    import numpy as np
    import onnx

    def hold(array: NDArray[np.generic], name: str) -> str:
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    for name, (codes, books, _) in replaced.items():
        hold(codes, f"{name}_codes")
        hold(books.reshape(-1, books.shape[2]), f"{name}_books")
        hold(CODES * np.arange(codes.shape[1], dtype=np.int32), f"{name}_first")
    nodes: list[Any] = []
    for node in proto.graph.node:
        if not _by_rows(node) or node.input[0] not in replaced:
            nodes.append(copy_of(node))
            continue
        table, stem = node.input[0], f"{node.output[0]}_coded"
        codes, books, columns = replaced[table]
        width = codes.shape[1] * books.shape[2]
        nodes += [
            onnx.helper.make_node("Gather", [f"{table}_codes", node.input[1]], [f"{stem}_bytes"], axis=0),
            onnx.helper.make_node("Cast", [f"{stem}_bytes"], [f"{stem}_codes"], to=onnx.TensorProto.INT32),
            onnx.helper.make_node("Add", [f"{stem}_codes", f"{table}_first"], [f"{stem}_places"]),
            onnx.helper.make_node("Gather", [f"{table}_books", f"{stem}_places"], [f"{stem}_groups"], axis=0),
            onnx.helper.make_node("Shape", [node.input[1]], [f"{stem}_lead"]),
            onnx.helper.make_node(
                "Concat", [f"{stem}_lead", hold(np.asarray([width], np.int64), f"{stem}_width")],
                [f"{stem}_shape"], axis=0,
            ),
        ]  # fmt: skip
        whole = node.output[0] if width == columns else f"{stem}_whole"
        nodes.append(onnx.helper.make_node("Reshape", [f"{stem}_groups", f"{stem}_shape"], [whole]))
        if width != columns:
            bounds = [
                hold(np.asarray([v], np.int64), f"{stem}_{n}")
                for v, n in ((0, "from"), (columns, "to"), (-1, "axis"))
            ]
            nodes.append(onnx.helper.make_node("Slice", [whole, *bounds], [node.output[0]]))
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
