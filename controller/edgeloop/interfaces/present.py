"""Results to standard output: tables for people, one JSON document for programs."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeloop_protocol.types.artifact import Artifact
    from edgeloop_protocol.types.facts import Facts

    from edgeloop.domain.candidate import Candidate
    from edgeloop.domain.device import DeviceSpec
    from edgeloop.domain.experiment import DeviceResult, ExperimentResult, Plan
    from edgeloop.domain.strategy import Evidence, Strategy
    from edgeloop.orchestrate.devices import DoctorFinding
    from edgeloop.orchestrate.validate import GateResult
    from edgeloop.report.cells import Cell

__all__ = [
    "figures_of",
    "print_artifacts",
    "print_candidate",
    "print_doctor",
    "print_facts",
    "print_gates",
    "print_json",
    "print_measurements",
    "print_plan",
    "print_result",
    "print_table",
    "print_text",
    "print_tree",
]

_SHOWN = (
    "latency_p50",
    "latency_p95",
    "first_inference",
    "load_time",
    "memory",
    "size",
    "energy",
    "latency_sustained_p50",
    "sustained_ratio",
    "throughput",
    "quality",
    "quality_drop",
)
"""Quantities of a measurement, in the order of the columns."""

_SURROUNDINGS = (
    "Load and steady phase",
    "Steady state and modes",
    "Memory of the runner",
    "Energy",
    "Placement",
    "Preflight",
)
"""Tables that an experiment of many candidates leaves to its report."""

_ELSEWHERE = ("Where each number comes from",)
"""Tables for the report; a terminal has --json."""

_PIPE_WIDTH = 100_000


def print_text(text: str) -> None:
    """Print text as it is, with one line end."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")


def print_json(value: Any) -> None:
    """Print one JSON document."""
    print_text(json.dumps(_tree(value), indent=2, ensure_ascii=False, allow_nan=False))


