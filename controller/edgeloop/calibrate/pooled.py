"""One model for many boards and runtimes: what each kind of work costs, drawn towards what it costs elsewhere.

Every latency is the sum of parts (arithmetic by kind, costs of shape, transfers, overheads) in the figures of a common
profile, each times a multiplier. The logarithm of a multiplier is a sum of effects, each normal with a width of its
own: of the kind of work everywhere, in the precision, in the runtime and its release, on the tier of instruction sets,
on the board. A board without measurements so gets what its tier and its runtime have, one with some moves as far as
they say, and one with many stands for itself. What the sum cannot explain of an architecture is an effect of it, shared
by all boards.

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

_PART_WIDTHS = {
    "": 1.28, "precision": 0.8, "runtime": 0.64, "release": 1.0, "tier": 0.4, "board": 0.24, "cell": 0.2,
}  # fmt: skip
"""Width of the effects on one kind of work; "cell" is a board with a runtime and a precision. All widths are those of
largest marginal likelihood on 403 rows of ncnn on eleven boards, found one at a time, that of the release last."""

_WHOLE_WIDTHS = {
    "": 1.0, "precision": 0.3, "runtime": 0.5, "release": 0.3, "tier": 0.64, "board": 0.3, "cell": 0.2,
    "cell threads": 0.03, "model": 0.13, "model precision": 0.1, "model runtime": 0.1, "model threads": 0.04,
}  # fmt: skip
"""Width of the effects on the whole latency."""

_THREAD_WIDTHS = {"": 0.3, "runtime": 0.09, "tier": 0.1, "board": 0.09}
"""Width of the effects on the exponent of the thread count."""

_NOISE = 0.05
_ITERATIONS = 10
_SETTLED = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One latency and where it belongs."""

    #: Seconds of each part of the work in the figures of the common profile, in one order for all rows.
    parts: tuple[float, ...]
    #: What effects go by: "precision", "runtime", "release", "tier", "board", "cell", "model" and so on.
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
        self._logs = np.array([row.log_threads for row in rows])
        self._alike = _Alike.of(self._rows, self._rows)
        measured = np.array([row.log_latency for row in rows])
        effects, whole = np.zeros_like(self._parts), np.zeros(len(rows))
        for iteration in range(_ITERATIONS):
            latency, shares = _latency(self._parts, effects, whole)
            target = measured - latency + (shares * effects).sum(axis=1) + whole
            self._shares = shares
            covariance = self._alike.covariance(shares, shares, self._logs, self._logs)
            self._inverse = np.linalg.inv(covariance + _NOISE**2 * np.eye(len(rows)))
            self._pull = self._inverse @ target
            new_effects, new_whole = self._effects(self._alike, self._logs)
            # Whole steps swing between two explanations of a latency; shrinking ones settle between them.
            share, step = 1.0 / (1.0 + iteration / 4.0), float(np.abs(new_effects - effects).max())
            effects, whole = effects + share * (new_effects - effects), whole + share * (new_whole - whole)
            if step < _SETTLED:
                break

    def predict(self, rows: Sequence[Row]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the logarithms of the latencies in seconds and their standard deviations."""
        import numpy as np

        logs = np.array([row.log_threads for row in rows])
        alike = _Alike.of(rows, self._rows)
        latency, shares = _latency(np.array([row.parts for row in rows]), *self._effects(alike, logs))
        cross = alike.covariance(shares, self._shares, logs, self._logs)
        own = _Alike.of(rows, rows).covariance(shares, shares, logs, logs)
        variance = np.diag(own) + _NOISE**2 - np.einsum("ij,jk,ik->i", cross, self._inverse, cross)
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

    def _effects(
        self, alike: _Alike, logs: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the effects on each part and on the whole, of rows that are alike these."""
        parts = (alike.parts * self._pull) @ self._shares
        threads = alike.threads @ (self._pull * self._logs)
        return parts, alike.whole @ self._pull + logs * threads


@dataclass(frozen=True, slots=True, kw_only=True)
class _Alike:
    """Covariance of the effects of rows with each other: on one part, on the whole, and on the thread exponent."""

    parts: NDArray[np.float64]
    whole: NDArray[np.float64]
    threads: NDArray[np.float64]

    @classmethod
    def of(cls, one: Sequence[Row], other: Sequence[Row]) -> _Alike:
        import numpy as np

        def shared(widths: Mapping[str, float]) -> NDArray[np.float64]:
            total = np.zeros((len(one), len(other)))
            for name, width in widths.items():
                left = np.array([row.keys.get(name, "") for row in one])
                right = np.array([row.keys.get(name, "") for row in other])
                total += width**2 * (left[:, None] == right[None, :])
            return total

        return cls(parts=shared(_PART_WIDTHS), whole=shared(_WHOLE_WIDTHS), threads=shared(_THREAD_WIDTHS))

    def covariance(
        self,
        shares: NDArray[np.float64],
        other_shares: NDArray[np.float64],
        logs: NDArray[np.float64],
        other_logs: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Return the covariance of the logarithms of the latencies."""
        import numpy as np

        result: NDArray[np.float64] = (
            self.parts * (shares @ other_shares.T) + self.whole + self.threads * np.outer(logs, other_logs)
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
