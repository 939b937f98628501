"""Energy from readings of power."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Sequence

from edgeloop_foundation.errors import InvalidInputError

__all__ = ["integrate_between", "integrate_energy", "interpolate"]


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


def interpolate(times_ns: Sequence[int], values: Sequence[float], time_ns: float) -> float:
    """Return the value at ``time_ns``, on the line between its two neighbours.

    Raises:
        InvalidInputError: no values, unequal lengths, or a time outside of them.
    """
    if len(times_ns) != len(values) or not times_ns:
        raise InvalidInputError(f"{len(times_ns)} times do not go with {len(values)} values.")
    if not times_ns[0] <= time_ns <= times_ns[-1]:
        raise InvalidInputError(
            f"nothing was read at {time_ns * 1e-9:.3f} s: readings go from {times_ns[0] * 1e-9:.3f} s "
            f"to {times_ns[-1] * 1e-9:.3f} s."
        )
    right = bisect.bisect_left(times_ns, time_ns)
    if times_ns[right] == time_ns:
        return values[right]
    before, after = times_ns[right - 1], times_ns[right]
    share = (time_ns - before) / (after - before)
    return values[right - 1] + share * (values[right] - values[right - 1])


def integrate_between(
    times_ns: Sequence[int], powers_w: Sequence[float], start_ns: int, end_ns: int
) -> float:
    """Return the energy in joule from ``start_ns`` to ``end_ns``: trapezoids, cut at both ends by interpolation.

    Raises:
        InvalidInputError: the readings do not reach over both ends, or what ``integrate_energy`` refuses.
    """
    if end_ns <= start_ns:
        raise InvalidInputError("energy is integrated over a time that is longer than nothing.")
    first, last = (interpolate(times_ns, powers_w, time_ns) for time_ns in (start_ns, end_ns))
    inner = range(bisect.bisect_right(times_ns, start_ns), bisect.bisect_left(times_ns, end_ns))
    times = [start_ns, *(times_ns[index] for index in inner), end_ns]
    return integrate_energy(times, [first, *(powers_w[index] for index in inner), last])
