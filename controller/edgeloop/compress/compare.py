"""Whether two model files answer alike on the host: finite, equivalent, or at least related."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_foundation.errors import InvalidInputError

from edgeloop.compress.items import check_items, run_items, synthetic_feed
from edgeloop.compress.runtime import first_line, open_session
from edgeloop.domain.dataset import Dataset
from edgeloop.domain.model import ModelDescription
from edgeloop.domain.ports import Evaluator

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Answers", "answers", "inequivalence", "nonfinite", "output_error", "unrelated"]

Answers = dict[str, "NDArray[np.generic]"]
"""Output name -> every value over all items, flat."""

_ITEMS = 8
_RELATIVE = 1e-3
_ABSOLUTE = 1e-6
_UNRELATED = 0.95
"""Relative error at which an output says nothing of the reference any more; all zeros have 1."""


def answers(
    path: Path,
    model: ModelDescription,
    data: Dataset | None,
    *,
    seed: int = 0,
    evaluator: Evaluator | None = None,
    limit: int = _ITEMS,
) -> Answers:
    """Run a model over the first items, or over one seeded synthetic input without data.

    Raises:
        InvalidInputError: they do not fit the model, or the runtime fails on them.
    """
    import numpy as np

    if data is not None:
        check_items(data, model.inputs)
    if data is None:
        runs = [_run_once(path, model, seed)]
    elif evaluator is not None:
        taken = data.take(list(range(min(limit, len(data)))))
        return {name: np.ravel(values) for name, values in evaluator(path, taken).items()}
    else:
        runs = run_items(path, data, model.inputs, limit)
    return {name: np.concatenate([np.ravel(run[name]) for run in runs]) for name in runs[0]}


def _run_once(path: Path, model: ModelDescription, seed: int) -> dict[str, Any]:
    session = open_session(path)
    names = [output.name for output in session.get_outputs()]
    try:
        return dict(zip(names, session.run(None, synthetic_feed(model.inputs, seed)), strict=True))
    except Exception as error:  # every failure of the runtime is a class of its own C++ binding
        raise InvalidInputError(f"{path.name} fails on a synthetic input: {first_line(error)}") from error


def _is_real(values: Any) -> bool:
    return bool(values.dtype.kind == "f" or values.dtype.name == "bfloat16")


def nonfinite(actual: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """Return which output has NaN or infinity where the reference has none, or an empty string."""
    import numpy as np

    for name, values in actual.items():
        if _is_real(values):
            bad = ~np.isfinite(values.astype(np.float64))
            reference = expected[name].astype(np.float64)
            if values.size == reference.size:
                bad &= np.isfinite(reference)
            if bad.any():
                return f"output {name!r} has {int(bad.sum())} values of {values.size} that are not finite"
    return ""


def inequivalence(actual: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """Return how two sets of answers differ by more than rounding, or an empty string."""
    import numpy as np

    for name, reference in expected.items():
        values = actual[name]
        if values.shape != reference.shape:
            return f"output {name!r} has {values.size} values, the reference {reference.size}"
        if not _is_real(reference):
            changed = int((values != reference).sum())
            if changed:
                return f"output {name!r} differs in {changed} of {values.size} values"
            continue
        left, right = values.astype(np.float64), reference.astype(np.float64)
        alike = (left == right) | (np.isnan(left) & np.isnan(right))
        scale = float(np.max(np.abs(right[np.isfinite(right)]), initial=0.0))
        with np.errstate(invalid="ignore"):
            error = np.where(alike, 0.0, np.abs(left - right))
        if not np.all(error <= _ABSOLUTE + _RELATIVE * scale):
            return (
                f"output {name!r} is off by up to {np.nanmax(error):.3g} at a largest magnitude "
                f"of {scale:.3g}"
            )
    return ""


def output_error(actual: Mapping[str, Any], expected: Mapping[str, Any]) -> float:
    """Return the largest relative error among the real outputs (norm of the difference by norm of the reference).

    Values that are not finite in the reference are left out; infinity where only the answer is not finite, or where
    the number of values differs; 0 without a real output.
    """
    import numpy as np

    worst = 0.0
    for name, reference in expected.items():
        if not _is_real(reference):
            continue
        if actual[name].shape != reference.shape:
            return float("inf")
        left, right = actual[name].astype(np.float64), reference.astype(np.float64)
        known = np.isfinite(right)
        if not np.isfinite(left[known]).all():
            return float("inf")
        norm = float(np.linalg.norm(right[known]))
        error = float(np.linalg.norm(left[known] - right[known]))
        worst = max(worst, error / norm if norm else (float("inf") if error > _ABSOLUTE else 0.0))
    return worst


def unrelated(actual: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """Return which real output has an error about as large as the reference itself, or an empty string.

    This is the bound of sanity, not of quality: an output of zeros would be as good.
    """
    import numpy as np

    for name, reference in expected.items():
        values = actual[name]
        if not _is_real(reference):
            continue
        if values.shape != reference.shape:
            return f"output {name!r} has {values.size} values, the reference {reference.size}"
        left, right = values.astype(np.float64), reference.astype(np.float64)
        both = np.isfinite(left) & np.isfinite(right)
        energy = float(np.sum(right[both] ** 2))
        error = float(np.sum((left[both] - right[both]) ** 2))
        if error > _UNRELATED**2 * energy and error > _ABSOLUTE**2:
            ratio = (error / energy) ** 0.5 if energy else float("inf")
            return f"the error of output {name!r} is {ratio:.2g} times as large as the output itself"
    return ""
