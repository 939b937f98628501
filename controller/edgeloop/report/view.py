"""A result as tables and sentences, before it becomes HTML or Markdown."""

from __future__ import annotations

from dataclasses import dataclass

from edgeloop_protocol.types.run import Outcome, Run, Source

from edgeloop.domain.experiment import DeviceResult, ExperimentResult
from edgeloop.domain.strategy import Decision, Evidence, Finding
from edgeloop.report.cells import (
    ORIGIN,
    Cell,
    Table,
    estimate_cell,
    mark_of,
    origin,
    rows_of,
    run_origin,
    source_text,
    verdict_cell,
)
from edgeloop.report.measurement import measurement_tables, remarks
from edgeloop.report.units import MISSING, amount, interval, quantity_name, quantity_unit, times

__all__ = ["DeviceView", "Metric", "device_view", "evidence_of", "hardware_text", "run_of"]

QUANTITY_ORDER = (
    "latency_p50",
    "latency_p95",
    "latency_sustained_p50",
    "latency_sustained_p95",
    "sustained_ratio",
    "throughput",
    "size",
    "memory",
    "energy",
    "quality",
    "quality_drop",
)
"""Columns of the candidates' table, where anything is known of them."""

_WHEN_ASKED = ("latency_sustained_p95", "throughput")
"""Shown among the candidates when something is required or preferred of them; they have tables of their own."""

_CARD = ("latency_p50", "size", "memory", "energy", "quality")


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
    #: Source of its figures with the basis, for example "simulated: predicted, basis transferred, unvalidated".
    source: Cell
    headline: str
    #: "good", "open", "bad" or "quiet".
    tone: str
    reasons: tuple[str, ...]
    metrics: tuple[Metric, ...]
    tables: tuple[Table, ...]
    #: What has to be known of the figures: fitness, anomalies, why there is no energy; first cell of each a colour.
    remarks: tuple[Cell, ...]
    #: Candidate that is compared with the original in charts; empty when there is none.
    compared: str


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
        _parity(device),
        *measurement_tables(device),
        _conditions(device),
        _failures(device),
    )
    return DeviceView(
        name=device.device.name,
        hardware=hardware_text(device),
        source=source_text(_source(device), basis),
        headline=headline,
        tone=tone,
        reasons=strategy.reasons if strategy else (),
        metrics=_metrics(result, device, compared),
        tables=tuple(table for table in tables if table.rows),
        remarks=remarks(device),
        compared=compared,
    )


def _headline(device: DeviceResult) -> tuple[str, str]:
    strategy = device.strategy
    if strategy is None:
        return (f"No result: {device.error}", "bad") if device.error else ("Nothing to decide from", "quiet")
    predicted = mark_of(strategy.source)
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
    if device.facts and device.facts.emulation:
        return Source.EMULATED
    return Source.SIMULATED if device.facts and device.facts.simulated else None


def _basis(device: DeviceResult) -> str:
    if device.strategy and device.strategy.basis:
        return device.strategy.basis
    if device.facts and device.facts.emulation:
        return device.facts.emulation.text
    return next((run.basis for run in device.runs if run.basis), "")


def hardware_text(device: DeviceResult) -> str:
    """Return the device's hardware in one line; its address where it was never reached."""
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


def _candidates(result: ExperimentResult, device: DeviceResult, basis: str) -> Table:
    findings = {f.candidate: f for f in (device.strategy.findings if device.strategy else ())}
    metric = result.data.metric
    asked = " ".join((*result.request.require, result.request.prefer))
    quantities = [
        q
        for q in QUANTITY_ORDER
        if any(e.value(q).value is not None for e in device.evidence) and (q not in _WHEN_ASKED or q in asked)
    ]
    rows = []
    for evidence in device.evidence:
        finding = findings.get(evidence.candidate, Finding(candidate=evidence.candidate, standing="–"))
        front = "on the Pareto front" if finding.on_front else ""
        rows.append(
            (
                Cell(text=evidence.candidate),
                *origin(evidence.source, basis, evidence.series),
                Cell(
                    text=finding.standing,
                    detail=finding.reason or evidence.exclusion or front,
                    tone=_STANDING_TONE.get(finding.standing, ""),
                ),
                *(_value(evidence, q, metric) for q in quantities),
                *_speedup(evidence),
                verdict_cell(evidence.parity, evidence.parity_reason),
            )
        )
    names = (quantity_name(q, metric) for q in quantities)
    columns = ("candidate", *ORIGIN, "standing", *names, "faster by", "parity")
    return Table(title="Candidates", columns=columns, rows=tuple(rows))


def _value(evidence: Evidence, quantity: str, metric: str) -> Cell:
    cell = estimate_cell(evidence.value(quantity), quantity_unit(quantity, metric))
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
        badges = origin(evidence.source, basis, evidence.series) if evidence else origin(None, basis, "")
        rows += [
            (
                Cell(text=finding.candidate),
                *badges,
                Cell(text=check.constraint),
                verdict_cell(check.verdict),
                Cell(text=check.reason),
            )
            for check in finding.checks
        ]
    columns = ("candidate", *ORIGIN, "constraint", "verdict", "reason")
    return Table(title="Constraints", columns=columns, rows=tuple(rows))


def _parity(device: DeviceResult) -> Table:
    rows = []
    for run in device.runs:
        for comparison in run.parity.comparisons if run.parity else ():
            worst = max(comparison.outputs, key=lambda o: o.max_relative_error, default=None)
            cosines = [o.cosine_similarity for o in comparison.outputs if o.cosine_similarity is not None]
            decision = comparison.decision
            rows.append(
                (
                    Cell(text=run.trial.label),
                    *run_origin(run),
                    Cell(text=f"{comparison.against}", detail=f"tolerance {comparison.tolerance_class}"),
                    verdict_cell(comparison.verdict, comparison.reason),
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
        *ORIGIN,
        "against",
        "verdict",
        "largest error",
        "relative",
        "cosine",
        "changed decisions",
    )
    return Table(title="Parity on the device", columns=columns, rows=tuple(rows))


def _conditions(device: DeviceResult) -> Table:
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
    rows = tuple((Cell(text=name), *run_origin(run), *cells) for name, cells in shown.items())
    return Table(title="Conditions", columns=("what", *ORIGIN, "before", "after"), rows=rows)


def _failures(device: DeviceResult) -> Table:
    rows = [
        (
            Cell(text=run.trial.label),
            *run_origin(run),
            Cell(text=run.outcome.value.replace("_", " "), detail=run.failure_kind.value, tone="bad"),
            Cell(text=run.failure_reason),
            Cell(text=run.log_tail[-400:]),
        )
        for run in device.runs
        if run.outcome is not Outcome.SUCCESS
    ]
    columns = ("candidate", *ORIGIN, "outcome", "reason", "last lines of the log")
    return Table(title="Runs that failed", columns=columns, rows=rows_of(rows))
