"""The noise has the profile's quantiles, a heavy right tail, memory and a seed."""

from __future__ import annotations

import dataclasses
import itertools
import math
import statistics

import pytest
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_profiles import Profile, list_profiles, load_profile
from edgeloop_profiles.predict import NoiseShape, SampleStream, predict_latency
from edgeloop_protocol.types.artifact import Kernel

COUNT = 100_000


def stream(profile: Profile, conv: Kernel, seed: int) -> SampleStream:
    return SampleStream(profile, predict_latency(profile, (conv,), threads=1), seed)


@pytest.fixture(scope="module")
def samples(pi4: Profile, conv: Kernel) -> list[float]:
    source = stream(pi4, conv, 7)
    return [source.next_s() for _ in range(COUNT)]


def quantile(values: list[float], q: float) -> float:
    return sorted(values)[int(q * len(values))]


def test_quantiles_are_those_of_the_profile(pi4: Profile, samples: list[float]) -> None:
    tails, p50 = pi4.tails_of("fp32"), statistics.median(samples)
    assert quantile(samples, 0.90) / p50 == pytest.approx(tails.p90_over_p50, rel=0.01)
    assert quantile(samples, 0.99) / p50 == pytest.approx(tails.p99_over_p50, rel=0.06)


def test_strong_correlation_keeps_the_quantiles(pi4: Profile, conv: Kernel) -> None:
    sticky = dataclasses.replace(pi4.tails_of("fp32"), autocorrelation=0.8)
    profile = dataclasses.replace(pi4, tails=(sticky, pi4.tails_of("fp16"), pi4.tails_of("int8")))
    source = stream(profile, conv, 11)
    values = [source.next_s() for _ in range(COUNT)]
    assert quantile(values, 0.90) / statistics.median(values) == pytest.approx(sticky.p90_over_p50, rel=0.01)


def test_the_tail_is_not_gaussian(samples: list[float]) -> None:
    mean, deviation = statistics.fmean(samples), statistics.stdev(samples)
    skewness = statistics.fmean(((x - mean) / deviation) ** 3 for x in samples)
    kurtosis = statistics.fmean(((x - mean) / deviation) ** 4 for x in samples)
    assert skewness > 2
    assert kurtosis > 10
    assert mean > 1.005 * statistics.median(samples)


def test_neighbours_are_correlated(pi4: Profile, samples: list[float]) -> None:
    cut = quantile(samples, 0.95)
    pairs = [(math.log(a), math.log(b)) for a, b in itertools.pairwise(samples) if a < cut and b < cut]
    found = statistics.correlation([a for a, _ in pairs], [b for _, b in pairs])
    assert found == pytest.approx(pi4.tails_of("fp32").autocorrelation, abs=0.08)


def test_the_median_is_the_prediction_over_many_processes(pi4: Profile, conv: Kernel) -> None:
    point = predict_latency(pi4, (conv,), threads=1).point_s
    medians = []
    for seed in range(60):
        source = stream(pi4, conv, seed)
        medians.append(statistics.median(source.next_s() for _ in range(400)))
    assert statistics.median(medians) == pytest.approx(point, rel=0.01)
    spread = statistics.stdev(math.log(median) for median in medians)
    assert spread == pytest.approx(pi4.tails_of("fp32").process_spread, rel=0.4)


def test_the_seed_decides(pi4: Profile, conv: Kernel) -> None:
    first, again, other = (stream(pi4, conv, seed) for seed in (3, 3, 4))
    run = [[source.next_s() for _ in range(100)] for source in (first, again, other)]
    assert run[0] == run[1]
    assert run[0] != run[2]


def test_a_factor_stretches_the_same_noise(pi4: Profile, conv: Kernel) -> None:
    plain, slow = stream(pi4, conv, 1), stream(pi4, conv, 1)
    for _ in range(50):
        assert slow.next_s(2.5) == pytest.approx(2.5 * plain.next_s())


def test_every_shipped_tail_can_be_solved() -> None:
    for name in list_profiles():
        for tails in load_profile(name).tails:
            shape = NoiseShape.from_tails(tails)
            assert 0 < shape.sigma < 0.2
            assert shape.spike_exponent > 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"spike_rate": 0.2}, "spike_rate 0.2"),
        ({"p99_over_p50": 1.05}, "p99_over_p50 1.05"),
        ({"p90_over_p50": 1.0}, "p90_over_p50 1.0"),
    ],
)
def test_impossible_tails_are_refused(pi4: Profile, change: dict[str, float], field: str) -> None:
    with pytest.raises(InvalidInputError, match=field):
        NoiseShape.from_tails(dataclasses.replace(pi4.tails_of("fp32"), **change))  # type: ignore[arg-type]
