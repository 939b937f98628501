"""A metric of the user's own, by import path: ``function(scores, labels) -> float``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from edgeloop_foundation.errors import EdgeloopError, InvalidInputError
from numpy.typing import NDArray

from edgeloop.evaluate.metrics.base import Judged, Metric, Scorer

__all__ = ["custom_metric"]


def custom_metric(name: str, function: Callable[..., Any]) -> type[Metric]:
    """Return a metric class around a function of scores ``[items, k]`` and labels ``[items]``.

    A resample is given to it as repeated items. More is better unless the function has an attribute
    ``higher_is_better`` that is False.
    """

    class Custom:
        """The user's function on resampled items."""

        higher_is_better = bool(getattr(function, "higher_is_better", True))
        on_decisions = False

        def bind(self, judged: Judged) -> Scorer:
            """Return the scorer; it raises InvalidInputError when the function fails or gives no number."""

            def score(weights: NDArray[np.float64]) -> NDArray[np.float64]:
                return np.asarray([_value(name, function, judged, row) for row in weights], np.float64)

            return score

        def correct(self, judged: Judged) -> None:
            """Return None: what the function thinks right is its own affair."""
            del judged

    Custom.name = name  # type: ignore[attr-defined]
    return Custom  # type: ignore[return-value]


def _value(name: str, function: Callable[..., Any], judged: Judged, weights: NDArray[np.float64]) -> float:
    drawn = np.repeat(np.arange(len(weights)), weights.astype(np.int64))
    try:
        value = float(function(judged.scores[drawn], judged.labels[drawn]))
    except EdgeloopError:
        raise
    except Exception as error:
        raise InvalidInputError(
            f"metric {name} failed: {type(error).__name__}: {error}.",
            next_step="It takes scores [items, k] and labels [items] and returns a number.",
        ) from error
    return value
