"""A result as tables and sentences, before it becomes HTML or Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import Outcome, Run, Source, Verdict

from edgeloop.domain.experiment import DeviceResult, ExperimentResult
from edgeloop.domain.strategy import Decision, Evidence, Finding
from edgeloop.report.units import MISSING, amount, interval, quantity_name, quantity_unit, times

__all__ = ["Cell", "DeviceView", "Metric", "Table", "device_view", "evidence_of", "run_of", "source_text"]

QUANTITY_ORDER = ("latency_p50", "latency_p95", "size", "memory", "energy", "quality", "quality_drop")
"""Columns of the candidates' table, where anything is known of them."""

_CARD = ("latency_p50", "size", "memory", "energy", "quality")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell: what is read first, what is read second, and its colour."""

    text: str
    #: Interval, or why there is no figure.
    detail: str = ""
    #: "good", "bad", "open", "quiet", "badge" (measured), "simulated" or empty.
    tone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table with a heading of its own; rows are as long as ``columns``."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One quantity on a card: the original beside the chosen one."""

    name: str
    original: str
    chosen: str
    #: How many times better, with its interval, or the difference; empty when unknown.
    gain: str
    #: "good" when the whole interval is better, "bad" when it is worse, else empty.
    tone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceView:
    """One device as it is presented."""

    name: str
    hardware: str
    #: Source of its figures with the basis, for example "simulated: predicted, basis datasheet".
    source: Cell
    headline: str
    #: "good", "open", "bad" or "quiet".
    tone: str
    reasons: tuple[str, ...]
    metrics: tuple[Metric, ...]
    tables: tuple[Table, ...]
    #: Candidate that is compared with the original in charts; empty when there is none.
    compared: str


def source_text(source: Source | None, basis: str) -> Cell:
    """Return the badge that every row with figures carries."""
    if source is None:
        return Cell(text="not run", tone="quiet")
    if source is Source.SIMULATED:
        return Cell(text=f"simulated: predicted, basis {basis or 'unknown'}", tone="simulated")
    if source is Source.THIRD_PARTY:
        return Cell(text="third party: published, not measured here", tone="simulated")
    return Cell(text=source.value.replace("_", " "), tone="badge")


def evidence_of(device: DeviceResult, candidate: str) -> Evidence | None:
    """Return what is known of a candidate on a device."""
    return next((e for e in device.evidence if e.candidate == candidate), None)


def run_of(device: DeviceResult, candidate: str) -> Run | None:
    """Return the run that a candidate's evidence rests on."""
    evidence = evidence_of(device, candidate)
    return next((r for r in device.runs if evidence and r.run_id == evidence.run_id), None)


def device_view(result: ExperimentResult, device: DeviceResult) -> DeviceView:
    """Return one device as it is presented."""
    headline, tone = _headline(device)
    basis = _basis(device)
    strategy = device.strategy
    compared = (strategy.candidate or strategy.nearest) if strategy else ""
    tables = (
        _candidates(result, device, basis),
        _constraints(device, basis),
        _parity(device, basis),
        _phases(device, basis),
        _conditions(device, basis),
        _failures(device, basis),
    )
    return DeviceView(
        name=device.device.name,
        hardware=_hardware(device),
        source=source_text(_source(device), basis),
        headline=headline,
        tone=tone,
        reasons=strategy.reasons if strategy else (),
        metrics=_metrics(result, device, compared),
        tables=tuple(table for table in tables if table.rows),
        compared=compared,
    )


def _headline(device: DeviceResult) -> tuple[str, str]:
    strategy = device.strategy
    if strategy is None:
        return (f"No result: {device.error}", "bad") if device.error else ("Nothing to decide from", "quiet")
    predicted = " (predicted)" if strategy.source is Source.SIMULATED else ""
    if strategy.decision is Decision.THIS_ONE:
        return f"Ship {strategy.candidate}{predicted}", "good"
    if strategy.decision is Decision.KEEP_ORIGINAL:
        return f"Keep the original{predicted}", "good"
    if strategy.decision is Decision.NONE_FEASIBLE:
        nearest = f"; nearest is {strategy.nearest}" if strategy.nearest else ""
        return f"None is feasible{nearest}", "bad"
    proposal = f"; proposal: {strategy.candidate}" if strategy.candidate else ""
    return f"Undecided{proposal}", "open"


