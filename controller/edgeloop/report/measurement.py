"""What was measured beside the candidates' figures, as tables: fitness, anomalies, memory, energy, load, placement.

The same tables stand in the page, in Markdown and on the terminal.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edgeloop_protocol.types.conditions import CheckAnswer, Preflight
from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import Energy, Memory, Run, Simulation, Timing

from edgeloop.domain.experiment import DeviceResult
from edgeloop.domain.latency import LatencyAssessment
from edgeloop.report.cells import ORIGIN, Cell, Table, estimate_cell, rows_of, run_origin, series_text
from edgeloop.report.load import load_tables
from edgeloop.report.units import MISSING, amount, duration

__all__ = ["energy_text", "measurement_tables", "preflight_text", "remarks"]

_ANSWER_TONE = {
    CheckAnswer.FIT: "good",
    CheckAnswer.UNFIT: "bad",
    CheckAnswer.NOT_OBSERVABLE: "quiet",
    CheckAnswer.UNREADABLE: "bad",
}


def measurement_tables(device: DeviceResult) -> tuple[Table, ...]:
    """Return every table that has a row, in the order they are read."""
    runs = device.trial_runs
    tables = (
        _anomalies(device.runs),
        *load_tables(device),
        _timing(runs),
        _steadiness(device),
        _memory(runs),
        _energy(runs),
        _placement(runs),
        _preflight(device.runs),
        _numbers(device),
    )
    return tuple(table for table in tables if table.rows)


def remarks(device: DeviceResult) -> tuple[Cell, ...]:
    """Return what a reader has to know before the figures, each a sentence and its colour."""
    found = [Cell(text=preflight_text(p), tone="good" if p.fit else "open") for p in _preflights(device.runs)]
    for evidence in device.evidence:
        if evidence.disqualification:
            text = f"No gate accepts the figures of {evidence.candidate}: {evidence.disqualification}."
            found.append(Cell(text=text, tone="bad"))
    sensed = [run.energy for run in device.runs if run.energy]
    absent = {energy_text(energy) for energy in sensed if energy.gross_j.value is None}
    found += [Cell(text=f"Energy: {text}.", tone="quiet") for text in sorted(absent)]
    return tuple(dict.fromkeys(found))


def _preflights(runs: Sequence[Run]) -> tuple[Preflight, ...]:
    # One job is checked once; its runs carry the same answer.
    return tuple(dict.fromkeys(run.preflight for run in runs if run.preflight))


def preflight_text(preflight: Preflight) -> str:
    """Return in one sentence whether the device was fit to measure."""
    bad = [c for c in preflight.checks if c.answer in (CheckAnswer.UNFIT, CheckAnswer.UNREADABLE)]
    waited = f" after {duration(preflight.waited_s)} of waiting" if preflight.waited_s >= 0.5 else ""
    series = f"Series {series_text(preflight.series)}"
    if not bad:
        return f"{series}: fit to measure{waited}, {len(preflight.checks)} checks."
    named = "; ".join(f"{check.name} is {check.observed}, required is {check.required}" for check in bad)
    return f"{series}: not fit to measure{waited}: {named}."


def _preflight(runs: Sequence[Run]) -> Table:
    rows = []
    for preflight in _preflights(runs):
        run = next(run for run in runs if run.preflight == preflight)
        rows += [
            (
                Cell(text=check.name.replace("_", " ")),
                *run_origin(run),
                Cell(text=check.answer.value.replace("_", " "), tone=_ANSWER_TONE[check.answer]),
                Cell(text=check.observed or MISSING),
                Cell(text=check.required or MISSING),
            )
            for check in preflight.checks
        ]
    columns = ("check", *ORIGIN, "answer", "observed", "required")
    return Table(title="Preflight", columns=columns, rows=rows_of(rows))


def _anomalies(runs: Sequence[Run]) -> Table:
    rows = [
        (
            Cell(text=run.trial.label),
            *run_origin(run),
            Cell(
                text=anomaly.kind.value.replace("_", " "),
                detail="no gate accepts the run" if anomaly.disqualifying else "noted only",
                tone="bad" if anomaly.disqualifying else "open",
            ),
            Cell(text="whole run" if anomaly.round < 0 else str(anomaly.round)),
            Cell(text=anomaly.reason),
        )
        for run in runs
        for anomaly in run.anomalies
    ]
    columns = ("candidate", *ORIGIN, "anomaly", "round", "what was seen")
    return Table(title="Anomalies", columns=columns, rows=rows_of(rows))


def _timing(runs: Sequence[Run]) -> Table:
    rows = [
        (Cell(text=run.trial.label), *run_origin(run), *_timing_cells(run, run.timing))
        for run in runs
        if run.timing
    ]
    columns = ("candidate", *ORIGIN, "cold load", "warm load", "first inference", "samples", "while it ran")
    return Table(title="Load and steady phase", columns=columns, rows=rows_of(rows))


def _timing_cells(run: Run, timing: Timing) -> tuple[Cell, ...]:
    count = timing.steady.sample_count if timing.steady else 0
    state = timing.steady_state.value.replace("_", " ")
    stopped = timing.stop_reason.value.replace("_", " ")
    outliers = ""
    if timing.steady and (timing.steady.mild_outlier_count or timing.steady.severe_outlier_count):
        outliers = (
            f", outliers {timing.steady.mild_outlier_count} mild {timing.steady.severe_outlier_count} severe"
        )
    return (
        estimate_cell(timing.cold_load_s, "s"),
        estimate_cell(timing.warm_load_s, "s"),
        estimate_cell(timing.first_inference_s, "s"),
        Cell(
            text=str(count), detail=f"steady state {state}, {stopped}{outliers}" if count else timing.reason
        ),
        _watched(run, timing),
    )


def _watched(run: Run, timing: Timing) -> Cell:
    """Return what else went on while the samples were taken, the worst of all rounds."""
    watches = [block.watch for block in timing.blocks if block.watch]
    if timing.timing_disputed:
        return Cell(text="timing disputed", detail="the clocks of runner and agent disagreed", tone="bad")
    disqualifying = [a for a in run.anomalies if a.disqualifying]
    if disqualifying:
        return Cell(text=disqualifying[0].kind.value.replace("_", " "), tone="bad")
    if not watches:
        return Cell(text=MISSING, detail="not watched", tone="quiet")
    said = []
    foreign = [w.foreign_cpu_share for w in watches if w.foreign_cpu_share is not None]
    hottest = [w.temperature_after_celsius for w in watches if w.temperature_after_celsius is not None]
    lowest = [w.clock_probe_ratio for w in watches if w.clock_probe_ratio is not None]
    throttled = [w.throttle_event_count for w in watches if w.throttle_event_count is not None]
    if foreign:
        said.append(f"others used {100 * max(foreign):.1f} % of the processors at most")
    if hottest:
        said.append(f"{max(hottest):.0f} °C at most")
    if lowest:
        said.append(f"clock probe at {100 * min(lowest):.1f} % at least")
    if throttled:
        said.append(f"{sum(throttled)} throttle events")
    return Cell(text="no anomaly", detail="; ".join(said), tone="good")


def _steadiness(device: DeviceResult) -> Table:
    """Return what the raw samples tell: whether they settled, over which processes, in how many modes."""
    by_id = {run.run_id: run for run in device.runs}
    rows = [
        (
            Cell(text=evidence.candidate),
            *run_origin(by_id[evidence.run_id]),
            Cell(
                text=evidence.latency.steadiness.value.replace("_", " "),
                detail=evidence.latency.reason,
                tone="good" if evidence.latency.settled else "bad",
            ),
            estimate_cell(evidence.latency.p50, "s"),
            Cell(text=_modes(evidence.latency), tone="open" if evidence.latency.bimodal else ""),
            Cell(
                text=str(evidence.latency.sample_count),
                detail=f"{evidence.latency.mild_outlier_count} mild and {evidence.latency.severe_outlier_count} "
                "severe outliers, none dropped",
            ),
        )
        for evidence in device.evidence
        if evidence.latency is not None and evidence.run_id in by_id
    ]
    columns = ("candidate", *ORIGIN, "latency over time", "p50 over processes", "modes", "settled samples")
    return Table(title="Steady state and modes", columns=columns, rows=rows_of(rows))


def _modes(latency: LatencyAssessment) -> str:
    if not latency.modes:
        return MISSING
    if not latency.bimodal:
        return "one"
    return ", ".join(f"{amount(m.centre_s, 's')} in {amount(m.share, 'ratio')}" for m in latency.modes)


_MEMORY = (
    ("after import", "baseline_rss_bytes"),
    ("after load", "loaded_rss_bytes"),
    ("peak of load", "load_peak_rss_bytes"),
    ("peak of inference", "inference_peak_rss_bytes"),
    ("proportional", "pss_bytes"),
    ("anonymous", "anonymous_bytes"),
    ("of files", "file_bytes"),
    ("peak of control group", "cgroup_peak_bytes"),
    ("drop of available memory", "system_drop_bytes"),
)
"""Heading and field, in the order in which they come about."""


def _memory(runs: Sequence[Run]) -> Table:
    measured = [(run, run.memory) for run in runs if run.memory]
    shown = [(name, field) for name, field in _MEMORY if any(_bytes(m, field) for _, m in measured)]
    rows = [
        (
            Cell(text=run.trial.label),
            *run_origin(run),
            *(_memory_cell(memory, field) for _, field in shown),
            Cell(text=memory.method or MISSING, detail=memory.reason),
        )
        for run, memory in measured
    ]
    columns = ("candidate", *ORIGIN, *(name for name, _ in shown), "how")
    return Table(title="Memory of the runner", columns=columns, rows=rows_of(rows))


def _bytes(memory: Memory, field: str) -> int | None:
    value: int | None = getattr(memory, field)
    return value


def _memory_cell(memory: Memory, field: str) -> Cell:
    value = _bytes(memory, field)
    if value is None:
        return Cell(text=MISSING, tone="quiet")
    version = memory.cgroup_version if field == "cgroup_peak_bytes" else None
    return Cell(text=amount(value, "B"), detail=f"version {version}, page cache included" if version else "")


def energy_text(energy: Energy) -> str:
    """Return in words why there is no energy, or the sensor it was read from."""
    if energy.gross_j.value is not None:
        return f"{energy.sensor}, {energy.scope}".strip(", ")
    reason = energy.gross_j.reason
    if energy.sensor or "no power sensor" in reason:
        return reason
    return f"no power sensor: {reason}"


def _energy(runs: Sequence[Run]) -> Table:
    rows = [
        (
            Cell(text=run.trial.label),
            *run_origin(run),
            _energy_cell(run.energy),
            estimate_cell(run.energy.above_idle_j, "J")
            if run.energy.gross_j.value is not None
            else Cell(text=MISSING, tone="quiet"),
            *(_watts(estimate) for estimate in _powers(run.energy)),
            _sensor(run.energy),
        )
        for run in runs
        if run.energy
    ]
    columns = (
        "candidate",
        *ORIGIN,
        "energy per inference",
        "above idle",
        "mean power",
        "idle before",
        "idle after",
        "sensor",
    )
    return Table(title="Energy", columns=columns, rows=rows_of(rows))


def _powers(energy: Energy) -> tuple[Estimate | None, ...]:
    return (energy.mean_power_w, energy.idle_power_w, energy.idle_after_w)


def _watts(estimate: Estimate | None) -> Cell:
    cell = estimate_cell(estimate, "W")
    # Why there is none stands beside the energy; once is enough.
    return Cell(text=cell.text, tone=cell.tone) if cell.text == MISSING else cell


def _energy_cell(energy: Energy) -> Cell:
    if energy.gross_j.value is None:
        return Cell(text=MISSING, detail=energy_text(energy), tone="quiet")
    return estimate_cell(energy.gross_j, "J")


def _sensor(energy: Energy) -> Cell:
    if not energy.sensor:
        return Cell(text="none", tone="quiet")
    said = [
        f"{energy.rate_hz:.3g} readings/s" if energy.rate_hz is not None else "rate unknown",
        f"error {100 * energy.error_fraction:.3g} %"
        if energy.error_fraction is not None
        else "error unknown",
    ]
    if energy.perturbation_share is not None:
        said.append(f"reading it took {100 * energy.perturbation_share:.2g} % of the time")
    return Cell(text=f"{energy.sensor}, {energy.scope}".strip(", "), detail="; ".join(said))


def _placement(runs: Sequence[Run]) -> Table:
    rows = []
    for run in runs:
        placement = run.placement
        if placement is None:
            continue
        asked = ", ".join(run.trial.settings.providers) or "the processor alone"
        head = (Cell(text=run.trial.label), *run_origin(run), Cell(text=asked))
        if not placement.nodes_per_provider:
            rows.append((*head, Cell(text=MISSING, detail=placement.reason), *(Cell(text=MISSING),) * 2))
        total_s = sum(node.mean_s for node in placement.nodes)
        for provider, count in placement.nodes_per_provider:
            spent_s = sum(node.mean_s for node in placement.nodes if node.provider == provider)
            share = amount(spent_s / total_s, "ratio") if total_s else MISSING
            rows.append((*head, Cell(text=provider), Cell(text=str(count)), Cell(text=share)))
    columns = ("candidate", *ORIGIN, "asked for", "ran on", "nodes", "share of their time")
    return Table(title="Placement", columns=columns, rows=rows_of(rows))


def _numbers(device: DeviceResult) -> Table:
    """Return where each number of the candidates' table comes from."""
    by_id = {run.run_id: run for run in device.runs}
    rows = []
    for evidence in device.evidence:
        run = by_id.get(evidence.run_id)
        if run is None:
            continue
        for name, estimate in evidence.values:
            if estimate.value is None or name in ("size", "quality", "quality_drop"):
                continue
            rows.append((Cell(text=evidence.candidate), *run_origin(run), *_provenance(name, estimate, run)))
    columns = ("candidate", *ORIGIN, "quantity", "value", "n", "taken by", "run")
    return Table(title="Where each number comes from", columns=columns, rows=rows_of(rows))


