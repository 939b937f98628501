"""Buckets of times: every time in its own, and quantiles within what is promised."""

from __future__ import annotations

import math
import random

import pytest
from edgeloop_protocol.latency_buckets import BUCKET_COUNT, bucket_of, quantile_s, upper_bound_s


@pytest.mark.parametrize("seconds", [0.0, 1e-9, 2**-15, 3.1e-5, 1e-4, 0.0123, 1.0, 5.0, 127.9, 128.0])
def test_a_time_lies_within_its_bucket(seconds: float) -> None:
    bucket = bucket_of(seconds)
    assert seconds <= upper_bound_s(bucket) * (1 + 1e-9)
    assert bucket == 0 or seconds > upper_bound_s(bucket - 1) * (1 - 1e-9)


@pytest.mark.parametrize("seconds", [129.0, 1e9, math.inf])
def test_longer_than_all_is_the_last(seconds: float) -> None:
    assert bucket_of(seconds) == BUCKET_COUNT - 1
    assert upper_bound_s(BUCKET_COUNT - 1) == math.inf


def test_quantiles_are_right_within_nine_per_cent() -> None:
    drawn = sorted(random.Random(3).lognormvariate(-5, 1) for _ in range(20_001))
    counts: dict[int, int] = {}
    for seconds in drawn:
        counts[bucket_of(seconds)] = counts.get(bucket_of(seconds), 0) + 1
    for share, exact in ((0.5, drawn[10_000]), (0.9, drawn[18_000]), (0.99, drawn[19_800])):
        assert quantile_s(counts, share) == pytest.approx(exact, rel=0.095)
    assert quantile_s({}, 0.5) is None
    assert quantile_s({BUCKET_COUNT - 1: 3}, 0.5) == math.inf
