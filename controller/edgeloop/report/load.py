"""Sustained runs, scheduled arrivals, MLPerf scenarios and sweeps as tables."""

from __future__ import annotations

from collections.abc import Sequence

from edgeloop_protocol.types.load import Sustained
from edgeloop_protocol.types.run import Run

from edgeloop.domain.experiment import DeviceResult
from edgeloop.domain.sweep import RatePoint
from edgeloop.report.cells import ORIGIN, Cell, Table, estimate_cell, rows_of, run_origin
from edgeloop.report.units import MISSING, amount, duration

__all__ = ["load_tables"]


def load_tables(device: DeviceResult) -> tuple[Table, ...]:
    """Return the tables of what was asked for; those of what was not are empty."""
    return (
        _sustained(device.runs),
        _arrivals(device.trial_runs),
        _scenarios(device.runs),
        _batches(device),
        _rates(device),
    )


def _sustained(runs: Sequence[Run]) -> Table:
    rows = [
        (Cell(text=run.trial.label), *run_origin(run), *_sustained_cells(run.sustained))
        for run in runs
        if run.sustained
    ]
    columns = (
        "candidate",
        *ORIGIN,
        "first minute p50",
        "last minute p50",
        "last minute p95",
        "last over first",
        "time to throttle",
        "hottest",
        "clock, highest to lowest",
        "lasted",
    )
    return Table(title="Burst and sustained", columns=columns, rows=rows_of(rows))


def _sustained_cells(sustained: Sustained) -> tuple[Cell, ...]:
    windows = sustained.windows
    heat = [w.temperature_celsius for w in windows if w.temperature_celsius is not None]
    clocks = [w.frequency_hz for w in windows if w.frequency_hz is not None]
    ratio = sustained.ratio
    ratio_tone = "bad" if ratio.low is not None and ratio.low > 1 else ""
    ratio_cell = estimate_cell(ratio, "times")
    span = f"{amount(max(clocks), 'clock')} to {amount(min(clocks), 'clock')}" if clocks else MISSING
    return (
        estimate_cell(sustained.first_minute_p50_s, "s"),
        estimate_cell(sustained.last_minute_p50_s, "s"),
        estimate_cell(sustained.last_minute_p95_s, "s"),
        Cell(text=ratio_cell.text, detail=ratio_cell.detail, tone=ratio_cell.tone or ratio_tone),
        estimate_cell(sustained.time_to_throttle_s, "s"),
        Cell(text=amount(max(heat), "celsius") if heat else MISSING, detail="" if heat else "not readable"),
        Cell(text=span, detail="" if clocks else "not readable"),
        Cell(text=duration(sustained.duration_s), detail=f"{len(windows)} windows"),
    )


def _arrivals(runs: Sequence[Run]) -> Table:
    rows = []
    for run in runs:
        arrivals = run.arrivals
        if arrivals is None:
            continue
        closed = run.timing.steady.p50 if run.timing and run.timing.steady else None
        dropped = Cell(text=str(arrivals.dropped_count), tone="bad" if arrivals.dropped_count else "")
        rows.append(
            (
                Cell(text=run.trial.label),
                *run_origin(run),
                Cell(text=arrivals.process.replace("_", " ")),
                Cell(
                    text=f"{arrivals.achieved_rate_hz:.4g} /s",
                    detail=f"of {arrivals.offered_rate_hz:.4g} /s offered",
                ),
                estimate_cell(arrivals.latency.p50, "s"),
                estimate_cell(arrivals.latency.p99, "s"),
                estimate_cell(arrivals.service.p50, "s"),
                estimate_cell(closed, "s", "no closed loop was measured"),
                dropped,
                Cell(text=str(arrivals.queue_count_peak)),
                Cell(text=amount(arrivals.duty_cycle, "ratio")),
            )
        )
    columns = (
        "candidate",
        *ORIGIN,
        "arrivals",
        "answered",
        "p50 from intended time",
        "p99 from intended time",
        "p50 of the inference",
        "p50 in a closed loop",
        "dropped",
        "longest queue",
        "busy",
    )
    return Table(title="Open loop against closed loop", columns=columns, rows=rows_of(rows))


