"""Values to the rows they are kept in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from edgeloop_foundation.errors import InternalError, InvalidInputError
from edgeloop_protocol.convert import to_json
from edgeloop_protocol.types.run import Run

from edgeloop.domain.comparison import Comparison
from edgeloop.domain.experiment import DataSummary, DeviceResult, ExperimentRequest, ExperimentResult
from edgeloop.domain.model import ModelDescription
from edgeloop.domain.strategy import Strategy

__all__ = [
    "FINISHED",
    "RUNNING",
    "candidate_rows",
    "comparison_row",
    "decision_row",
    "device_row",
    "experiment_row",
    "run_row",
    "text",
]

RUNNING, FINISHED = "running", "finished"
"""States of an experiment; one that was given up half way stays "running"."""


def text(value: Any) -> str:
    """Return the JSON text of a value or of a tree; maps keep their order."""
    tree = value if isinstance(value, list | dict) else to_json(value)
    return json.dumps(tree, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def experiment_row(
    request: ExperimentRequest,
    experiment_id: str,
    model: ModelDescription,
    data: DataSummary,
    created_wall_s: float,
) -> dict[str, Any]:
    """Return the row of an experiment that begins."""
    if not experiment_id or experiment_id == "latest":
        raise InvalidInputError(f"an experiment needs a name of its own, not {experiment_id!r}.")
    return {
        "id": experiment_id,
        "created_wall_s": created_wall_s,
        "status": RUNNING,
        "model_name": model.name,
        "model_digest": model.digest,
        "data_name": data.name,
        "request": text(request),
        "model": text(model),
        "data": text(data),
    }


def run_row(run: Run, device: str, epoch: str | None, sequence: int | None) -> dict[str, Any]:
    """Return the row of a run."""
    return {
        "run_id": run.run_id,
        "device": device,
        "device_id": run.device_id,
        "epoch": epoch,
        "sequence": sequence,
        "experiment_id": run.experiment_id,
        "artifact_digest": run.trial.artifact_digest,
        "candidate": run.trial.label,
        "source": run.source.value,
        "outcome": run.outcome.value,
        "started_wall_s": run.started_wall_s,
        "record": text(run),
    }


def candidate_rows(result: ExperimentResult) -> list[dict[str, Any]]:
    """Return one row per candidate, in the experiment's order."""
    return [
        {
            "experiment_id": result.experiment_id,
            "label": candidate.label,
            "position": position,
            "state": candidate.state.value,
            "artifact_digest": candidate.artifact_digest,
            "record": text(candidate),
        }
        for position, candidate in enumerate(result.candidates)
    ]


def device_row(experiment_id: str, position: int, device: DeviceResult) -> dict[str, Any]:
    """Return the row of what came back from a device."""
    return {
        "experiment_id": experiment_id,
        "device": device.device.name,
        "position": position,
        "device_id": device.facts.device_id if device.facts else "",
        "run_ids": text([run.run_id for run in device.runs]),
        "record": text(replace(device, runs=())),
    }


def decision_row(
    experiment_id: str, strategy: Strategy, require: Sequence[str], prefer: str, decided_wall_s: float
) -> dict[str, Any]:
    """Return the row of a decision."""
    return {
        "experiment_id": experiment_id,
        "device": strategy.device,
        "decided_wall_s": decided_wall_s,
        "decision": strategy.decision.value,
        "candidate": strategy.candidate,
        "require": text(list(require)),
        "prefer": prefer,
        "record": text(strategy),
    }


def comparison_row(comparison: Comparison) -> dict[str, Any]:
    """Return the row of a comparison that was measured."""
    key = comparison.key
    if key is None or comparison.source is None:
        raise InternalError(f"the comparison of {comparison.a} with {comparison.b} was never measured.")
    return {
        "device_id": key.device_id,
        "boot_id": comparison.boot_id,
        "runtime": key.runtime,
        "threads": key.threads,
        "protocol": key.protocol,
        "same": int(comparison.same),
        "source": comparison.source.value,
        "measured_wall_s": comparison.measured_wall_s,
        "p50_ratio": comparison.ratios[0].ratio.value if comparison.ratios else None,
        "record": text(comparison),
    }
