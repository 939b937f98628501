"""Statistics that a device can afford: order statistics, exact intervals, energy integration.

Law: the standard library and the foundation's errors only. Every figure is exact or says what it rests on; a
quantile that the number of samples cannot carry is refused, never extrapolated.
"""

from edgeloop_foundation.statistics.binomial import binomial_interval, binomial_two_sided_p
from edgeloop_foundation.statistics.early_stopping import (
    early_stopping_estimate,
    early_stopping_fast_count_min,
)
from edgeloop_foundation.statistics.energy import integrate_energy
from edgeloop_foundation.statistics.order import quantile, quantile_interval, sample_floor
from edgeloop_foundation.statistics.robust import median_absolute_deviation, tukey_outliers
from edgeloop_foundation.statistics.student import student_t_interval, student_t_quantile

__all__ = [
    "binomial_interval",
    "binomial_two_sided_p",
    "early_stopping_estimate",
    "early_stopping_fast_count_min",
    "integrate_energy",
    "median_absolute_deviation",
    "quantile",
    "quantile_interval",
    "sample_floor",
    "student_t_interval",
    "student_t_quantile",
    "tukey_outliers",
]
