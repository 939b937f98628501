"""Energy from readings of power."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from edgeloop_foundation.errors import InvalidInputError

__all__ = ["integrate_energy"]


def integrate_energy(times_ns: Sequence[int], powers_w: Sequence[float]) -> float:
    """Return the energy in joule between the first and the last reading, by the trapezoidal rule.

    Args:
        times_ns: the sensor's own time stamps, rising.
        powers_w: power at these times.

    Raises:
        InvalidInputError: fewer than two readings, unequal lengths, time going back, or a power that is not
            finite.
    """
    if len(times_ns) != len(powers_w) or len(times_ns) < 2:
        raise InvalidInputError(
            "energy needs two or more readings, each with time and power; "
            f"found {len(times_ns)} times and {len(powers_w)} powers."
        )
    if any(later < earlier for earlier, later in itertools.pairwise(times_ns)):
        raise InvalidInputError("the times of power readings go back.")
    if not all(map(math.isfinite, powers_w)):
        raise InvalidInputError("a power reading is not finite.")
    pieces = zip(itertools.pairwise(times_ns), itertools.pairwise(powers_w), strict=True)
    return math.fsum((t1 - t0) * 0.5 * (p0 + p1) for (t0, t1), (p0, p1) in pieces) * 1e-9
