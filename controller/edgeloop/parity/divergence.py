"""Finds the first node whose output leaves the reference: bisection over exposed intermediate outputs.

The order of the file is topological, so "some tensor among the first i nodes diverges" is monotone in i, and
the nodes between a good point and a bad one hold the first bad tensor. Several points are exposed at once, because
a round trip to a board costs more than a few more outputs. At the end the node's own inputs are looked at: a
branch that went bad earlier is followed back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgeloop_protocol.types.run import OutputParity

from edgeloop.domain.divergence import Divergence, DivergenceKind, TensorError, TracedNode

__all__ = ["DivergenceSearch", "rounding_unit"]

_POINTS = 16
"""Tensors exposed at once: three questions reach one node among four thousand."""

_JUMP = 10.0
"""A node is in error when its output is off by more than ten times what its inputs and one rounding explain;
operators that cancel (a difference of near equal values, a normalisation) were seen to amplify by a few times."""

_UNITS = {"fp32": 1e-6, "fp16": 1e-3, "bf16": 8e-3, "int8": 1 / 255, "mixed": 1 / 255}
"""Size of one rounding relative to a tensor's largest value: see the tolerances of this room for fp32, fp16 and
int8; bfloat16 keeps 8 bits."""


def rounding_unit(precision: str, inference_precision: str) -> float:
    """Return the size of one rounding where an artifact is computed in a (possibly lower) precision."""
    return max(_UNITS.get(precision, _UNITS["fp32"]), _UNITS.get(inference_precision, _UNITS["fp32"]))


class DivergenceSearch:
    """Which tensors to look at next, and what follows from the answers; does no I/O.

    Args:
        nodes: nodes in topological order.
        unit: size of one rounding, relative.
        outputs: outputs of the model; looked at first, because it is they that failed.
        comparable: tensors that the reference has too; None for all.
    """

    def __init__(
        self,
        nodes: Sequence[TracedNode],
        unit: float,
        outputs: Sequence[str] = (),
        comparable: frozenset[str] | None = None,
    ) -> None:
        self._nodes = [kept for node in nodes if (kept := _comparable(node, comparable)).outputs]
        self._unit = unit
        self._place = {name: i for i, node in enumerate(self._nodes) for name in node.outputs}
        self._outputs = [name for name in outputs if name in self._place]
        self._known: dict[str, TensorError] = {}
        self._good = -1
        self._bad = len(self._nodes)
        self._found: int | None = None
        self._finished = not self._nodes
        self.round_count = 0

    def next_tensors(self) -> tuple[str, ...]:
        """Return the tensors to expose next, in order; none when the search has ended."""
        if self._finished:
            return ()
        if self._found is not None:
            return self._unknown_inputs(self._found)
        between = range(self._good + 1, min(self._bad, len(self._nodes)))
        if len(between) > _POINTS:
            step = (len(between) - 1) / (_POINTS - 1)
            points = {between[round(i * step)] for i in range(_POINTS)}
        else:
            points = set(between)
        if not self.round_count:
            points |= {self._place[name] for name in self._outputs}
        return tuple(name for place in sorted(points) for name in self._nodes[place].outputs)

    def learn(self, answers: Sequence[OutputParity]) -> None:
        """Take in how close the exposed tensors were."""
        self.round_count += 1
        asked = [answer for answer in answers if answer.name in self._place]
        for answer in asked:
            node = self._nodes[self._place[answer.name]]
            self._known[answer.name] = TensorError(
                tensor=answer.name,
                node=node.name,
                op_type=node.op_type,
                relative_error=answer.max_relative_error,
                within_tolerance=answer.within_tolerance,
            )
        if self._found is None:
            self._narrow(sorted({self._place[answer.name] for answer in asked}))
        if self._found is not None:
            self._follow_back()

    def _narrow(self, places: Sequence[int]) -> None:
        bad = next((place for place in places if self._diverges(place)), None)
        if bad is not None:
            self._good = max([p for p in places if p < bad], default=self._good)
            self._bad = bad
        elif self._bad == len(self._nodes):
            # Not even the last tensor diverges: what failed the check is not there with outputs exposed.
            self._finished = True
            return
        else:
            self._good = max(places, default=self._good)
        if self._bad - self._good <= 1:
            self._found = self._bad

    def _diverges(self, place: int) -> bool:
        errors = [self._known[name] for name in self._nodes[place].outputs if name in self._known]
        return any(not error.within_tolerance for error in errors)

    def _inputs_of(self, place: int) -> tuple[str, ...]:
        return tuple(name for name in self._nodes[place].inputs if name in self._place)

    def _unknown_inputs(self, place: int) -> tuple[str, ...]:
        return tuple(name for name in self._inputs_of(place) if name not in self._known)

    def _follow_back(self) -> None:
        while self._found is not None and not self._unknown_inputs(self._found):
            worse = [n for n in self._inputs_of(self._found) if not self._known[n].within_tolerance]
            if not worse:
                self._finished = True
                return
            self._found = min(self._place[name] for name in worse)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to ask."""
        return self._finished

    def result(self, device: str, against: str, item_count: int) -> Divergence:
        """Return what was found."""
        looked_at = tuple(sorted(self._known.values(), key=lambda error: self._place[error.tensor]))
        first, input_error, kind = None, 0.0, DivergenceKind.NOT_REPRODUCED
        if self._found is not None:
            first = self._worst(self._found)
            errors = [self._known[n].relative_error for n in self._inputs_of(self._found) if n in self._known]
            input_error = max(errors, default=0.0)
            explained = _JUMP * (input_error + self._unit)
            kind = DivergenceKind.ERROR if first.relative_error > explained else DivergenceKind.ROUNDING
        return Divergence(
            device=device,
            against=against,
            kind=kind,
            first=first,
            input_error=input_error,
            looked_at=looked_at,
            round_count=self.round_count,
            item_count=item_count,
            reason=_reason(kind, first, input_error),
        )

    def _worst(self, place: int) -> TensorError:
        errors = [self._known[name] for name in self._nodes[place].outputs if name in self._known]
        return max(errors, key=lambda error: error.relative_error)


def _comparable(node: TracedNode, names: frozenset[str] | None) -> TracedNode:
    if names is None:
        return node
    return replace(node, outputs=tuple(name for name in node.outputs if name in names))


def _reason(kind: DivergenceKind, first: TensorError | None, input_error: float) -> str:
    if first is None:
        return (
            "with intermediate outputs exposed the device agrees: the difference arises where the runtime fuses "
            "nodes; try graph optimisation 'basic' or 'none'"
        )
    where = f"{first.op_type} {first.node!r}: its output is off by {first.relative_error:.2g} of its largest value"
    if kind is DivergenceKind.ERROR:
        return f"{where} although its inputs agree to {input_error:.2g}: an error of this node on this device"
    return f"{where}, its inputs by {input_error:.2g} already: rounding that grows from node to node, no single error"