def _source(device: DeviceResult) -> Source | None:
    if device.strategy and device.strategy.source:
        return device.strategy.source
    if device.runs:
        return device.runs[0].source
    return Source.SIMULATED if device.facts and device.facts.simulated else None


def _basis(device: DeviceResult) -> str:
    if device.strategy and device.strategy.basis:
        return device.strategy.basis
    return next((run.simulation.basis for run in device.runs if run.simulation), "")


def _hardware(device: DeviceResult) -> str:
    if device.facts is None:
        return device.device.address or device.device.transport
    hardware, system = device.facts.hardware, device.facts.operating_system
    clock = amount(hardware.max_frequency_hz / 1e9, "GHz", 2) if hardware.max_frequency_hz else ""
    parts = (
        hardware.model,
        hardware.cpu_model,
        f"{hardware.logical_cores} cores {clock}".strip(),
        amount(hardware.memory_total_bytes, "B", 2),
        f"{system.name}, {hardware.architecture}",
    )
    return " · ".join(part for part in parts if part)


def _cell(estimate: Estimate, unit: str) -> Cell:
    if estimate.value is None:
        return Cell(text=MISSING, detail=estimate.reason, tone="quiet")
    return Cell(text=amount(estimate.value, unit), detail=interval(estimate, unit))


def _metrics(result: ExperimentResult, device: DeviceResult, compared: str) -> tuple[Metric, ...]:
    original = next((e for e in device.evidence if e.original), None)
    chosen = evidence_of(device, compared)
    if original is None or chosen is None:
        return ()
    metric = result.data.metric
    found = []
    for quantity in sorted(_CARD, key=lambda q: q not in result.request.prefer):
        before, after = original.value(quantity), chosen.value(quantity)
        if before.value is None or after.value is None:
            continue
        unit = quantity_unit(quantity, metric)
        gain, tone = _gain(chosen, quantity, unit)
        found.append(
            Metric(
                name=quantity_name(quantity, metric),
                original=amount(before.value, unit),
                chosen=amount(after.value, unit),
                gain=gain,
                tone=tone,
            )
        )
    return tuple(found)


def _gain(chosen: Evidence, quantity: str, unit: str) -> tuple[str, str]:
    if quantity == "quality":
        drop = chosen.value("quality_drop")
        if drop.value is None:
            return "", ""
        text = f"drop {amount(drop.value, unit)}"
        inside = interval(drop, unit)
        return f"{text} ({inside})" if inside else text, ""
    gain = chosen.gain(quantity)
    if gain.value is None:
        return "", ""
    low = gain.value if gain.low is None else gain.low
    high = gain.value if gain.high is None else gain.high
    return times(gain), "good" if low > 1 else "bad" if high < 1 else ""


_STANDING_TONE = {
    "chosen": "good",
    "runner-up": "good",
    "infeasible": "bad",
    "excluded": "bad",
    "undecided": "open",
}
_VERDICT_TONE = {Verdict.PASSED: "good", Verdict.FAILED: "bad", Verdict.UNDECIDED: "open"}


def _verdict(verdict: Verdict | None, detail: str = "") -> Cell:
    if verdict is None:
        return Cell(text=MISSING, detail=detail or "not checked", tone="quiet")
    return Cell(text=verdict.value, detail=detail, tone=_VERDICT_TONE[verdict])


