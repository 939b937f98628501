"""From the sums of trees, or from votes, to labels and probabilities: the last nodes of a written model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from edgeloop_foundation.errors import UnsupportedError

from edgeloop.compress.classic.forest import Forest, tree_node

__all__ = ["Head", "Nodes", "class_numbers", "finished", "forest_model"]

_OPSET = 17
_ML_OPSET = 3
_IR = 8
_LINKS = ("identity", "softmax", "sigmoid", "exp")
LABEL = "label"
SCORES = "probabilities"
VALUE = "variable"
INPUT = "features"


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What a sum means.

    Raises:
        UnsupportedError: a link that is not known.
    """

    #: "identity", "softmax", "sigmoid" or "exp".
    link: str = "identity"
    #: The sum is divided by this first: the number of trees where they are averaged.
    divisor: float = 1.0
    #: Class of each score; None for a regression.
    classes: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.link not in _LINKS:
            raise UnsupportedError(f"the link function {self.link!r} is not known.")


def class_numbers(classes: Any) -> tuple[int, ...]:
    """Return the classes as whole numbers: themselves where they are, else their places in sorted order."""
    array = np.asarray(classes)
    if array.dtype.kind in "iub":
        return tuple(int(value) for value in array)
    if array.dtype.kind == "f" and (array == np.rint(array)).all():
        return tuple(int(value) for value in array)
    return tuple(int(place) for place in np.argsort(np.argsort(array.astype(np.str_))))


class Nodes:
    """Nodes and constants of a graph under construction."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, op_type: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        import onnx

        self.nodes.append(onnx.helper.make_node(op_type, list(inputs), [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: Any) -> str:
        """Add a constant and return its name."""
        import onnx

        self.constants.append(onnx.numpy_helper.from_array(np.asarray(value), name))
        return name


def forest_model(forest: Forest, head: Head, features: int) -> Any:
    """Return the ONNX model of a forest: float32 ``[items, features]`` in, labels and probabilities or values
    out."""
    graph = Nodes()
    graph.nodes.append(tree_node(forest, INPUT, "sums"))
    return finished(graph, "sums", head, features, forest.values.shape[1])


def finished(graph: Nodes, sums: str, head: Head, features: int, targets: int) -> Any:
    """Add the head to what computes ``sums`` and return the model."""
    import onnx

    if head.divisor != 1.0:
        sums = graph.add("Div", [sums, graph.constant("divisor", np.float32(head.divisor))], "means")
    if head.classes is None:
        _value(graph, sums, head)
        outputs = [_info(VALUE, onnx.TensorProto.FLOAT, ["items", targets])]
    else:
        _classes(graph, sums, head)
        outputs = [
            _info(LABEL, onnx.TensorProto.INT64, ["items"]),
            _info(SCORES, onnx.TensorProto.FLOAT, ["items", len(head.classes)]),
        ]
    inputs = [_info(INPUT, onnx.TensorProto.FLOAT, ["items", features])]
    made = onnx.helper.make_graph(graph.nodes, "estimator", inputs, outputs, graph.constants)
    domains = {node.domain for node in graph.nodes}
    opsets = [onnx.helper.make_opsetid("", _OPSET)]
    opsets += [onnx.helper.make_opsetid("ai.onnx.ml", _ML_OPSET)] if "ai.onnx.ml" in domains else []
    model = onnx.helper.make_model(made, opset_imports=opsets, producer_name="edgeloop")
    model.ir_version = _IR
    onnx.checker.check_model(model)
    return model


def _info(name: str, kind: int, shape: list[str | int]) -> Any:
    import onnx

    return onnx.helper.make_tensor_value_info(name, kind, shape)


def _value(graph: Nodes, sums: str, head: Head) -> None:
    operator = {"identity": "Identity", "exp": "Exp", "sigmoid": "Sigmoid"}.get(head.link)
    if operator is None:
        raise UnsupportedError(f"a regression with the link {head.link!r} is not known.")
    graph.add(operator, [sums], VALUE)


def _classes(graph: Nodes, sums: str, head: Head) -> None:
    if head.link == "sigmoid":
        opposite = graph.add("Neg", [sums], "opposite")
        sums = graph.add("Concat", [opposite, sums], "both", axis=1)
        graph.add("Sigmoid", [sums], SCORES)
    elif head.link == "softmax":
        graph.add("Softmax", [sums], SCORES, axis=1)
    else:
        graph.add("Identity", [sums], SCORES)
    # Decided on the sums: probabilities round to equal ones long before the sums do.
    numbers = head.classes or ()
    if numbers == tuple(range(len(numbers))):
        graph.add("ArgMax", [sums], LABEL, axis=1, keepdims=0)
        return
    place = graph.add("ArgMax", [sums], "place", axis=1, keepdims=0)
    graph.add("Gather", [graph.constant("classes", np.asarray(numbers, np.int64)), place], LABEL)
