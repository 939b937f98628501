"""One profiled run of a model, each executed node with its shapes and its place in the optimised graph."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_foundation.errors import InvalidInputError

from edgeloop.compress.graph import graphs_in, load_model, save_model
from edgeloop.compress.runtime import first_line, open_session, session_options

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Execution", "Profile", "TensorUse", "profile"]

_SUFFIX = "_kernel_time"


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorUse:
    """One tensor that a kernel read or wrote."""

    #: NumPy-like name of the element type.
    dtype: str
    #: Shape at run time.
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """One execution of one node; a node in a loop has several."""

    #: Name that is unique in the optimised graph, subgraphs included.
    key: str
    #: Name of the node as the user, or the runtime's fusion, gave it.
    name: str
    #: The node in the optimised graph.
    node: Any
    #: Inputs that are tensors, in order.
    inputs: tuple[TensorUse, ...]
    #: Outputs that are tensors, in order.
    outputs: tuple[TensorUse, ...]
    #: Time on this host; a container's includes what runs inside.
    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The optimised graph and what was executed of it, in order."""

    #: The optimised model; external data not loaded.
    model: Any
    #: Executions in order of their start.
    executions: tuple[Execution, ...]


def profile(
    model_path: Path, feeds: Mapping[str, NDArray[np.generic]], *, repeats: int = 1, prepack: bool = False
) -> Profile:
    """Optimise the model at level "extended", run it and return the executions of the last repeat.

    Args:
        model_path: ONNX file.
        feeds: Every input with its array at batch 1.
        repeats: Runs; more than one when times are wanted, because the first is slower. Times are those
        of the
            fastest repeat of each execution.
        prepack: Whether the runtime may rearrange constant weights as it would in service. Their shapes
        are then
            missing from the executions.

    Raises:
        InvalidInputError: the runtime does not load the model or fails on ``feeds``.
    """
    with tempfile.TemporaryDirectory(prefix="edgeloop-profile-") as name:
        directory = Path(name)
        model, labels = _optimised(model_path, directory)
        entries = {} if prepack else {"session.disable_prepacking": "1"}
        options = session_options("none", entries)
        options.enable_profiling = True
        options.profile_file_prefix = str(directory / "profile")
        session = open_session(directory / "named.onnx", options)
        try:
            for _ in range(repeats):
                session.run(None, dict(feeds))
        except Exception as error:  # every failure of the runtime is a class of its own C++ binding
            raise InvalidInputError(f"{model_path.name} fails on the data: {first_line(error)}") from error
        finally:
            events = Path(session.end_profiling())
        return Profile(
            model=model, executions=_executions(json.loads(events.read_text()), model, labels, repeats)
        )


def _optimised(model_path: Path, directory: Path) -> tuple[Any, dict[str, str]]:
    """Save the optimised graph with a unique name on every node; return it and the names that were there."""
    entries = {
        "session.optimized_model_external_initializers_file_name": "optimised.data",
        "session.optimized_model_external_initializers_min_size_in_bytes": str(1 << 20),
    }
    options = session_options("extended", entries, portable=True)
    options.optimized_model_filepath = str(directory / "optimised.onnx")
    open_session(model_path, options)
    model = load_model(directory / "optimised.onnx")
    labels = {}
    nodes = [node for graph in graphs_in(model) for node in graph.node]
    for number, node in enumerate(nodes):
        key = f"n{number}"
        labels[key] = node.name or f"{node.op_type}_{number}"
        node.name = key
    save_model(model, directory / "named.onnx")
    return model, labels


def _executions(events: list[Any], model: Any, labels: dict[str, str], repeats: int) -> tuple[Execution, ...]:
    nodes = {node.name: node for graph in graphs_in(model) for node in graph.node}
    timed = [e for e in events if e.get("cat") == "Node" and str(e.get("name", "")).endswith(_SUFFIX)]
    timed = sorted((e for e in timed if e["name"][: -len(_SUFFIX)] in nodes), key=lambda e: int(e["ts"]))
    runs = _split(timed, repeats)
    found = []
    for position, event in enumerate(runs[-1]):
        key = event["name"][: -len(_SUFFIX)]
        same_path = [
            run[position]
            for run in runs
            if len(run) == len(runs[-1]) and run[position]["name"] == event["name"]
        ]
        found.append(
            Execution(
                key=key,
                name=labels[key],
                node=nodes[key],
                inputs=_uses(event["args"].get("input_type_shape", [])),
                outputs=_uses(event["args"].get("output_type_shape", [])),
                duration_s=min(float(e["dur"]) for e in same_path) * 1e-6,
            )
        )
    return tuple(found)


def _split(events: list[Any], repeats: int) -> list[list[Any]]:
    """Cut the events into runs; equal runs are of equal length, others count as one run."""
    if repeats < 2 or len(events) % repeats:
        return [events]
    size = len(events) // repeats
    return [events[start : start + size] for start in range(0, len(events), size)] if size else [events]


def _uses(entries: list[dict[str, list[int]]]) -> tuple[TensorUse, ...]:
    return tuple(
        TensorUse(dtype=_dtype(kind), shape=tuple(int(n) for n in shape))
        for entry in entries
        for kind, shape in entry.items()
    )


def _dtype(kind: str) -> str:
    return {"float": "float32", "double": "float64", "Float8E4M3FN": "float8"}.get(kind, kind)
