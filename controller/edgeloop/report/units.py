"""SI values as people read them."""

from __future__ import annotations

import datetime
import math

from edgeloop_protocol.types.measurement import Estimate

from edgeloop.domain.constraint import QUANTITIES

__all__ = [
    "MISSING",
    "amount",
    "duration",
    "interval",
    "moment",
    "number",
    "quantity_name",
    "quantity_unit",
    "scale",
    "times",
]

MISSING = "–"
"""Stands where there is no figure; the reason stands beside it."""

_STEPS: dict[str, tuple[tuple[float, str], ...]] = {
    "s": ((1e-9, "ns"), (1e-6, "µs"), (1e-3, "ms"), (1.0, "s")),
    "B": ((1.0, "B"), (1e3, "kB"), (1e6, "MB"), (1e9, "GB")),
    "J": ((1e-6, "µJ"), (1e-3, "mJ"), (1.0, "J")),
    "W": ((1e-3, "mW"), (1.0, "W")),
    "Hz": ((1.0, "/s"),),
    "clock": ((1e6, "MHz"), (1e9, "GHz")),
    "times": ((1.0, "×"),),
    "celsius": ((1.0, "°C"),),
}

#: Metrics whose values are shares, shown in percent.
_SHARES = ("accuracy", "roc_auc", "f1", "precision", "recall", "agreement", "ratio")


def scale(value: float, unit: str) -> tuple[float, str]:
    """Return the factor and the name of the unit in which ``value`` reads best."""
    if unit == "ratio":
        return 0.01, "%"
    steps = _STEPS.get(unit, ((1.0, unit),))
    if value == 0:
        return next((step for step in steps if step[0] == 1.0), steps[0])
    fitting = [step for step in steps if abs(value) >= step[0] * 0.9995]
    return fitting[-1] if fitting else steps[0]


def number(value: float, digits: int = 3) -> str:
    """Return ``value`` with ``digits`` significant digits and no exponent where that can be read."""
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    if places > digits + 4:
        return f"{value:.{digits - 1}e}"
    rounded = round(value, places)
    # Rounding may have carried into one digit more.
    places = digits - 1 - math.floor(math.log10(abs(rounded)))
    return f"{rounded:,.{max(0, places)}f}".replace(",", "\u202f")


def amount(value: float | None, unit: str, digits: int = 3) -> str:
    """Return a value with the unit it reads best in, for example "4.90 ms"; a dash without one."""
    if value is None:
        return MISSING
    factor, name = scale(value, unit)
    if unit == "ratio":
        return f"{value / factor:.2f} %"
    if name == "B":
        return f"{value:.0f} B"
    return f"{number(value / factor, digits)} {name}".strip()


def interval(estimate: Estimate, unit: str) -> str:
    """Return the interval in the unit that ``amount`` gives the value, "4.85 to 4.95"; empty without one."""
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return ""
    if estimate.low == estimate.high:
        return ""
    factor, _ = scale(estimate.value, unit)
    if unit == "ratio":
        return f"{estimate.low / factor:.2f} to {estimate.high / factor:.2f}"
    return f"{number(estimate.low / factor)} to {number(estimate.high / factor)}"


def times(estimate: Estimate) -> str:
    """Return a gain with its interval, for example "1.71× (1.69 to 1.73)"."""
    if estimate.value is None:
        return MISSING
    text = f"{estimate.value:.2f}×"
    if estimate.low is None or estimate.high is None or estimate.low == estimate.high:
        return text
    return f"{text} ({estimate.low:.2f} to {estimate.high:.2f})"


def duration(seconds: float) -> str:
    """Return a duration of work, for example "4 min 3 s"."""
    if seconds < 120:
        return amount(seconds, "s", 2)
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def moment(wall_s: float) -> str:
    """Return a point in time in UTC."""
    return datetime.datetime.fromtimestamp(wall_s, datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def quantity_name(quantity: str, metric: str = "") -> str:
    """Return a quantity as a column's heading; quality under the name of its metric."""
    if quantity == "quality":
        return metric.replace("_", " ") or "quality"
    if quantity == "quality_drop":
        return f"{metric.replace('_', ' ') or 'quality'} drop"
    return quantity.replace("_", " ")


def quantity_unit(quantity: str, metric: str = "") -> str:
    """Return a quantity's unit; a metric that is no share has none."""
    unit = QUANTITIES[quantity].unit if quantity in QUANTITIES else ""
    if quantity in ("quality", "quality_drop") and metric and metric not in _SHARES:
        return ""
    return unit
