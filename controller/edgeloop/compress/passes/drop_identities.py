"""Nodes that do nothing at inference are taken out: Identity, and Dropout that is not training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeloop_foundation.errors import UnsupportedError

from edgeloop.compress.equivalence import require_equivalence
from edgeloop.compress.graph import graphs_in, load_model, save_model
from edgeloop.compress.passes.base import Pass, PassContext
from edgeloop.compress.prepare import copy_of
from edgeloop.domain.model import ModelDescription

__all__ = ["DropIdentities", "Settings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The pass has no settings."""


class DropIdentities(Pass[Settings]):
    """Main graph and subgraphs; a node that gives an output of its graph stays, because the name is promised."""

    name = "drop_identities"
    title = "removal of identities"
    settings_type = Settings

    def _run(
        self,
        source: Path,
        target: Path,
        context: PassContext,
        source_model: ModelDescription,
        note: Callable[[str], None],
    ) -> None:
        proto = load_model(source, external=True)
        found = sum(_clean(graph) for graph in graphs_in(proto))
        if not found:
            raise UnsupportedError(
                f"{self.title} does not apply to {source_model.name}: it has no Identity and no Dropout inside."
            )
        save_model(proto, target)
        note(f"removal of identities: {found} nodes taken out")
        require_equivalence(self.title, source, target, context, source_model, note)


def _clean(graph: Any) -> int:
    """Take idle nodes out of one graph and return how many; readers, in subgraphs too, get what went in."""
    promised = {value.name for value in graph.output}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    instead: dict[str, str] = {}
    kept = []
    for node in graph.node:
        if _is_idle(node, constants) and node.output[0] not in promised:
            instead[node.output[0]] = instead.get(node.input[0], node.input[0])
        else:
            kept.append(copy_of(node))
    if instead:
        del graph.node[:]
        graph.node.extend(kept)
        _rename(graph, instead)
    return len(instead)


def _rename(graph: Any, instead: dict[str, str]) -> None:
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = instead.get(name, name)
        for entry in node.attribute:
            for inner in (*([entry.g] if entry.HasField("g") else []), *entry.graphs):
                own = {name for inside in inner.node for name in inside.output} | {
                    v.name for v in inner.input
                }
                _rename(inner, {name: to for name, to in instead.items() if name not in own})


def _is_idle(node: Any, constants: dict[str, Any]) -> bool:
    if node.domain not in ("", "ai.onnx"):
        return False
    if node.op_type == "Identity":
        return True
    if node.op_type != "Dropout" or any(node.output[1:]):
        return False
    if len(node.input) < 3 or not node.input[2]:
        return True
    mode = constants.get(node.input[2])
    import onnx

    return mode is not None and not bool(onnx.numpy_helper.to_array(mode).any())
