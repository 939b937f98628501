"""Spans of energy to energy per inference, with all that is known to make it uncertain."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeloop_foundation.statistics import student_t_interval
from edgeloop_protocol.types.facts import SensorFacts
from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import Energy

from edgeloop_agent.power.sensor_watch import untrustworthy
from edgeloop_agent.power.trace import EnergySpan

if TYPE_CHECKING:
    from edgeloop_agent.energy import EnergyMeter

__all__ = ["summarise_energy"]

_PERIODS_MIN = 20
_CONFIDENCE = 0.95


def summarise_energy(meter: EnergyMeter, spans: Sequence[EnergySpan]) -> Energy:
    """Return energy per inference, or the reason why there is none.

    An interval covers the spread over the spans (Student's t, 95 %) and, added to it, what the sensor itself leaves
    open: its resolution, one period of it at both ends of a span, and its stated error. Above idle, half of what
    the baselines before and after differ comes on top, or what the sensor leaves open of the one baseline.
    """
    sensor = meter.sensor
    distrust = _distrust(meter)
    reason = meter.reason or distrust or _shortcoming(sensor, spans)
    if reason or sensor is None:
        # Idling of a sensor that cannot be trusted is no figure either.
        idle_w = Estimate.absent(distrust) if distrust else _idle(meter)
        absent = Estimate.absent(reason)
        return Energy(
            gross_j=absent,
            above_idle_j=absent,
            mean_power_w=absent,
            idle_power_w=idle_w,
            perturbation_share=_share(spans),
        )
    idle = _baseline(sensor, meter.idle_before, meter.idle_after)
    seconds = sum(span.duration_s for span in spans)
    count = sum(span.inference_count for span in spans)
    opening_j = sum(_opening_j(sensor, span) for span in spans)
    above = Estimate.absent("idle power was not read")
    if idle is not None:
        idle_j = idle.opening_w * seconds
        rest = [(s.energy_j - idle.power_w * s.duration_s) / s.inference_count for s in spans]
        above = _mean(rest, (opening_j + idle_j) / count)
    return Energy(
        gross_j=_mean([span.energy_j / span.inference_count for span in spans], opening_j / count),
        above_idle_j=above,
        mean_power_w=_mean([span.energy_j / span.duration_s for span in spans], opening_j / seconds),
        idle_power_w=_idle(meter),
        sensor=sensor.name,
        scope=sensor.scope,
        rate_hz=sum(span.reading_count - 1 for span in spans) / seconds,
        idle_after_w=_power(sensor, meter.idle_after),
        error_fraction=sensor.error_fraction,
        perturbation_share=_share(spans),
    )


def _share(spans: Sequence[EnergySpan]) -> float | None:
    """Return the share of the spans that reading took; None without spans."""
    seconds = sum(span.duration_s for span in spans)
    return min(1.0, sum(span.reading_s for span in spans) / seconds) if seconds else None


def _distrust(meter: EnergyMeter) -> str:
    trace = meter.trace()
    return untrustworthy(trace) if trace is not None else ""


@dataclass(frozen=True, slots=True)
class _Baseline:
    power_w: float
    #: What is open about it.
    opening_w: float


def _baseline(sensor: SensorFacts, before: EnergySpan | None, after: EnergySpan | None) -> _Baseline | None:
    """Return the mean of both baselines: during the load the board was neither as cool nor as warm as in them."""
    spans = [span for span in (before, after) if span is not None]
    if not spans:
        return None
    powers = [span.energy_j / span.duration_s for span in spans]
    sensor_w = max(_opening_j(sensor, span) / span.duration_s for span in spans)
    return _Baseline(statistics.fmean(powers), sensor_w + (max(powers) - min(powers)) / 2.0)


def _opening_j(sensor: SensorFacts, span: EnergySpan) -> float:
    """Return by how much the energy of one span may be wrong because of the sensor, at most."""
    power_w = abs(span.energy_j) / span.duration_s
    ends_j = power_w * (sensor.period_s or 0.0)
    step = sensor.resolution or 0.0
    # Both readings of a counter are rounded; every sample of power is off by half a step, perhaps all the same way.
    steps_j = step if sensor.quantity == "energy" else 0.5 * step * span.duration_s
    return ends_j + steps_j + abs(span.energy_j) * (sensor.error_fraction or 0.0)


def _idle(meter: EnergyMeter) -> Estimate:
    found = _power(meter.sensor, meter.idle_before) if meter.sensor else None
    return found or Estimate.absent(meter.reason or "idle power was not read")


def _power(sensor: SensorFacts, span: EnergySpan | None) -> Estimate | None:
    if span is None:
        return None
    value, half = span.energy_j / span.duration_s, _opening_j(sensor, span) / span.duration_s
    return Estimate(value=value, low=value - half, high=value + half, sample_count=span.reading_count)


def _shortcoming(sensor: SensorFacts | None, spans: Sequence[EnergySpan]) -> str:
    if not spans or not all(span.inference_count for span in spans):
        return "the sensor was not read around the steady phase"
    seconds = sum(span.duration_s for span in spans)
    # A sensor of power that does not state its period is judged by how often it was asked.
    asked_s = max((span.interval_s or 0.0 for span in spans), default=0.0)
    least = _PERIODS_MIN * (max(sensor.period_s or 0.0, asked_s) if sensor else 0.0)
    if seconds < least:
        return (
            f"the steady phase took {seconds:.3g} s; {_PERIODS_MIN} periods of the sensor are {least:.3g} s"
        )
    return ""


def _mean(values: Sequence[float], half: float) -> Estimate:
    """Return the mean; its interval is that over the spans, widened by ``half`` on both sides.

    One span alone says nothing of the spread, so there is no interval.
    """
    if len(values) < 2:
        return Estimate(value=statistics.fmean(values), sample_count=len(values))
    mean, low, high = student_t_interval(values, _CONFIDENCE)
    return Estimate(
        value=mean, low=low - half, high=high + half, confidence=_CONFIDENCE, sample_count=len(values)
    )
