"""Measures one artifact at several batch sizes and rates, one job per point, one after the other.

A rate is carried when nothing was dropped and the p99 from the intended time of sending is at most the stated
multiple of the p99 of the inference alone at the lowest rate. The knee is the highest rate up to which every
rate is carried. A p99 needs 662 samples, so a low rate takes long: 662 / rate seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import EdgeloopError
from edgeloop_foundation.statistics import sample_floor
from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import Outcome, Run
from edgeloop_protocol.types.trial import Benchmark

from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.experiment import DeviceResult, Listener
from edgeloop.domain.sweep import BatchPoint, BatchSweep, RatePoint, RateSweep, SweepPlan
from edgeloop.orchestrate.assess import samples_of
from edgeloop.orchestrate.budget import job_expected_s
from edgeloop.orchestrate.fleet import Fleet, on_each
from edgeloop.orchestrate.measure import MeasureRequest, OpenDevice, measure_device

if TYPE_CHECKING:
    from edgeloop.app import App

__all__ = [
    "batch_sweep",
    "point_benchmarks",
    "rate_sweep",
    "sweep_expected_s",
    "sweep_fleet",
    "with_sweeps",
]

_RATE_MARGIN = 1.1
"""A Poisson schedule of a given length holds a few requests less now and then."""


def point_benchmarks(benchmark: Benchmark, plan: SweepPlan) -> tuple[Benchmark, ...]:
    """Return the benchmark of every point: batch sizes in a closed loop, then rates."""
    bare = replace(
        benchmark,
        measure_latency=True,
        measure_memory=False,
        measure_nodes=False,
        check_parity=False,
        arrival="closed",
        sustained_s=0.0,
        scenario="",
    )
    count = max(benchmark.sample_count_min, sample_floor(0.99))
    rates = [
        replace(
            bare,
            arrival=plan.arrival,
            rate_hz=rate_hz,
            sample_count_min=count,
            steady_s_max=max(benchmark.steady_s_max, _RATE_MARGIN * count / rate_hz),
        )
        for rate_hz in plan.rates_hz
    ]
    return (*(replace(bare, batch_size=size) for size in plan.batch_sizes), *rates)


def sweep_expected_s(benchmark: Benchmark, plan: SweepPlan) -> float:
    """Return how long the sweep of one artifact on one device is expected to take."""
    return sum(job_expected_s(point, 1) for point in point_benchmarks(benchmark, plan))


async def sweep_fleet(
    app: App, fleet: Fleet, request: MeasureRequest, plan: SweepPlan, listener: Listener
) -> dict[str, DeviceResult]:
    """Measure every point on every open device.

    Args:
        request: names the one artifact, its settings and the benchmark the points are made from.

    Returns:
        By the device's name, a result with the runs of all points and the sweeps.
    """
    label, digest = request.artifacts[0]
    points = {
        f"{label}, {_point_name(benchmark)}": benchmark
        for benchmark in point_benchmarks(request.benchmark, plan)
    }

    async def one(spec: DeviceSpec, device: OpenDevice | EdgeloopError) -> DeviceResult:
        """Measure point after point; a slow device holds up no other between them."""
        if isinstance(device, EdgeloopError):
            return DeviceResult(device=spec, error=str(device))
        runs: list[Run] = []
        for named, benchmark in points.items():
            point = replace(
                request, artifacts=((named, digest),), anchor="", variants=(), benchmark=benchmark
            )
            found = await measure_device(app, device, point, listener)
            # After a break the result holds whatever else was stored of the experiment too.
            runs += [run for run in found.runs if run.trial.label == named]
            if found.error:
                return DeviceResult(device=spec, runs=tuple(runs), error=found.error)
        return DeviceResult(device=spec, runs=tuple(runs))

    measured = await on_each(fleet, one)
    samples = samples_of(app, [run for device in measured for run in device.runs])
    return {
        found.device.name: replace(
            found,
            batch_sweep=batch_sweep(label, plan, found.runs, samples) if plan.batch_sizes else None,
            rate_sweep=rate_sweep(label, plan, found.runs) if plan.rates_hz else None,
        )
        for found in measured
    }


def _point_name(benchmark: Benchmark) -> str:
    if benchmark.arrival == "closed":
        return f"batch {benchmark.batch_size}"
    return f"{benchmark.rate_hz:g} requests/s"


def with_sweeps(device: DeviceResult, swept: DeviceResult) -> DeviceResult:
    """Return a device's result with what its sweeps found added to it."""
    return replace(
        device,
        runs=(*device.runs, *swept.runs),
        error=device.error or swept.error,
        batch_sweep=swept.batch_sweep,
        rate_sweep=swept.rate_sweep,
    )