def _tree(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        from edgeloop_protocol.convert import to_json

        return to_json(value)
    if isinstance(value, Mapping):
        return {str(name): _tree(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_tree(item) for item in value]
    return value


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> None:
    """Print a table; wide ones are folded to a terminal, never in a pipe."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, title=Text(title) if title else None, title_justify="left", box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    # A pipe has no width: nothing is cut or folded there.
    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    Console(file=sys.stdout, highlight=False, width=width).print(table)


def _source(evidence: Evidence) -> str:
    return "" if evidence.source is None else evidence.source.value


def _values(evidence: Evidence, quantities: Sequence[str]) -> list[str]:
    from edgeloop.report.units import amount, quantity_unit

    return [amount(evidence.value(q).value, quantity_unit(q)) for q in quantities]


def _known(device: DeviceResult) -> list[str]:
    return [q for q in _SHOWN if any(e.value(q).value is not None for e in device.evidence)]


def print_measurements(devices: Sequence[DeviceResult], *, gains: bool = False, brief: bool = False) -> None:
    """Print what was measured on each device.

    Args:
        devices: what came back.
        gains: whether to print how many times better than the first each one is.
        brief: leave what surrounds the figures to the report, but for what a reader must not miss.
    """
    from edgeloop.report.cells import series_text
    from edgeloop.report.units import times

    for device in devices:
        if device.error:
            print_text(f"{device.device.name}: {device.error}")
            continue
        known = _known(device)
        gained = ["gain in latency_p50"] if gains else []
        columns = ["candidate", *known, *gained, "parity", "source", "series"]
        rows = []
        for evidence in _on_the_device(device):
            gain = [times(evidence.gain("latency_p50"))] if gains else []
            parity = evidence.parity.value if evidence.parity else "not checked"
            origin = [_source(evidence), series_text(evidence.series)]
            rows.append([evidence.candidate, *_values(evidence, known), *gain, parity, *origin])
        print_table(columns, rows, device.device.name)
        for evidence in _on_the_device(device):
            for remark in _remarks(evidence, every_parity=not gains):
                print_text(f"  {evidence.candidate}: {remark}")
        _print_measured(device, brief=brief)


def _print_measured(device: DeviceResult, *, brief: bool) -> None:
    """Print what surrounds the figures: fitness, anomalies, load, memory, energy, placement."""
    from edgeloop.report.measurement import measurement_tables, remarks

    for remark in remarks(device):
        print_text(f"  {remark.text}")
    for table in measurement_tables(device):
        if table.title in _ELSEWHERE or (brief and table.title in _SURROUNDINGS):
            continue
        rows = [[_said(cell) for cell in row] for row in table.rows]
        print_table(table.columns, rows, f"{device.device.name}: {table.title}")


def _said(cell: Cell) -> str:
    if cell.tone == "simulated":
        return cell.text.partition(":")[0]  # its basis stands with the strategies and in the report
    if not cell.detail:
        return cell.text
    return cell.detail if cell.text in ("", "–") else f"{cell.text} ({cell.detail})"


def _on_the_device(device: DeviceResult) -> list[Evidence]:
    """Return what ran there; what never left the host is said once, for all devices."""
    return [evidence for evidence in device.evidence if evidence.run_id]


def _remarks(evidence: Evidence, *, every_parity: bool) -> Iterable[str]:
    """Yield what a reader of the row has to know: why figures are missing, why parity did not pass."""
    from edgeloop_protocol.types.run import Verdict

    if evidence.exclusion:
        yield evidence.exclusion
        return
    latency = evidence.value("latency_p50")
    if latency.value is None and evidence.run_id:
        yield f"no latency: {latency.reason}"
    if evidence.parity_reason and (every_parity or evidence.parity is not Verdict.PASSED):
        yield evidence.parity_reason


def print_result(result: ExperimentResult) -> None:
    """Print the strategy of every device with its reasons."""
    print_measurements(result.devices, gains=True, brief=True)
    rows = [
        [*_strategy_row(device.device.name, device.strategy, device.error), _series(device)]
        for device in result.devices
    ]
    print_table(["device", "decision", "candidate", "runner-up", "figures", "series"], rows, "Strategies")
    for device in result.devices:
        for reason in device.strategy.reasons if device.strategy else ():
            print_text(f"  {device.device.name}: {reason}")
    for candidate in result.candidates:
        if candidate.reason:
            print_text(f"  {candidate.state.value} {candidate.label}: {candidate.reason}")
    for skipped in result.skipped:
        print_text(f"  skipped {skipped.label}: {skipped.reason}")
    print_text(
        f"experiment {result.experiment_id}: its report holds memory, energy, placement and preflight too"
    )


def _series(device: DeviceResult) -> str:
    from edgeloop.report.cells import series_text

    return series_text(next((e.series for e in device.evidence if e.series), ""))


def _strategy_row(name: str, strategy: Strategy | None, error: str) -> list[str]:
    from edgeloop.report.cells import mark_of

    if strategy is None:
        return [name, "none", error or "nothing to decide from", "", ""]
    source = strategy.source.value if strategy.source else ""
    figures = f"{source} ({strategy.basis})" if strategy.basis else source
    candidate = strategy.candidate or (f"nearest is {strategy.nearest}" if strategy.nearest else "")
    predicted = mark_of(strategy.source)
    return [
        name,
        strategy.decision.value.replace("_", " ") + predicted,
        candidate,
        strategy.runner_up,
        figures,
    ]


def print_plan(plan: Plan) -> None:
    """Print what would be done, with expected durations."""
    from edgeloop.report.units import duration

    print_table(["step", "expected"], [(step.what, duration(step.expected_s)) for step in plan.steps], "Plan")
    recipes = [
        (recipe.label, ", ".join(p.name for p in recipe.passes) or "unmodified") for recipe in plan.recipes
    ]
    print_table(["recipe", "passes"], recipes)
    for skipped in plan.skipped:
        print_text(f"  skipped {skipped.label}: {skipped.reason}")
    print_text(f"expected in all: {plan.expected_s / 60:.1f} minutes on {', '.join(plan.devices)}")


def print_candidate(candidate: Candidate) -> None:
    """Print one built candidate."""
    from edgeloop.report.units import amount, interval

    rows = [
        ("artifact", candidate.artifact_digest),
        ("size", amount(candidate.size_bytes, "B")),
        *([("travels as", amount(candidate.travel_bytes, "B"))] if candidate.travel_bytes else []),
        ("precision", candidate.precision),
    ]
    if candidate.quality is not None:
        quality = candidate.quality
        value = f"{amount(quality.value.value, 'ratio')} ({interval(quality.value, 'ratio')})"
        drop = f"{amount(quality.drop.value, 'ratio')} ({interval(quality.drop, 'ratio')})"
        rows += [(quality.metric, value), ("drop", drop)]
        if quality.retention is not None:
            kept = f"{amount(quality.retention.value, 'ratio')} ({interval(quality.retention, 'ratio')})"
            rows.append(("retention", kept))
    rows += [("note", note) for note in candidate.notes]
    print_table(["", candidate.label], rows)


def print_gates(gates: Sequence[GateResult]) -> None:
    """Print every gate with its answer."""
    rows = [("passed" if gate.passed else "FAILED", gate.name, gate.reason) for gate in gates]
    print_table(["answer", "gate", "reason"], rows)


def print_artifacts(artifacts: Sequence[tuple[str, Artifact]]) -> None:
    """Print the kept artifacts."""
    from edgeloop.report.units import amount

    rows = [
        (digest[:12], artifact.label, artifact.precision, amount(artifact.model_size_bytes, "B"))
        for digest, artifact in artifacts
    ]
    print_table(["artifact", "label", "precision", "size"], rows)


def figures_of(device: DeviceSpec) -> str:
    """Return what kind of figures a device will give."""
    if device.transport == "simulated":
        return "simulated"
    limited = device.transport == "local" and {"compute", "cpus", "memory"} & dict(device.options).keys()
    return "emulated" if limited else "measured"


def print_facts(found: Sequence[tuple[DeviceSpec, Facts | None, str]]) -> None:
    """Print what the devices found out about themselves: board, runtimes, sensors."""
    from edgeloop.report.units import amount

    rows = []
    for spec, facts, _ in found:
        if facts is None:
            rows.append((spec.name, "no answer", "", "", "", ""))
            continue
        board, system = facts.hardware, facts.operating_system
        kind = f"simulated ({facts.profile})" if facts.simulated else "real"
        if facts.emulation is not None:
            kind = f"emulated resources ({facts.emulation.text})"
        cpu = f"{board.cpu_model or board.architecture}, {board.logical_cores} cores"
        memory = amount(board.memory_total_bytes, "B")
        rows.append((spec.name, kind, cpu, memory, system.name, amount(facts.disk_free_bytes, "B")))
    print_table(["device", "kind", "processor", "memory", "system", "free disk"], rows)
    for spec, facts, reason in found:
        if facts is None:
            print_text(f"{spec.name}: {reason}")
        else:
            _print_runtimes(spec.name, facts)
            _print_sensors(spec.name, facts)


def _print_runtimes(name: str, facts: Facts) -> None:
    rows = [
        (
            runtime.name,
            runtime.version or "–",
            ", ".join(runtime.formats) or "–",
            ", ".join(runtime.providers) or "–",
            runtime.reason or "usable",
        )
        for runtime in facts.runtimes
    ]
    print_table(["runtime", "version", "formats", "providers", "state"], rows, f"{name}: runtimes")


def _print_sensors(name: str, facts: Facts) -> None:
    rows = [
        (
            sensor.name,
            f"{sensor.quantity} in {sensor.unit}" if sensor.unit else sensor.quantity,
            sensor.scope,
            ", ".join(sensor.channels) or "–",
            "–" if not sensor.period_s else f"{1 / sensor.period_s:.3g} /s",
            "–" if sensor.resolution is None else f"{sensor.resolution:.3g} {sensor.unit}",
            "–" if sensor.error_fraction is None else f"{100 * sensor.error_fraction:.3g} %",
            "–" if sensor.cost_s is None else f"{1e6 * sensor.cost_s:.3g} µs",
            sensor.reason or "readable",
        )
        for sensor in facts.sensors
    ]
    columns = ["sensor", "quantity", "scope", "channels", "rate", "resolution", "error", "cost", "state"]
    print_table(columns, rows, f"{name}: sensors")


def print_doctor(found: Sequence[tuple[DeviceSpec, Sequence[DoctorFinding]]]) -> None:
    """Print what was found on each device and what to do about it."""
    rows = [(spec.name, f.level, f.what, f.next_step) for spec, findings in found for f in findings]
    print_table(["device", "level", "finding", "next step"], rows)


def print_tree(value: Any, indent: str = "") -> None:
    """Print any value as an indented outline; lists of records as tables."""
    for name, item in _tree(value).items():
        if isinstance(item, dict):
            print_text(f"{indent}{name}:")
            print_tree(item, indent + "  ")
        elif isinstance(item, list) and item and all(isinstance(entry, dict) for entry in item):
            columns = list(item[0])
            rows = [[_short(entry.get(column)) for column in columns] for entry in item]
            print_table(columns, rows, name)
        else:
            print_text(f"{indent}{name}: {_short(item)}")


def _short(item: Any) -> str:
    if isinstance(item, float):
        return f"{item:.6g}"
    if isinstance(item, list):
        return ", ".join(map(_short, item))
    if isinstance(item, dict):
        return ", ".join(f"{name} {_short(value)}" for name, value in item.items())
    return "" if item is None else str(item)