def _scenarios(runs: Sequence[Run]) -> Table:
    rows = []
    for run in runs:
        found = run.scenario
        if found is None:
            continue
        latency = found.latency
        rows.append(
            (
                Cell(text=run.trial.label),
                *run_origin(run),
                Cell(text=found.scenario.replace("_", " "), detail="unofficial"),
                Cell(text=found.engine),
                Cell(
                    text="valid" if found.valid else "not valid",
                    detail=found.reason,
                    tone="good" if found.valid else "open",
                ),
                Cell(text=str(found.query_count), detail=f"{found.sample_count} samples"),
                Cell(text=amount(found.throughput_hz, "Hz")),
                estimate_cell(latency.p50 if latency else None, "s", "the offline scenario has none"),
                estimate_cell(found.early_stopping_s, "s", "the scenario has none"),
                Cell(text=duration(found.duration_s)),
            )
        )
    columns = (
        "candidate",
        *ORIGIN,
        "scenario",
        "engine",
        "by its rules",
        "queries",
        "samples per second",
        "latency p50",
        "early stopping",
        "lasted",
    )
    return Table(title="MLPerf scenario (unofficial)", columns=columns, rows=rows_of(rows))


def _origin_of(device: DeviceResult, run_id: str) -> tuple[Cell, Cell]:
    run = next((run for run in device.runs if run.run_id == run_id), None) or next(iter(device.runs), None)
    return run_origin(run) if run else (Cell(text=MISSING, tone="quiet"), Cell(text=MISSING, tone="quiet"))


def _batches(device: DeviceResult) -> Table:
    sweep = device.batch_sweep
    rows = [
        (
            Cell(text=str(point.batch_size)),
            *_origin_of(device, point.run_id),
            Cell(text=sweep.candidate),
            estimate_cell(point.throughput_hz, "Hz"),
            estimate_cell(point.item_latency_s, "s"),
            estimate_cell(point.latency_s, "s"),
            Cell(text="best", detail=sweep.reason, tone="good")
            if point.batch_size == sweep.best_batch_size
            else Cell(text=""),
        )
        for point in (sweep.points if sweep else ())
        if sweep
    ]
    columns = (
        "batch size",
        *ORIGIN,
        "candidate",
        "items per second",
        "latency per item",
        "latency per batch",
        "",
    )
    return Table(title="Throughput over batch size", columns=columns, rows=rows_of(rows))


def _rates(device: DeviceResult) -> Table:
    sweep = device.rate_sweep
    rows = [
        (
            Cell(text=f"{point.offered_rate_hz:g} /s"),
            *_origin_of(device, point.run_id),
            Cell(text=sweep.candidate, detail=sweep.arrival.replace("_", " ")),
            Cell(
                text=MISSING if point.achieved_rate_hz is None else f"{point.achieved_rate_hz:.4g} /s",
                detail="" if point.duty_cycle is None else f"busy {amount(point.duty_cycle, 'ratio')}",
            ),
            estimate_cell(point.p50_s, "s"),
            estimate_cell(point.p99_s, "s"),
            Cell(text=MISSING if point.dropped_count is None else str(point.dropped_count)),
            _carried(point, knee=point.offered_rate_hz == sweep.knee_hz),
        )
        for point in (sweep.points if sweep else ())
        if sweep
    ]
    columns = (
        "rate",
        *ORIGIN,
        "candidate",
        "answered",
        "p50 from intended time",
        "p99 from intended time",
        "dropped",
        "carried",
    )
    return Table(title="Latency over rate", columns=columns, rows=rows_of(rows))


def _carried(point: RatePoint, *, knee: bool) -> Cell:
    if point.carried is None:
        return Cell(text="unknown", detail=point.reason, tone="open")
    if not point.carried:
        return Cell(text="no", detail=point.reason, tone="bad")
    return Cell(text="the knee" if knee else "yes", detail=point.reason, tone="good")
