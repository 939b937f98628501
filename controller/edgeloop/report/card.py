"""A model card: what an artifact is, what is on record of it and under which conditions, and how to run it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from edgeloop_protocol.convert import to_json
from edgeloop_protocol.types.artifact import Artifact
from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import Run

from edgeloop.domain.candidate import Candidate
from edgeloop.domain.constraint import SHARE_METRICS
from edgeloop.domain.experiment import DeviceResult, ExperimentResult
from edgeloop.domain.strategy import Evidence
from edgeloop.report.cells import estimate_cell, origin, verdict_cell
from edgeloop.report.markdown import grid, plain
from edgeloop.report.measurement import energy_text
from edgeloop.report.units import MISSING, amount, interval, moment, quantity_name
from edgeloop.report.view import hardware_text

__all__ = ["Card", "card_markdown", "card_tree"]

NO_LICENCE = "not stated: whoever trained the model decides it; ask before you pass this on"
"""Never guessed from anywhere."""

_COLUMNS = ("latency_p50", "latency_p95", "memory")


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """Everything that a card is written from."""

    digest: str
    manifest: Artifact
    #: Finished experiments in which the artifact was a candidate, newest first.
    results: tuple[ExperimentResult, ...]
    #: As the user states it; empty when nobody did.
    licence: str = ""
    #: Names of the further files of the package, each with what it is.
    files: tuple[tuple[str, str], ...] = ()
    #: The program that runs the model.
    lines: str = ""


def _candidate(card: Card, result: ExperimentResult) -> Candidate:
    return next(c for c in result.candidates if c.artifact_digest == card.digest)


def _appearances(card: Card) -> Iterable[tuple[ExperimentResult, DeviceResult, Evidence]]:
    """Yield every device's evidence on the artifact, of runs that were made."""
    for result in card.results:
        for device in result.devices:
            for evidence in device.evidence:
                if evidence.artifact_digest == card.digest and evidence.run_id:
                    yield result, device, evidence


def card_markdown(card: Card) -> str:
    """Return the card for people, as GitHub-flavoured Markdown."""
    manifest = card.manifest
    blocks = [
        f"# {plain(manifest.label)}",
        f"Artifact `{card.digest}`, made from the model `{manifest.source_digest}`. All figures are those that are on "
        "record for this very artifact, with their 95 % intervals; where there is none, it says so.",
        grid(("", ""), _facts(card)),
        "## Quality",
        _quality(card),
        "## On devices",
        _devices(card),
        "## Run it",
        "In this directory, with `pip install onnxruntime numpy`; it is the file `run.py`:",
        f"```python\n{card.lines.rstrip()}\n```",
        "## How it was made",
        f"Recipe: `{manifest.recipe}`.\n\nLibraries: "
        + plain(", ".join(f"{name} {version}" for name, version in manifest.libraries) or "none are recorded")
        + ".",
        "## Files",
        grid(("file", "what it is"), card.files),
    ]
    return "\n\n".join(blocks) + "\n"


def _facts(card: Card) -> list[tuple[str, str]]:
    manifest = card.manifest
    decision = f"{manifest.decision_rule} of {manifest.decision_output}"
    return [
        ("licence", card.licence or NO_LICENCE),
        ("bytes that the runtime opens", amount(manifest.model_size_bytes, "B")),
        ("bytes that travel", amount(manifest.model_travel_bytes, "B")),
        ("arithmetic", manifest.precision),
        (
            "operator sets",
            ", ".join(f"{domain or 'ai.onnx'} {version}" for domain, version in manifest.opsets),
        ),
        ("inputs", "; ".join(f"{s.name}: {s.dtype} {list(s.shape)}" for s in manifest.inputs)),
        ("outputs", "; ".join(f"{s.name}: {s.dtype} {list(s.shape)}" for s in manifest.outputs)),
        ("state", ", ".join(f"{b.output} becomes {b.input}" for b in manifest.state) or "none"),
        ("decision", decision if manifest.decision_rule else "none is read from the outputs"),
    ]


