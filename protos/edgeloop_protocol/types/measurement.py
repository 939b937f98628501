"""Quantities with their uncertainty, and the reason where there is none."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Distribution", "Estimate", "Reading"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """One quantity with its interval, or no value and the reason.

    Raises:
        ValueError: a value together with a reason, or neither, or an interval that does not hold the value.
    """

    #: Point estimate in the unit that the field's name ends in; absent when it was not or could not be
    #: measured.
    value: float | None = None
    #: Lower end of the two-sided interval.
    low: float | None = None
    #: Upper end of the two-sided interval.
    high: float | None = None
    #: Confidence of the interval, for example 0.95.
    confidence: float | None = None
    #: How many samples it rests on.
    sample_count: int = 0
    #: Why there is no value; empty when there is one.
    reason: str = ""

    def __post_init__(self) -> None:
        if (self.value is None) == (not self.reason):
            raise ValueError("an estimate has either a value or a reason why it has none")
        if (
            self.value is not None
            and self.low is not None
            and self.high is not None
            and not self.low <= self.value <= self.high
        ):
            raise ValueError(f"estimate {self.value} lies outside its interval [{self.low}, {self.high}]")

    @classmethod
    def absent(cls, reason: str, sample_count: int = 0) -> Estimate:
        """Return an estimate without value, for the stated reason."""
        return cls(reason=reason, sample_count=sample_count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """Summary of raw samples of one quantity; quantiles below their floor are absent with the reason."""

    #: Unit of every figure in here, for example "s".
    unit: str
    #: Number of samples.
    sample_count: int
    #: Smallest sample.
    minimum: float
    #: Largest sample.
    maximum: float
    #: Arithmetic mean.
    mean: float
    #: Sample standard deviation; absent for a single sample.
    standard_deviation: float | None
    #: Median absolute deviation from the median, not scaled.
    median_absolute_deviation: float
    #: Median; has an interval from 6 samples on.
    p50: Estimate
    #: 90th percentile; needs 64 samples (MLPerf LoadGen early stopping).
    p90: Estimate
    #: 95th percentile; needs 130 samples.
    p95: Estimate
    #: 99th percentile; needs 662 samples.
    p99: Estimate
    #: Samples between 1.5 and 3 interquartile ranges from the quartiles (Tukey); counted, never dropped.
    mild_outlier_count: int = 0
    #: Samples beyond 3 interquartile ranges from the quartiles; counted, never dropped.
    severe_outlier_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One value read from one sensor, or none with the reason."""

    #: Which sensor and channel, for example "thermal/x86_pkg_temp".
    name: str
    #: Unit of the value, for example "celsius".
    unit: str
    #: The value; absent when it could not be read.
    value: float | None = None
    #: Why there is no value; empty when there is one.
    reason: str = ""
    #: Where it was read, for example a sysfs path.
    source: str = ""
    #: When it was taken, on the board's monotonic clock: later than that nothing is known of the value, so
    #: two readings with the same time are one sample. Absent when the source has no time of its own.
    time_ns: int | None = None
