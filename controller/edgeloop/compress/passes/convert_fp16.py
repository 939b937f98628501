"""Parameters and arithmetic as float16, except for the nodes that were seen to break on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_foundation.errors import EdgeloopError, InvalidInputError, UnsupportedError

from edgeloop.compress.compare import answers, nonfinite, output_error
from edgeloop.compress.graph import attribute, load_model, prune_opset_imports, save_model
from edgeloop.compress.passes.base import Ensures, Pass, PassContext
from edgeloop.compress.passes.conditions import FULL_PRECISION, HAS_PARAMETERS, NOT_A_TREE, NOT_QUANTIZED
from edgeloop.compress.prepare import copy_of, name_nodes, prepare
from edgeloop.domain.model import ModelDescription

if TYPE_CHECKING:
    from edgeloop.compress.compare import Answers

__all__ = ["ConvertFp16", "Settings"]

_LARGEST = 65504.0
"""Largest finite half."""

_TRIALS_MAX = 400
"""A search that needs more is about a model of which nearly nothing can be halved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of the pass.

    Raises:
        InvalidInputError: a number out of range.
    """

    #: Largest error of an output, relative to its size; nodes that cause more stay float32.
    tolerance: float = 0.01
    #: Names of nodes to leave alone from the start.
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0.0 < self.tolerance < 1.0:
            raise InvalidInputError(
                f"pass 'convert_fp16': tolerance is above 0 and below 1, not {self.tolerance}."
            )


class ConvertFp16(Pass[Settings]):
    """Float inputs and outputs stay float32; what each node does to the answers is verified by running it."""

    name = "convert_fp16"
    title = "fp16"
    settings_type = Settings
    requires = (NOT_QUANTIZED, NOT_A_TREE, FULL_PRECISION, HAS_PARAMETERS)
    ensures = Ensures(precision="fp16")

    def _run(
        self,
        source: Path,
        target: Path,
        context: PassContext,
        source_model: ModelDescription,
        note: Callable[[str], None],
    ) -> None:
        prepared = context.work_directory / "prepared.onnx"
        prepare(source, prepared, source_model, context.calibration, note, context.seed)
        expected = answers(source, source_model, context.calibration, seed=context.seed)
        search = _Search(prepared, context, source_model, expected, self.settings)
        large = search.beyond_range()
        broken = [*large, *search.broken([n for n in search.nodes if n not in large], [])]
        if set(broken) >= set(search.nodes):
            raise UnsupportedError(
                f"{self.title} does not apply to {source_model.name}: not one of its {len(search.nodes)} nodes "
                f"keeps the answers within {self.settings.tolerance:g}: {search.reason}.",
                next_step="Raise tolerance, or scale the model's activations below 65504.",
            )
        search.convert([name for name in search.nodes if name not in broken])
        proto = load_model(search.path, external=True)
        prune_opset_imports(proto)
        save_model(proto, target)
        kept = f"; float32 stay {', '.join(broken[:5])}{' ...' if len(broken) > 5 else ''}" if broken else ""
        note(f"fp16: {len(search.nodes) - len(broken)} of {len(search.nodes)} nodes{kept}")


class _Search:
    """Bisects for the nodes whose conversion alone breaks the answers."""

    def __init__(
        self,
        prepared: Path,
        context: PassContext,
        model: ModelDescription,
        expected: Answers,
        settings: Settings,
    ) -> None:
        self._prepared, self._context, self._model = prepared, context, model
        self._expected, self._tolerance = expected, settings.tolerance
        self._all = [node.name for node in load_model(prepared).graph.node]
        unknown = [name for name in settings.exclude if name not in self._all]
        if unknown:
            raise InvalidInputError(
                f"pass 'convert_fp16': {model.name} has no node {unknown[0]!r} to exclude once it is folded.",
                next_step=f"Its nodes are {', '.join(self._all[:20])}.",
            )
        self.nodes = [name for name in self._all if name not in settings.exclude]
        self.path = context.work_directory / "half.onnx"
        self.reason = ""
        self._trials = 0

    def beyond_range(self) -> list[str]:
        """Return the nodes that read or write a value that no half holds, seen on the same items.

        The runtime of this host may compute halves in float32 and never overflow; a board's would.
        """
        proto = load_model(self._prepared, external=True)
        peaks = _peaks(proto, self._context.work_directory / "exposed.onnx", self._model, self._context)
        large = {name for name, peak in peaks.items() if peak > _LARGEST}
        found = [n.name for n in proto.graph.node if large & {*n.input, *n.output} and n.name in self.nodes]
        if found:
            self.reason = f"values reach {max(peaks.values()):.3g}"
        return found

    def broken(self, nodes: list[str], fine: list[str]) -> list[str]:
        """Return which of these may not be converted beside ``fine``, which together are fine."""
        if not nodes or not self._why_unfit([*fine, *nodes]):
            return []
        if len(nodes) == 1:
            return nodes
        middle = len(nodes) // 2
        first = self.broken(nodes[:middle], fine)
        kept = [name for name in nodes[:middle] if name not in first]
        return first + self.broken(nodes[middle:], [*fine, *kept])

    def convert(self, nodes: list[str]) -> None:
        """Write the model with exactly these nodes converted to ``path``."""
        wanted = set(nodes)
        blocked = [name for name in self._all if name not in wanted]
        save_model(_converted(self._prepared, blocked), self.path)

    def _why_unfit(self, nodes: list[str]) -> str:
        self._trials += 1
        if self._trials > _TRIALS_MAX:
            raise UnsupportedError(
                f"fp16 does not apply to {self._model.name}: {_TRIALS_MAX} trials did not find which nodes break.",
                next_step="Raise tolerance.",
            )
        self.convert(nodes)
        try:
            actual = answers(self.path, self._model, self._context.calibration, seed=self._context.seed)
        except EdgeloopError as error:
            reason = error.message
        else:
            worst = output_error(actual, self._expected)
            over = f"the error is {worst:.2g} of the output" if worst > self._tolerance else ""
            reason = nonfinite(actual, self._expected) or over
        self.reason = reason or self.reason
        return reason


def _peaks(proto: Any, path: Path, model: ModelDescription, context: PassContext) -> dict[str, float]:
    """Return the largest finite magnitude of each inner value and constant of the main graph."""
    import numpy as np
    import onnx

    peaks = {
        tensor.name: float(np.abs(onnx.numpy_helper.to_array(tensor)).max(initial=0.0))
        for tensor in proto.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT
    }
    known = {value.name for value in proto.graph.output}
    inner = [name for node in proto.graph.node for name in node.output if name and name not in known]
    shown = copy_of(proto)
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner)
    save_model(shown, path)
    for name, values in answers(path, model, context.calibration, seed=context.seed).items():
        if values.dtype.kind == "f":
            peaks[name] = float(np.abs(values[np.isfinite(values)]).max(initial=0.0))
    return peaks


def _converted(path: Path, blocked: list[str]) -> Any:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    proto = convert_float_to_float16(
        load_model(path, external=True), keep_io_types=True, node_block_list=blocked
    )
    _join_blocked(proto, set(blocked))
    _cast_once(proto)
    name_nodes(proto)
    return proto


def _cast_once(proto: Any) -> None:
    """Keep one of equal casts: the converter writes one, under one name, for each time that a node reads a value."""
    made: set[str] = set()
    kept = []
    for node in proto.graph.node:
        if node.op_type == "Cast" and node.output[0] in made:
            continue
        made.update(node.output)
        kept.append(copy_of(node))
    del proto.graph.node[:]
    proto.graph.node.extend(kept)


def _join_blocked(proto: Any, blocked: set[str]) -> None:
    """Let a float32 node read what a float32 node wrote: the converter passes it through a half, which overflows."""
    import onnx

    made = {name: node for node in proto.graph.node for name in node.output}
    straight = {}
    for back in proto.graph.node:
        there = made.get(back.input[0]) if _casts_to(back, onnx.TensorProto.FLOAT) else None
        if there is not None and _casts_to(there, onnx.TensorProto.FLOAT16):
            writer = made.get(there.input[0])
            if writer is not None and writer.name in blocked:
                straight[back.output[0]] = there.input[0]
    promised = {value.name for value in proto.graph.output}
    for node in proto.graph.node:
        for index, name in enumerate(node.input):
            if name in straight and name not in promised:
                node.input[index] = straight[name]


def _casts_to(node: Any, data_type: int) -> bool:
    return bool(node.op_type == "Cast" and attribute(node, "to") == data_type)
