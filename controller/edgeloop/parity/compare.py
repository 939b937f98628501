"""Holds one set of outputs against another on the host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from edgeloop_protocol.types.artifact import Tolerance

from edgeloop.domain.parity import overall_verdict
from edgeloop.parity.tolerance import tolerances_for

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.generic]

__all__ = ["check", "overall_verdict"]

_NOISE_MAX = 0.7
"""Error energy of half the signal's (3 dB): beyond that nothing of an output's meaning can be relied on."""


def check(expected: Mapping[str, Array], actual: Mapping[str, Array], precision: str) -> str:
    """Compare a rewritten or compressed model's outputs with the original's; this is the postcondition of a
    pass.

    Where the precision's values gate, every value has to be within the tolerance. Where they do not (int8,
    mixed), the error of an output as a whole stays below 0.7 of its magnitude (3 dB): that refuses a
    destroyed model and leaves the finer judgement to decisions and labels.

    Returns:
        An empty string when they agree, else one sentence.

    Raises:
        InvalidInputError: a precision without a policy.
    """
    tolerance = dict(tolerances_for(precision))["original"]
    if set(expected) != set(actual):
        return f"outputs differ in name: expected {_names(expected)}, found {_names(actual)}."
    findings = (_compare(name, expected[name], actual[name], tolerance) for name in expected)
    return next((finding for finding in findings if finding), "")


def _names(outputs: Mapping[str, Array]) -> str:
    return ", ".join(sorted(outputs))


def _compare(name: str, expected: Array, actual: Array, tolerance: Tolerance) -> str:
    import numpy as np

    if expected.shape != actual.shape:
        return f"output {name!r} has shape {actual.shape}, expected {expected.shape}."
    if expected.dtype.kind in "OUSb":
        same = bool((expected == actual).all())
        return "" if same else f"output {name!r} differs in {int((expected != actual).sum())} values."
    a, b = expected.astype(np.float64), actual.astype(np.float64)
    nonfinite = int((~np.isfinite(b) & np.isfinite(a)).sum())
    if nonfinite:
        return f"output {name!r} has {nonfinite} values that are not finite."
    finite = np.isfinite(a)
    strange = ~finite & (a != b) & ~(np.isnan(a) & np.isnan(b))
    if strange.any():
        return f"output {name!r} lacks {int(strange.sum())} infinite or missing values that are expected."
    reference = a[finite]
    error = np.abs(b[finite] - reference)
    if not tolerance.values_gate:
        return _noise(name, error, reference)
    largest, scale = float(error.max(initial=0.0)), float(np.abs(reference).max(initial=0.0))
    allowed = tolerance.absolute + tolerance.relative * scale
    if largest <= allowed:
        return ""
    return f"output {name!r} is off by {largest:.3g}; {tolerance.name} allows {allowed:.3g}."


def _noise(name: str, error: NDArray[np.float64], reference: NDArray[np.float64]) -> str:
    import numpy as np

    noise, signal = float(np.linalg.norm(error)), float(np.linalg.norm(reference))
    if noise <= _NOISE_MAX * signal or noise == 0.0:
        return ""
    ratio = noise / signal if signal else float("inf")
    return (
        f"output {name!r} is destroyed: its error is {ratio:.2g} of its magnitude, {_NOISE_MAX} is allowed."
    )
