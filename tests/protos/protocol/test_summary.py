"""The summary of raw samples that travels."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.summary import distribution
from hypothesis import given
from hypothesis import strategies as st


def test_quantiles_below_their_floor_are_absent_with_the_reason() -> None:
    found = distribution([float(n) for n in range(300)], "s")
    assert found.p95.value is not None
    assert found.p99.value is None
    assert found.p99.reason == "p99 needs 662 samples, 300 were taken"
    assert found.p99.sample_count == 300


@pytest.mark.parametrize(("name", "floor"), [("p90", 64), ("p95", 130), ("p99", 662)])
def test_a_quantile_appears_at_its_floor(name: str, floor: int) -> None:
    samples = [float(n) for n in range(floor)]
    assert getattr(distribution(samples, "s"), name).value is not None
    assert getattr(distribution(samples[1:], "s"), name).value is None


def test_a_median_of_few_samples_has_no_interval() -> None:
    few, enough = (
        distribution([3.0, 1.0, 2.0], "s").p50,
        distribution([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], "s").p50,
    )
    assert (few.value, few.low, few.high, few.confidence) == (2.0, None, None, None)
    assert (enough.low, enough.high, enough.confidence) == (1.0, 6.0, 0.95)


def test_one_sample_has_no_standard_deviation() -> None:
    assert distribution([1.0], "s").standard_deviation is None


def test_figures_agree_with_the_standard_library() -> None:
    samples = [random.Random(4).lognormvariate(0, 1) for _ in range(1000)]
    found = distribution(samples, "ms")
    assert found.unit == "ms"
    assert found.sample_count == 1000
    assert (found.minimum, found.maximum) == (min(samples), max(samples))
    assert found.mean == pytest.approx(statistics.fmean(samples))
    assert found.standard_deviation == pytest.approx(statistics.stdev(samples))
    assert found.p50.value == pytest.approx(statistics.median(samples))
    cuts = statistics.quantiles(samples, n=100, method="inclusive")
    assert (found.p90.value, found.p99.value) == pytest.approx((cuts[89], cuts[98]))


@given(st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=800), st.sampled_from([0.5, 0.95, 0.999]))
def test_every_set_of_finite_samples_has_a_summary(samples: list[float], confidence: float) -> None:
    found = distribution(samples, "s", confidence)
    assert found.minimum <= found.maximum
    assert found.mild_outlier_count + found.severe_outlier_count <= found.sample_count


@pytest.mark.parametrize("samples", [[], [1.0, math.nan], [math.inf]])
def test_samples_that_mean_nothing_are_refused(samples: list[float]) -> None:
    with pytest.raises(InvalidInputError, match="finite samples"):
        distribution(samples, "s")
