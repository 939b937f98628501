"""One model for many boards and runtimes: what each kind of work costs, drawn towards what it costs elsewhere.

Every latency is the sum of parts (arithmetic by kind, costs of shape, transfers, overheads) in the figures of a common
profile, each times a multiplier. The logarithm of a multiplier is a sum of effects, each normal with a width of its own:
of the kind of work everywhere, in the precision, in the runtime, on the tier of instruction sets, on the board. A board
without measurements so gets what its tier and its runtime have, one with some moves as far as they say, and one with many
stands for itself. What the sum cannot explain of an architecture is an effect of the architecture, shared by all boards.

Solved as a Gaussian process by successive linearisation (Rasmussen and Williams 2006, 2.2); errors with any group left
out follow from the same matrix without another fit (5.4.2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Pool", "Row"]

_PART_WIDTHS = {"": 0.8, "precision": 0.5, "runtime": 0.4, "tier": 0.25, "board": 0.15, "cell": 0.2}
"""Width of the effects on one kind of work; "cell" is a board with a runtime and a precision."""

_WHOLE_WIDTHS = {
    "": 1.0, "precision": 0.3, "runtime": 0.5, "tier": 0.4, "board": 0.3, "cell": 0.2, "cell threads": 0.05,
    "model": 0.08, "model precision": 0.06, "model runtime": 0.06, "model threads": 0.04,
}  # fmt: skip
"""Width of the effects on the whole latency."""

_THREAD_WIDTHS = {"": 0.3, "runtime": 0.15, "tier": 0.1, "board": 0.15}
"""Width of the effects on the exponent of the thread count."""

_NOISE = 0.04
_ITERATIONS = 15
_STEP_MAX = 1.0
_SETTLED = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One latency and where it belongs."""

    #: Seconds of each part of the work in the figures of the common profile, in one order for all rows.
    parts: tuple[float, ...]
    #: What effects go by: "precision", "runtime", "tier", "board", "cell", "model" and so on.
    keys: Mapping[str, str]
    #: Logarithm of the thread count.
    log_threads: float
    #: Logarithm of the measured latency in seconds; not used where a row is only predicted.
    log_latency: float = 0.0


class Pool:
    """Rows with what they say about each other."""

    def __init__(self, rows: Sequence[Row]) -> None:
        """Solve for the rows.

        Args:
            rows: measured ones; at least one.
        """
        import numpy as np

        self._rows = tuple(rows)
        self._parts = np.array([row.parts for row in rows])
        self._masks = _masks(self._rows, self._rows)
        self._logs = np.array([row.log_threads for row in rows])
        measured = np.array([row.log_latency for row in rows])
        effects, whole = np.zeros_like(self._parts), np.zeros(len(rows))
        for _ in range(_ITERATIONS):
            latency, shares = _latency(self._parts, effects, whole)
            target = measured - latency + (shares * effects).sum(axis=1) + whole
            self._shares = shares
            self._inverse = np.linalg.inv(self._covariance(shares, shares) + _NOISE**2 * np.eye(len(rows)))
            self._pull = self._inverse @ target
            new_effects, new_whole = self._effects(self._masks, self._logs)
            step = max(float(np.abs(new_effects - effects).max()), float(np.abs(new_whole - whole).max()))
            share = min(1.0, _STEP_MAX / step) if step else 1.0
            effects, whole = effects + share * (new_effects - effects), whole + share * (new_whole - whole)
            if step < _SETTLED:
                break

    def predict(self, rows: Sequence[Row]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the logarithms of the latencies in seconds and their standard deviations."""
        import numpy as np

        masks, logs = _masks(rows, self._rows), np.array([row.log_threads for row in rows])
        latency, shares = _latency(np.array([row.parts for row in rows]), *self._effects(masks, logs))
        cross = _covariance(masks, shares, self._shares, logs, self._logs)
        own = _masks(rows, rows)
        prior = np.diag(_covariance(own, shares, shares, logs, logs)) + _NOISE**2
        variance = prior - np.einsum("ij,jk,ik->i", cross, self._inverse, cross)
        return latency, np.sqrt(np.maximum(variance, _NOISE**2))

    def left_out(self, groups: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return log error (predicted over measured) and standard deviation of each row without its whole group."""
        import numpy as np

        errors, deviations = np.zeros(len(groups)), np.zeros(len(groups))
        for group in sorted(set(groups)):
            chosen = np.array([index for index, name in enumerate(groups) if name == group])
            block = np.linalg.inv(self._inverse[np.ix_(chosen, chosen)])
            errors[chosen] = -block @ self._pull[chosen]
            deviations[chosen] = np.sqrt(np.maximum(np.diag(block), _NOISE**2))
        return errors, deviations

    def _covariance(self, one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
        return _covariance(self._masks, one, other, self._logs, self._logs)

    def _effects(
        self, masks: Mapping[str, NDArray[np.float64]], logs: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the effects on each part and on the whole, of rows with these masks."""
        by_part = sum(width**2 * masks[key] for key, width in _PART_WIDTHS.items())
        whole = sum(width**2 * masks[key] for key, width in _WHOLE_WIDTHS.items())
        threads = sum(width**2 * masks[key] for key, width in _THREAD_WIDTHS.items())
        parts = (by_part * self._pull) @ self._shares
        return parts, whole @ self._pull + logs * (threads @ (self._pull * self._logs))


def _masks(one: Sequence[Row], other: Sequence[Row]) -> dict[str, NDArray[np.float64]]:
    import numpy as np

    names = {*_PART_WIDTHS, *_WHOLE_WIDTHS, *_THREAD_WIDTHS}
    found = {}
    for name in names:
        left = np.array([row.keys.get(name, "") for row in one])
        right = np.array([row.keys.get(name, "") for row in other])
        found[name] = (left[:, None] == right[None, :]).astype(float)
    return found


def _covariance(
    masks: Mapping[str, NDArray[np.float64]],
    one: NDArray[np.float64],
    other: NDArray[np.float64],
    logs: NDArray[np.float64],
    other_logs: NDArray[np.float64],
) -> NDArray[np.float64]:
    import numpy as np

    alike = one @ other.T
    total = sum(width**2 * masks[key] * alike for key, width in _PART_WIDTHS.items())
    total = total + sum(width**2 * masks[key] for key, width in _WHOLE_WIDTHS.items())
    both = np.outer(logs, other_logs)
    result: NDArray[np.float64] = total + sum(
        width**2 * masks[key] * both for key, width in _THREAD_WIDTHS.items()
    )
    return result


def _latency(
    parts: NDArray[np.float64], effects: NDArray[np.float64], whole: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the logarithm of each row's latency and the share of each part in it."""
    import numpy as np

    times = parts * np.exp(effects)
    sums = times.sum(axis=1)
    return np.log(sums) + whole, times / sums[:, None]