def _provenance(name: str, estimate: Estimate, run: Run) -> tuple[Cell, ...]:
    from edgeloop.report.units import quantity_name, quantity_unit

    confidence = f"{100 * estimate.confidence:g} % interval" if estimate.confidence else "no interval"
    value = estimate_cell(estimate, quantity_unit(name))
    inside = f"{value.detail}, {confidence}" if value.detail and estimate.confidence else value.detail
    return (
        Cell(text=quantity_name(name)),
        Cell(text=value.text, detail=inside or confidence),
        Cell(text=str(estimate.sample_count or MISSING)),
        Cell(text=_taken_by(name, run), detail=_around(run)),
        Cell(text=run.run_id[:12], tone="code"),
    )


def _taken_by(name: str, run: Run) -> str:
    if run.simulation:
        return f"predicted by profile {run.simulation.profile}"
    if name == "memory":
        return (run.memory.method if run.memory else "") or MISSING
    if name == "energy":
        return energy_text(run.energy) if run.energy else MISSING
    return "performance counter of the runner, checked against the agent's clock"


def _around(run: Run) -> str:
    return ", ".join(_conditions(run))


def _rests_on(simulation: Simulation) -> Iterable[str]:
    """Yield how far a prediction can be trusted; its basis stands beside its source."""
    if simulation.interval_factor is not None:
        yield f"90 % interval of the prediction x/\N{DIVISION SIGN} {simulation.interval_factor:.3g}"
    if simulation.family_distance is not None:
        yield f"nearest measured family {simulation.nearest_family} at distance {simulation.family_distance:.2f}"
    yield from (f"extrapolated: {sentence}" for sentence in simulation.extrapolations)


def _conditions(run: Run) -> Iterable[str]:
    settings, before = run.trial.settings, run.conditions_before
    yield f"{settings.runtime} {run.runtime_version}".strip()
    yield f"{settings.intra_op_threads} thread{'s' if settings.intra_op_threads > 1 else ''}"
    if run.simulation is not None:
        yield from _rests_on(run.simulation)
    if run.emulation is not None:
        yield f"measured under emulated resources: {run.emulation.text}"
    if run.emulation_reading is not None and run.emulation_reading.note:
        yield run.emulation_reading.note
    if settings.affinity:
        yield f"pinned to {','.join(map(str, settings.affinity))}"
    if before is not None and before.governor:
        yield f"governor {before.governor}"
    if before is not None and before.load_average_1min is not None:
        yield f"load {before.load_average_1min:.2f} before"
