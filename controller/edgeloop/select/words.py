"""Figures as a person reads them: ms, MB, mJ, %."""

from __future__ import annotations

from edgeloop_protocol.types.measurement import Estimate

from edgeloop.domain.constraint import QUANTITIES

__all__ = ["say_estimate", "say_gain", "say_value"]

_SCALES = {
    "s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")),
    "B": ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")),
    "J": ((1.0, "J"), (1e-3, "mJ"), (1e-6, "µJ")),
}


def say_value(quantity: str, value: float, *, like: float | None = None, percent: bool = True) -> str:
    """Return ``value`` (SI) with three significant digits in a fitting unit; ``like`` picks the unit."""
    unit = QUANTITIES[quantity].unit
    if unit == "Hz":
        return f"{_three(value)} /s"
    if unit not in _SCALES:
        return f"{100 * value:.2f} %" if percent and quantity == "quality_drop" else f"{value:.4g}"
    size = abs(value if like is None else like)
    scale, name = next(((s, n) for s, n in _SCALES[unit] if size >= s), _SCALES[unit][-1])
    return f"{_three(value / scale)} {name}"


def _three(value: float) -> str:
    """Return three significant digits without an exponent."""
    magnitude = abs(value)
    digits = 2 if magnitude < 10 else (1 if magnitude < 100 else 0)
    return f"{value:.{digits}f}"


def say_estimate(quantity: str, estimate: Estimate, *, percent: bool = True) -> str:
    """Return the value with its interval, or why there is none."""
    if estimate.value is None:
        return estimate.reason
    text = say_value(quantity, estimate.value, percent=percent)
    if estimate.low is None or estimate.high is None or estimate.low == estimate.high:
        return text
    ends = " to ".join(
        say_value(quantity, end, like=estimate.value, percent=percent)
        for end in (estimate.low, estimate.high)
    )
    if estimate.confidence is None:
        return f"{text} (one reading, taken as {ends})"
    return f"{text} ({100 * estimate.confidence:.0f} % interval {ends})"


def say_gain(estimate: Estimate) -> str:
    """Return how many times better, with its interval, or why that is unknown."""
    if estimate.value is None:
        return estimate.reason
    if estimate.low is None or estimate.high is None or estimate.low == estimate.high:
        return f"{estimate.value:.3f} times as good as the original"
    return f"{estimate.value:.3f} times as good as the original ({estimate.low:.3f} to {estimate.high:.3f})"
