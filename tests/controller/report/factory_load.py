"""The experiment with all that may surround its figures: fitness, anomalies, heat, arrivals, a scenario, sweeps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from edgeloop.domain.experiment import DeviceResult, ExperimentResult
from edgeloop.domain.latency import LatencyAssessment, LatencyMode, Steadiness
from edgeloop.domain.strategy import Evidence
from edgeloop.domain.sweep import SweepPlan
from edgeloop.orchestrate.sweep import batch_sweep, rate_sweep, with_sweeps
from edgeloop.select.quantities import disqualification, further_values, series_of
from edgeloop_protocol.summary import distribution
from edgeloop_protocol.types.conditions import (
    Anomaly,
    AnomalyKind,
    CheckAnswer,
    Phase,
    Preflight,
    PreflightCheck,
    Watch,
)
from edgeloop_protocol.types.load import Arrivals, ScenarioResult, Sustained, Window
from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import Energy, Run
from edgeloop_protocol.types.trial import Benchmark

from tests.controller.report import factory
from tests.controller.report.factory_runs import BOARDS, KINDS, Kind, estimate, raw_samples, run

NO_THROTTLE = "no throttle event was seen in 1200 s"
FOREIGN = "other processes used 34 % of the processors, at most 5 % are allowed."
PLAN = SweepPlan(batch_sizes=(1, 2, 4, 8), rates_hz=(50.0, 100.0, 200.0, 400.0))


def preflight(fit: bool = True) -> Preflight:
    governor = PreflightCheck(
        name="governor",
        answer=CheckAnswer.FIT if fit else CheckAnswer.UNFIT,
        observed="performance" if fit else "powersave",
        required="performance",
    )
    load = PreflightCheck(
        name="foreign_load", answer=CheckAnswer.FIT, observed="1.2 %", required="at most 10 %"
    )
    throttled = PreflightCheck(
        name="throttled",
        answer=CheckAnswer.NOT_OBSERVABLE,
        observed="no throttle counter on this processor",
        required="not throttled",
    )
    return Preflight(series="nominal", fit=fit, checks=(governor, load, throttled), waited_s=4.2)


def sustained(device: str, kind: Kind) -> Sustained:
    """Twenty minutes: the die warms up, the clock falls in three steps, latency rises with it."""
    base = BOARDS[device] / kind.speed
    generator = np.random.default_rng(5)
    windows = []
    for i in range(120):
        heat = 82.0 - 36.0 * float(np.exp(-i / 28))
        clock = 2.4e9 if i < 40 else 2.1e9 if i < 75 else 1.8e9
        p50 = base * 2.4e9 / clock * float(1 + 0.004 * generator.standard_normal())
        windows.append(
            Window(
                start_s=10.0 * i,
                duration_s=10.0,
                sample_count=int(10 / p50),
                p50_s=p50,
                p95_s=p50 * 1.07,
                maximum_s=p50 * 1.6,
                temperature_celsius=heat,
                frequency_hz=clock,
                throttle_event_count=int(i in (40, 75)),
                power_w=None,
            )
        )
    first, last = windows[0].p50_s or 0.0, windows[-1].p50_s or 0.0
    return Sustained(
        windows=tuple(windows),
        first_minute_p50_s=estimate(first, 0.004),
        last_minute_p50_s=estimate(last, 0.004),
        last_minute_p95_s=estimate(last * 1.07, 0.01),
        ratio=estimate(last / first, 0.006),
        time_to_throttle_s=Estimate(value=400.0, low=400.0, high=410.0, sample_count=1),
        duration_s=1200.0,
    )


def arrivals(device: str, kind: Kind, rate_hz: float, capacity_hz: float = 300.0) -> Arrivals:
    service = (raw_samples(device, kind) / 1e9).tolist()
    queueing = 1.0 / max(0.02, 1.0 - rate_hz / capacity_hz) if rate_hz < capacity_hz else 40.0
    return Arrivals(
        process="open_poisson",
        offered_rate_hz=rate_hz,
        achieved_rate_hz=min(rate_hz, capacity_hz),
        answered_count=700,
        dropped_count=0 if rate_hz < capacity_hz else 212,
        queue_count_peak=3,
        duty_cycle=min(1.0, rate_hz / capacity_hz),
        latency=distribution([s * queueing for s in service], "s"),
        service=distribution(service, "s"),
    )


def scenario() -> ScenarioResult:
    return ScenarioResult(
        scenario="single_stream",
        engine="mlcommons-loadgen 6.0.17",
        valid=False,
        query_count=2041,
        sample_count=2041,
        duration_s=10.0,
        throughput_hz=204.1,
        latency=distribution((raw_samples("this-machine", KINDS[0]) / 1e9).tolist(), "s"),
        early_stopping_s=Estimate(value=5.2e-3, sample_count=2041),
        reason="10 s of at least 600 s",
    )


def energy() -> Energy:
    return Energy(
        gross_j=estimate(0.0302, 0.03),
        above_idle_j=estimate(0.0167, 0.05),
        mean_power_w=estimate(6.1, 0.02),
        idle_power_w=estimate(2.7, 0.01),
        idle_after_w=estimate(2.9, 0.01),
        sensor="ina3221/VDD_IN",
        scope="board",
        rate_hz=10.0,
        error_fraction=0.02,
        perturbation_share=0.0012,
    )


def surrounded(record: Run, kind: Kind) -> Run:
    """Return a run with everything around it."""
    assert record.timing is not None
    assert record.memory is not None
    watch = Watch(
        runner_cpu_s=1.0,
        foreign_cpu_share=0.012,
        temperature_after_celsius=61.0,
        clock_probe_ratio=0.998,
        throttle_event_count=0,
    )
    blocks = tuple(replace(block, watch=watch) for block in record.timing.blocks)
    return replace(
        record,
        benchmark=Benchmark(seed=7, series="nominal", sustained_s=1200.0),
        timing=replace(record.timing, blocks=blocks),
        memory=replace(
            record.memory, cgroup_peak_bytes=91 << 20, cgroup_version=2, system_drop_bytes=37 << 20
        ),
        preflight=preflight(),
        phases=(Phase(name="idle_before", round=-1, start_ns=0, end_ns=1_000_000_000),),
        sustained=sustained("this-machine", kind),
        arrivals=arrivals("this-machine", kind, 50.0),
        scenario=scenario() if kind is KINDS[0] else None,
        energy=energy() if kind is KINDS[0] else record.energy,
        anomalies=(Anomaly(kind=AnomalyKind.FOREIGN_LOAD, round=3, reason=FOREIGN),)
        if kind.label == "dynamic int8"
        else (),
    )


def assessment(record: Run) -> LatencyAssessment:
    assert record.timing is not None
    assert record.timing.steady is not None
    steady = record.timing.steady
    return LatencyAssessment(
        run_id=record.run_id,
        steadiness=Steadiness.FLAT,
        reason="one level throughout all 5 processes",
        p50=steady.p50,
        p90=steady.p90,
        p95=steady.p95,
        p99=steady.p99,
        modes=(LatencyMode(centre_s=4.8e-3, share=0.81), LatencyMode(centre_s=6.2e-3, share=0.19)),
        sample_count=steady.sample_count,
    )


def point_runs(device: str = "this-machine") -> tuple[Run, ...]:
    """Return the runs of a sweep: throughput that saturates at four, a knee below 400 requests a second."""
    kind, runs = KINDS[0], list[Run]()
    base = replace(run(device, kind), placement=None, parity=None, memory=None, preflight=preflight())
    assert base.timing is not None
    assert base.timing.steady is not None
    for size in PLAN.batch_sizes:
        cost = size / min(2.6, 1 + 0.55 * (size - 1)) if size < 8 else size / 2.55
        mean = base.timing.steady.mean * cost
        p50 = estimate(BOARDS[device] * cost, 0.004)
        steady = replace(base.timing.steady, mean=mean, p50=p50)
        runs.append(
            replace(
                base,
                run_id=f"batch-{size}",
                benchmark=Benchmark(batch_size=size, series="nominal"),
                trial=replace(base.trial, label=f"original, batch {size}"),
                timing=replace(base.timing, steady=steady),
            )
        )
    runs += [
        replace(
            base,
            run_id=f"rate-{rate:g}",
            benchmark=Benchmark(arrival="open_poisson", rate_hz=rate, series="nominal"),
            trial=replace(base.trial, label=f"original, {rate:g} requests/s"),
            arrivals=arrivals(device, kind, rate),
        )
        for rate in PLAN.rates_hz
    ]
    return tuple(runs)


def swept(device: DeviceResult) -> DeviceResult:
    """Return a device with the runs and the values of both sweeps."""
    runs = point_runs()
    samples = {
        r.timing.samples_digest: raw_samples("this-machine", KINDS[0]).tobytes() for r in runs if r.timing
    }
    return with_sweeps(
        device,
        replace(
            device,
            runs=runs,
            batch_sweep=batch_sweep("original", PLAN, runs, samples),
            rate_sweep=rate_sweep("original", PLAN, runs),
        ),
    )


def experiment() -> ExperimentResult:
    """Build the experiment, nominal throughout; this machine is the device with everything."""
    plain = factory.experiment()
    here, *others = (_nominal(device) for device in plain.devices)
    kinds = {kind.label: kind for kind in KINDS}
    runs = tuple(surrounded(r, kinds[r.trial.label]) if r.trial.label in kinds else r for r in here.runs)
    by_id = {r.run_id: r for r in runs}
    evidence = tuple(_evidence(e, by_id[e.run_id]) for e in here.evidence)
    loaded = swept(replace(here, runs=runs, evidence=evidence))
    return replace(plain, devices=(loaded, *others))


def _nominal(device: DeviceResult) -> DeviceResult:
    benchmark = Benchmark(seed=7, series="nominal")
    runs = tuple(replace(r, benchmark=benchmark, preflight=preflight()) for r in device.runs)
    evidence = tuple(replace(e, series="nominal") for e in device.evidence)
    return replace(device, runs=runs, evidence=evidence)


def _evidence(evidence: Evidence, record: Run) -> Evidence:
    if record.timing is None:
        return replace(evidence, series=series_of(record))
    return replace(
        evidence,
        series=series_of(record),
        disqualification=disqualification(record),
        latency=assessment(record),
        values=(*evidence.values, *further_values(record)),
    )