def batch_sweep(
    candidate: str, plan: SweepPlan, runs: Sequence[Run], samples: Mapping[str, bytes]
) -> BatchSweep:
    """Return throughput over batch size from the runs of a device and their raw samples by digest."""
    closed = {run.benchmark.batch_size: run for run in runs if run.benchmark.arrival == "closed"}
    points = tuple(_batch_point(size, closed.get(size), samples) for size in plan.batch_sizes)
    known = [point for point in points if point.throughput_hz.value is not None]
    if not known:
        reason = "; ".join(dict.fromkeys(point.throughput_hz.reason for point in points))
        return BatchSweep(candidate=candidate, points=points, best_batch_size=None, reason=reason)
    best = max(known, key=lambda point: point.throughput_hz.value or 0.0)
    equal = [p for p in known if p is not best and _overlap(p.throughput_hz, best.throughput_hz)]
    said = f"batch {best.batch_size} has the highest throughput"
    if equal:
        said += f", not told apart from batch {', '.join(str(p.batch_size) for p in equal)}"
    unknown = [str(p.batch_size) for p in points if p.throughput_hz.value is None]
    if unknown:
        said += f"; of batch {', '.join(unknown)} it is not known"
    return BatchSweep(candidate=candidate, points=points, best_batch_size=best.batch_size, reason=f"{said}.")


def _overlap(lower: Estimate, higher: Estimate) -> bool:
    if lower.high is None or higher.low is None:
        return True
    return lower.high >= higher.low


def _batch_point(size: int, run: Run | None, samples: Mapping[str, bytes]) -> BatchPoint:
    from edgeloop.select.quantities import disqualification, throughput

    reason = _why_not(run) or (disqualification(run) if run else "")
    if run is None or reason or run.timing is None or run.timing.steady is None:
        absent = Estimate.absent(reason or "no steady latency was measured")
        return BatchPoint(
            batch_size=size,
            throughput_hz=absent,
            latency_s=absent,
            item_latency_s=absent,
            run_id=run.run_id if run else "",
        )
    latency = run.timing.steady.p50
    return BatchPoint(
        batch_size=size,
        throughput_hz=throughput(run, samples),
        latency_s=latency,
        item_latency_s=_divided(latency, size),
        run_id=run.run_id,
    )


def _divided(estimate: Estimate, by: int) -> Estimate:
    if estimate.value is None:
        return estimate
    return replace(
        estimate,
        value=estimate.value / by,
        low=None if estimate.low is None else estimate.low / by,
        high=None if estimate.high is None else estimate.high / by,
    )


def _why_not(run: Run | None) -> str:
    if run is None:
        return "it was not measured"
    if run.outcome is not Outcome.SUCCESS:
        return run.failure_reason or run.failure_kind.value.replace("_", " ")
    return ""


def rate_sweep(candidate: str, plan: SweepPlan, runs: Sequence[Run]) -> RateSweep:
    """Return latency over rate, and the knee, from the runs of a device."""
    by_rate = {run.benchmark.rate_hz: run for run in runs if run.benchmark.arrival != "closed"}
    found = [by_rate.get(rate_hz) for rate_hz in plan.rates_hz]
    service = next((r.arrivals.service.p99 for r in found if r and r.arrivals), None)
    service = service or Estimate.absent("no rate was measured")
    points = tuple(
        _rate_point(rate_hz, run, service, plan.p99_factor)
        for rate_hz, run in zip(plan.rates_hz, found, strict=True)
    )
    knee = None
    for point in points:
        if not point.carried:
            break
        knee = point.offered_rate_hz
    return RateSweep(
        candidate=candidate,
        arrival=plan.arrival,
        service_p99_s=service,
        p99_factor=plan.p99_factor,
        points=points,
        knee_hz=knee,
        reason=_knee_reason(points, knee),
    )


def _knee_reason(points: Sequence[RatePoint], knee: float | None) -> str:
    stopped = next((point for point in points if not point.carried), None)
    if stopped is None:
        return f"every rate up to {points[-1].offered_rate_hz:g} /s is carried; the knee lies beyond."
    where = f"{stopped.offered_rate_hz:g} /s: {stopped.reason}"
    return f"no rate is carried, {where}." if knee is None else f"{knee:g} /s is carried, not {where}."


def _rate_point(rate_hz: float, run: Run | None, service: Estimate, factor: float) -> RatePoint:
    from edgeloop.select.quantities import disqualification

    reason = _why_not(run)
    if run is None or reason or run.arrivals is None:
        absent = Estimate.absent(reason or "the run has no scheduled arrivals")
        return RatePoint(
            offered_rate_hz=rate_hz,
            achieved_rate_hz=None,
            p50_s=absent,
            p99_s=absent,
            dropped_count=None,
            duty_cycle=None,
            carried=None,
            reason=absent.reason,
            run_id=run.run_id if run else "",
        )
    arrivals = run.arrivals
    carried, why = _carried(arrivals.latency.p99, arrivals.dropped_count, service, factor)
    if disqualified := disqualification(run):
        carried, why = None, disqualified
    return RatePoint(
        offered_rate_hz=rate_hz,
        achieved_rate_hz=arrivals.achieved_rate_hz,
        p50_s=arrivals.latency.p50,
        p99_s=arrivals.latency.p99,
        dropped_count=arrivals.dropped_count,
        duty_cycle=arrivals.duty_cycle,
        carried=carried,
        reason=why,
        run_id=run.run_id,
    )


def _carried(p99: Estimate, dropped: int, service: Estimate, factor: float) -> tuple[bool | None, str]:
    if dropped:
        return False, f"{dropped} requests were dropped"
    if p99.value is None:
        return None, f"there is no p99, {p99.reason}"
    if service.value is None:
        return None, f"there is no p99 of the inference alone, {service.reason}"
    times = p99.value / service.value
    return times <= factor, f"p99 is {times:.2f} times that of the inference alone, {factor:g} are allowed"
