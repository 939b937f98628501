"""Noise of steady latency: a log-normal body with memory, and stalls that make a heavy right tail.

With probability ``spike_rate`` an inference is hit by a stall: ``p90/p50`` times a Pareto variable. Others
are log-normal, their logarithms an AR(1) series. Body and Pareto exponent are solved from the profile's
``p90/p50`` and ``p99/p50``, so that the mixture has exactly these quantiles and a median of one.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from statistics import NormalDist

from edgeloop_foundation.errors import InvalidInputError

from edgeloop_profiles.predict.latency import Prediction
from edgeloop_profiles.profile import Profile, Tails

__all__ = ["NoiseShape", "SampleStream"]

_NORMAL = NormalDist()
_LARGEST = 10.0
"""No stall is longer than this many times the p99: a stalled inference ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseShape:
    """The solved mixture, for a median of one."""

    #: Mean of the logarithm of the body.
    mu: float
    #: Standard deviation of the logarithm of the body.
    sigma: float
    #: Share of stalls.
    spike_rate: float
    #: Smallest stall.
    spike_minimum: float
    #: Pareto exponent of stalls.
    spike_exponent: float
    #: Largest stall.
    spike_maximum: float

    @classmethod
    def from_tails(cls, tails: Tails) -> NoiseShape:
        """Solve the mixture for the quantiles of a profile.

        Raises:
            InvalidInputError: no such mixture has these quantiles.
        """
        rate, p90, p99 = tails.spike_rate, tails.p90_over_p50, tails.p99_over_p50
        if not 0.01 <= rate < 0.1 or not 1.0 < p90 < p99:
            raise InvalidInputError(
                f"tails.{tails.precision}: found spike_rate {rate}, p90_over_p50 {p90}, p99_over_p50 {p99}, "
                "allowed is a rate from 0.01 to below 0.1 and 1 < p90_over_p50 < p99_over_p50."
            )
        z50 = _NORMAL.inv_cdf(1 - (0.5 - rate) / (1 - rate))
        z90 = _NORMAL.inv_cdf(1 - (0.1 - rate) / (1 - rate))
        sigma = math.log(p90) / (z90 - z50)
        beyond = (1 - rate) * (1 - _NORMAL.cdf((math.log(p99) + sigma * z50) / sigma))
        left = (0.01 - beyond) / rate
        if not 0 < left < 1:
            raise InvalidInputError(
                f"tails.{tails.precision}.p99_over_p50: found {p99}, allowed is more than a log-normal body "
                f"with p90_over_p50 {p90} reaches without stalls."
            )
        return cls(
            mu=-sigma * z50,
            sigma=sigma,
            spike_rate=rate,
            spike_minimum=p90,
            spike_exponent=-math.log(left) / math.log(p99 / p90),
            spike_maximum=p99 * _LARGEST,
        )


class SampleStream:
    """Seeded latencies around a prediction; the same seed gives the same samples."""

    def __init__(self, profile: Profile, prediction: Prediction, seed: int) -> None:
        """Start one process.

        Raises:
            InvalidInputError: the profile's tails cannot be.
        """
        tails = profile.tails_of(prediction.precision)
        self._shape = NoiseShape.from_tails(tails)
        self._random = random.Random(seed)  # noqa: S311 - reproducible noise, not a secret
        self._phi = tails.autocorrelation
        self._state = self._random.gauss(0.0, 1.0)
        self._median_s = prediction.point_s * math.exp(self._random.gauss(0.0, tails.process_spread))

    def next_s(self, factor: float = 1.0) -> float:
        """Return the next latency in seconds; ``factor`` stretches it, for warm-up or a lower clock."""
        shape = self._shape
        fresh = self._random.gauss(0.0, 1.0)
        self._state = self._phi * self._state + math.sqrt(1 - self._phi**2) * fresh
        if self._random.random() < shape.spike_rate:
            stall = shape.spike_minimum * self._random.paretovariate(shape.spike_exponent)
            return self._median_s * factor * min(stall, shape.spike_maximum)
        return self._median_s * factor * math.exp(shape.mu + shape.sigma * self._state)