def _quality(card: Card) -> str:
    rows = []
    for result in card.results:
        quality, data = _candidate(card, result).quality, result.data
        where = (f"{data.name} ({data.digest[:12]})", moment(result.created_wall_s))
        if quality is None:
            rows.append((*where, "not judged: the data has no labels", MISSING, MISSING, MISSING))
            continue
        unit = "ratio" if quality.metric in SHARE_METRICS else ""
        rows.append(
            (
                *where,
                f"{quantity_name('quality', quality.metric)} {_figure(quality.value, unit)}",
                _figure(quality.baseline, unit),
                _figure(quality.retention, "ratio") if quality.retention else MISSING,
                f"{quality.item_count} items of {quality.group_count} sources",
            )
        )
    if not rows:
        return "No finished experiment on record has judged it."
    columns = ("data (fingerprint)", "when", "this artifact", "original", "kept", "judged on")
    return grid(columns, rows)


def _figure(estimate: Estimate, unit: str) -> str:
    between = interval(estimate, unit)
    return amount(estimate.value, unit) + (f" ({between})" if between else "")


def _devices(card: Card) -> str:
    rows = [_device_row(*appearance) for appearance in _appearances(card)]
    if not rows:
        return "No finished experiment on record has run it on a device."
    columns = ("device", "source", "series", *map(quantity_name, _COLUMNS), "energy", "parity", "conditions")
    return grid(columns, rows)


def _device_row(result: ExperimentResult, device: DeviceResult, evidence: Evidence) -> tuple[str, ...]:
    run = next((r for r in device.runs if r.run_id == evidence.run_id), None)
    cells = [*origin(evidence.source, evidence.basis, evidence.series)]
    units = {"memory": "B"}
    cells += [estimate_cell(evidence.value(name), units.get(name, "s")) for name in _COLUMNS]
    energy = run.energy if run else None
    joules = estimate_cell(energy.gross_j if energy else None, "J", "not measured")
    if energy is not None and energy.gross_j.value is None:
        joules = estimate_cell(None, "J", energy_text(energy))
    cells += [joules, verdict_cell(evidence.parity, evidence.parity_reason)]
    texts = [f"{cell.text} ({cell.detail})" if cell.detail else cell.text for cell in cells]
    return (device.device.name, *texts, _conditions(result, device, run))


def _conditions(result: ExperimentResult, device: DeviceResult, run: Run | None) -> str:
    parts = [hardware_text(device), moment(result.created_wall_s)]
    if run is not None:
        settings = run.trial.settings
        parts.append(
            f"{run.runtime_version or settings.runtime}, {settings.intra_op_threads} threads, batch 1"
        )
        parts += [f"{anomaly.kind.value}: {anomaly.reason}" for anomaly in run.anomalies]
        if run.preflight is not None and not run.preflight.fit:
            parts.append("the device was not fit for measuring")
    return " · ".join(part for part in parts if part)


def card_tree(card: Card) -> dict[str, Any]:
    """Return the same for machines; every value is as it is on record."""
    return {
        "artifact_digest": card.digest,
        "label": card.manifest.label,
        "source_digest": card.manifest.source_digest,
        "recipe": json.loads(card.manifest.recipe),
        "licence": card.licence or None,
        "model_size_bytes": card.manifest.model_size_bytes,
        "libraries": dict(card.manifest.libraries),
        "experiments": [_experiment_tree(card, result) for result in card.results],
    }


def _experiment_tree(card: Card, result: ExperimentResult) -> dict[str, Any]:
    candidate = _candidate(card, result)
    evidence: Sequence[tuple[DeviceResult, Evidence]] = [
        (device, found) for other, device, found in _appearances(card) if other is result
    ]
    return {
        "experiment_id": result.experiment_id,
        "created_wall_s": result.created_wall_s,
        "data": to_json(result.data),
        "quality": to_json(candidate.quality) if candidate.quality else None,
        "devices": [
            {"device": device.device.name, "hardware": hardware_text(device), "evidence": to_json(found)}
            for device, found in evidence
        ],
    }