def _candidates(result: ExperimentResult, device: DeviceResult, basis: str) -> Table:
    findings = {f.candidate: f for f in (device.strategy.findings if device.strategy else ())}
    metric = result.data.metric
    quantities = [q for q in QUANTITY_ORDER if any(e.value(q).value is not None for e in device.evidence)]
    rows = []
    for evidence in device.evidence:
        finding = findings.get(evidence.candidate, Finding(candidate=evidence.candidate, standing="–"))
        front = "on the Pareto front" if finding.on_front else ""
        rows.append(
            (
                Cell(text=evidence.candidate),
                source_text(evidence.source, basis),
                Cell(
                    text=finding.standing,
                    detail=finding.reason or evidence.exclusion or front,
                    tone=_STANDING_TONE.get(finding.standing, ""),
                ),
                *(_value(evidence, q, metric) for q in quantities),
                *_speedup(evidence),
                _verdict(evidence.parity, evidence.parity_reason),
            )
        )
    names = (quantity_name(q, metric) for q in quantities)
    columns = ("candidate", "source", "standing", *names, "faster by", "parity")
    return Table(title="Candidates", columns=columns, rows=tuple(rows))


def _value(evidence: Evidence, quantity: str, metric: str) -> Cell:
    cell = _cell(evidence.value(quantity), quantity_unit(quantity, metric))
    # Why it is out stands in the row already; once is enough.
    return Cell(text=MISSING, tone="quiet") if cell.text == MISSING and evidence.exclusion else cell


def _speedup(evidence: Evidence) -> tuple[Cell]:
    if evidence.original:
        return (Cell(text="1×", detail="the reference"),)
    gain = evidence.gain("latency_p50")
    if gain.value is None:
        return (Cell(text=MISSING, detail="" if evidence.exclusion else gain.reason, tone="quiet"),)
    text, _, inside = times(gain).partition(" ")
    disputed = "the clocks disagreed" if evidence.timing_disputed else ""
    return (Cell(text=text, detail=disputed or inside.strip("()"), tone="bad" if disputed else ""),)


def _constraints(device: DeviceResult, basis: str) -> Table:
    rows = []
    for finding in device.strategy.findings if device.strategy else ():
        evidence = evidence_of(device, finding.candidate)
        badge = source_text(evidence.source if evidence else None, basis)
        rows += [
            (
                Cell(text=finding.candidate),
                badge,
                Cell(text=check.constraint),
                _verdict(check.verdict),
                Cell(text=check.reason),
            )
            for check in finding.checks
        ]
    columns = ("candidate", "source", "constraint", "verdict", "reason")
    return Table(title="Constraints", columns=columns, rows=tuple(rows))


def _parity(device: DeviceResult, basis: str) -> Table:
    rows = []
    for run in device.runs:
        for comparison in run.parity.comparisons if run.parity else ():
            worst = max(comparison.outputs, key=lambda o: o.max_relative_error, default=None)
            cosines = [o.cosine_similarity for o in comparison.outputs if o.cosine_similarity is not None]
            decision = comparison.decision
            rows.append(
                (
                    Cell(text=run.trial.label),
                    source_text(run.source, basis),
                    Cell(text=f"{comparison.against}", detail=f"tolerance {comparison.tolerance_class}"),
                    _verdict(comparison.verdict, comparison.reason),
                    Cell(text=f"{worst.max_absolute_error:.3g}" if worst else MISSING),
                    Cell(
                        text=f"{worst.max_relative_error:.3g}" if worst else MISSING,
                        detail=worst.name if worst else "",
                    ),
                    Cell(text=f"{min(cosines):.6f}" if cosines else MISSING),
                    Cell(
                        text=f"{decision.flip_count} of {decision.item_count}" if decision else MISSING,
                        detail=f"{interval(decision.flip_rate, 'ratio')} %" if decision else "no decisions",
                    ),
                )
            )
    columns = (
        "candidate",
        "source",
        "against",
        "verdict",
        "largest error",
        "relative",
        "cosine",
        "changed decisions",
    )
    return Table(title="Parity on the device", columns=columns, rows=tuple(rows))


