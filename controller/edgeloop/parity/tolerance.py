"""How close outputs have to be, by the precision of the arithmetic.

Two references, two questions.

**host**: the same file on another processor. Differences come from the order of summation, fused
multiply-add, and the rounding of requantisation; not from compression.

- fp32: summation in another order moves a layer by about sqrt(n) units in the last place, 1e-6 of its
  largest value; through some fifty layers and a softmax 1e-4 is seen. 1e-3 of the output's largest
  magnitude is ten times that.
- fp16: a unit in the last place is 1e-3, so 2e-2.
- int8, mixed: a rounding that falls the other way is 1/255 of a tensor's range, and each layer may add one;
  1e-1 allows some twenty-five such steps in the output. Saturation (16-bit sums without headroom) and a
  lost scale are far outside. The values
  gate: beside them, decisions may change on 5 % of items at most.

**original**: the unmodified model on the host. Here compression itself is judged.

- fp32: graph rewriting changes the order of summation only: 2e-3, as on another processor twice.
- fp16: rounding of every weight and activation, 5e-2.
- int8, mixed: values are expected to move and do not gate; the decisions do. Up to 5 % may change:
  published 8-bit models keep 95 to 99.9 % of their decisions, and with a golden pack of 64 items a rate of
  5 % is refuted from 8 changes on. How much quality such a change costs is told by the labelled evaluation,
  not here.
"""

from __future__ import annotations

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.artifact import Tolerance

__all__ = ["PRECISIONS", "tolerances_for"]

_INT8_HOST = (1e-3, 1e-1, 0.05, True)
_INT8_ORIGINAL = (1e-3, 2.5e-1, 0.05, False)

_POLICY: dict[str, tuple[tuple[float, float, float, bool], tuple[float, float, float, bool]]] = {
    "fp32": ((1e-5, 1e-3, 0.01, True), (1e-5, 2e-3, 0.01, True)),
    "fp16": ((1e-4, 2e-2, 0.02, True), (1e-3, 5e-2, 0.02, True)),
    "int8": (_INT8_HOST, _INT8_ORIGINAL),
    # As strict as its least exact part.
    "mixed": (_INT8_HOST, _INT8_ORIGINAL),
}

PRECISIONS = tuple(_POLICY)
"""Precisions that have a policy."""


def tolerances_for(precision: str) -> tuple[tuple[str, Tolerance], ...]:
    """Return the tolerances against "host" and "original", in this order.

    Raises:
        InvalidInputError: a precision without a policy.
    """
    if precision not in _POLICY:
        raise InvalidInputError(
            f"no tolerance for the precision {precision!r}; known are {', '.join(PRECISIONS)}."
        )
    host, original = (_tolerance(precision, *figures) for figures in _POLICY[precision])
    return (("host", host), ("original", original))


def _tolerance(name: str, absolute: float, relative: float, flips: float, gate: bool) -> Tolerance:
    return Tolerance(name=name, absolute=absolute, relative=relative, flip_rate_max=flips, values_gate=gate)
