"""Buckets of times that every device counts in alike: each ends the fourth root of two above the one before.

A quantile read from them is off by 9 % at most. Bucket 0 ends at 2^-15 s (31 us), the last but one at 2^7 s; what takes
longer is in the last.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

__all__ = ["BUCKET_COUNT", "bucket_of", "quantile_s", "upper_bound_s"]

_PER_OCTAVE = 4
_FIRST_S = 2.0**-15

BUCKET_COUNT = 22 * _PER_OCTAVE + 2
"""Buckets in all, the open one at the end included."""


def bucket_of(seconds: float) -> int:
    """Return the bucket that a time falls into."""
    if not seconds > _FIRST_S:
        return 0
    if seconds > _FIRST_S * 2.0**22:
        return BUCKET_COUNT - 1
    return math.ceil(_PER_OCTAVE * math.log2(seconds / _FIRST_S) - 1e-9)


def upper_bound_s(bucket: int) -> float:
    """Return where a bucket ends; infinite for the last."""
    return math.inf if bucket >= BUCKET_COUNT - 1 else float(_FIRST_S * 2.0 ** (bucket / _PER_OCTAVE))


def quantile_s(counts: Mapping[int, int], share: float) -> float | None:
    """Return the time that a share of the counted ones do not exceed, on the logarithmic middle of its bucket.

    Args:
        counts: how many per bucket.
        share: above 0, up to 1.

    Returns:
        None without any; infinite when it lies in the open bucket.
    """
    total, below = sum(counts.values()), 0
    for bucket in sorted(counts):
        below += counts[bucket]
        if below and below >= share * total:
            return float(upper_bound_s(bucket) * 2.0 ** (-0.5 / _PER_OCTAVE))
    return None