def _phases(device: DeviceResult, basis: str) -> Table:
    rows = []
    for run in device.runs:
        if run.timing is None and run.memory is None:
            continue
        rows.append(
            (Cell(text=run.trial.label), source_text(run.source, basis), *_timing(run), *_memory(run))
        )
    columns = (
        "candidate",
        "source",
        "cold load",
        "warm load",
        "first inference",
        "samples",
        "peak memory of load",
        "peak memory of inference",
        "energy per inference",
    )
    return Table(title="Load, memory and energy", columns=columns, rows=tuple(rows))


def _timing(run: Run) -> tuple[Cell, ...]:
    timing = run.timing
    if timing is None:
        return (Cell(text=MISSING, detail="latency was not measured", tone="quiet"),) * 4
    count = timing.steady.sample_count if timing.steady else 0
    state = timing.steady_state.value.replace("_", " ")
    stopped = timing.stop_reason.value.replace("_", " ")
    return (
        _cell(timing.cold_load_s, "s"),
        _cell(timing.warm_load_s, "s"),
        _cell(timing.first_inference_s, "s"),
        Cell(text=str(count), detail=f"steady state {state}, {stopped}" if count else timing.reason),
    )


def _memory(run: Run) -> tuple[Cell, ...]:
    memory, energy = run.memory, run.energy
    cells = []
    for value in (memory.load_peak_rss_bytes, memory.inference_peak_rss_bytes) if memory else (None, None):
        reason = (memory.reason if memory else "memory was not measured") if value is None else ""
        cells.append(Cell(text=amount(value, "B"), detail=reason, tone="" if value else "quiet"))
    absent = Estimate.absent("energy was not measured")
    cell = _cell(energy.gross_j if energy else absent, "J")
    scope = f"{energy.sensor}, {energy.scope}" if energy and energy.sensor else ""
    return (
        *cells,
        Cell(text=cell.text, detail=", ".join(filter(None, (cell.detail, scope))), tone=cell.tone),
    )


def _conditions(device: DeviceResult, basis: str) -> Table:
    run = next((r for r in device.runs if r.conditions_before or r.conditions_after), None)
    if run is None:
        return Table(title="Conditions", columns=(), rows=())
    both = (run.conditions_before, run.conditions_after)
    shown: dict[str, list[Cell]] = {}
    for side, found in enumerate(both):
        if found is None:
            continue
        plain = {
            "governor": Cell(text=found.governor or MISSING),
            "load average, 1 min": Cell(
                text=MISSING if found.load_average_1min is None else f"{found.load_average_1min:.2f}"
            ),
            "available memory": Cell(text=amount(found.available_memory_bytes, "B")),
        }
        readings = {
            r.name: Cell(text=MISSING, detail=r.reason, tone="quiet")
            if r.value is None
            else Cell(text=amount(r.value, r.unit))
            for r in found.readings
        }
        for name, cell in (plain | readings).items():
            shown.setdefault(name, [Cell(text=MISSING), Cell(text=MISSING)])[side] = cell
    badge = source_text(run.source, basis)
    rows = tuple((Cell(text=name), badge, *cells) for name, cells in shown.items())
    return Table(title="Conditions", columns=("what", "source", "before", "after"), rows=rows)


def _failures(device: DeviceResult, basis: str) -> Table:
    rows = [
        (
            Cell(text=run.trial.label),
            source_text(run.source, basis),
            Cell(text=run.outcome.value.replace("_", " "), detail=run.failure_kind.value, tone="bad"),
            Cell(text=run.failure_reason),
            Cell(text=run.log_tail[-400:]),
        )
        for run in device.runs
        if run.outcome is not Outcome.SUCCESS
    ]
    columns = ("candidate", "source", "outcome", "reason", "last lines of the log")
    return Table(title="Runs that failed", columns=columns, rows=_rows(rows))


def _rows(rows: Iterable[Sequence[Cell]]) -> tuple[tuple[Cell, ...], ...]:
    return tuple(tuple(row) for row in rows)
