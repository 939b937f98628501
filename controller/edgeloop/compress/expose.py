"""Models with intermediate tensors as outputs, packed so that a device's tensors can be held against the host's."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.artifact import Artifact, StateBinding

from edgeloop.compress.build import resolve
from edgeloop.compress.describe import describe
from edgeloop.compress.graph import load_model, save_model
from edgeloop.compress.items import read_items
from edgeloop.compress.packaging import NO_DECISION, package
from edgeloop.domain.dataset import Dataset
from edgeloop.domain.divergence import TracedNode
from edgeloop.domain.recipe import ORIGINAL

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["ExposeRequest", "expose", "package_exposed", "trace"]

_CONSTANT = "Constant"


def trace(model_path: Path) -> tuple[TracedNode, ...]:
    """Return the nodes of the top-level graph in order; constants are no nodes of interest.

    Raises:
        NotFoundError: no such file.
        InvalidInputError: not an ONNX model.
    """
    graph = load_model(model_path).graph
    nodes = [node for node in graph.node if node.op_type != _CONSTANT]
    made = {name for node in nodes for name in node.output if name}
    return tuple(
        TracedNode(
            name=node.name or node.output[0],
            op_type=node.op_type,
            inputs=tuple(name for name in node.input if name in made),
            outputs=tuple(name for name in node.output if name),
        )
        for node in nodes
    )


def expose(model_path: Path, tensors: tuple[str, ...], path: Path) -> None:
    """Write the model with exactly these tensors (and the outputs that carry state) as its outputs.

    Nodes that nothing of this needs are left in: the runtime drops them by itself.
    """
    import onnx

    model = load_model(model_path, external=True)
    known = {value.name: value for value in (*model.graph.output, *model.graph.value_info)}
    outputs = [known.get(name) or onnx.ValueInfoProto(name=name) for name in tensors]
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    save_model(model, path)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExposeRequest:
    """What is to be exposed; goes to a worker process."""

    #: Model that the device runs.
    model_path: Path
    #: Model whose tensors are the reference; may be the same file.
    reference_path: Path
    #: Tensors, in both models under the same names.
    tensors: tuple[str, ...]
    #: State that is carried from step to step.
    state: tuple[StateBinding, ...] = ()
    #: npz of the items (``input/<name>``).
    items_path: Path
    #: Compared at most so many items, from the first on.
    item_count: int
    #: Directory for the artifact's files.
    directory: Path
    #: Import path of the :class:`edgeloop.domain.ports.Evaluator`.
    evaluator: str
    #: Import path of ``precision -> tolerances``.
    tolerances: str
    #: Import path of ``write(path, data, host, original)``.
    golden_writer: str


def package_exposed(request: ExposeRequest) -> tuple[Artifact, dict[str, Path]]:
    """Write an artifact whose golden pack holds the reference's tensors; runs in a worker process.

    Raises:
        InvalidInputError: a model fails with these outputs; the runtime's reason in one line.
    """
    items = read_items(request.items_path, request.state, "golden")
    items = _first(items, request.item_count)
    request.directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="exposed-", dir=request.directory.parent) as name:
        exposed, reference = Path(name) / "exposed.onnx", Path(name) / "reference.onnx"
        carried = tuple(b.output for b in request.state if b.output not in request.tensors)
        expose(request.model_path, (*request.tensors, *carried), exposed)
        expose(request.reference_path, (*request.tensors, *carried), reference)
        evaluate = resolve(request.evaluator)
        expected: Mapping[str, NDArray[np.generic]] = evaluate(reference, items, batch_size=1)
        if not expected:
            raise InvalidInputError("none of these tensors can be compared: they are state alone.")
        shutil.rmtree(request.directory)
        description = describe(exposed, state=request.state)
        return package(
            exposed,
            description,
            label=f"{len(request.tensors)} exposed tensors",
            recipe=ORIGINAL,
            source_digest=description.digest,
            directory=request.directory,
            golden=items,
            host=expected,
            original=expected,
            decision=NO_DECISION,
            tolerances_for=resolve(request.tolerances),
            write_golden=resolve(request.golden_writer),
        )


def _first(items: Dataset, count: int) -> Dataset:
    return replace(items, inputs={name: array[:count] for name, array in items.inputs.items()})
