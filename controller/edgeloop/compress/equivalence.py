"""Holds a transformed model to the answers of the one it came from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import EdgeloopError, InternalError

from edgeloop.compress.compare import answers, inequivalence
from edgeloop.domain.model import ModelDescription

if TYPE_CHECKING:
    from edgeloop.compress.passes.base import PassContext

__all__ = ["require_equivalence"]


def require_equivalence(
    what: str,
    source: Path,
    target: Path,
    context: PassContext,
    model: ModelDescription,
    note: Callable[[str], None],
) -> None:
    """Compare the answers of both files over the calibration items, or over a synthetic input without data.

    Args:
        what: name of the transform, for people.
        source: the model before.
        target: the model after.
        context: data, seed, evaluator and tolerance policy.
        model: description of ``source``.
        note: takes the reason when nothing could be compared.

    Raises:
        InternalError: they answer differently.
    """
    data = context.calibration
    try:
        expected = answers(source, model, data, seed=context.seed, evaluator=context.evaluator)
    except EdgeloopError as error:
        if data is not None:
            raise
        note(f"the answers were not compared: {error.message}")
        return
    actual = answers(target, model, data, seed=context.seed, evaluator=context.evaluator)
    judge = context.parity
    difference = judge(expected, actual, model.precision) if judge else inequivalence(actual, expected)
    if difference:
        raise InternalError(f"{what} changed the answers of {model.name}: {difference}.")
