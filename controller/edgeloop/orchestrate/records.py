"""Records out to other tools, and published rows in: appended, marked third-party, decided by nothing."""

from __future__ import annotations

import hashlib
import re
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import InvalidInputError, NotFoundError
from edgeloop_protocol.types.run import Outcome, Run, Source
from edgeloop_protocol.types.trial import Benchmark, RuntimeSettings, Trial

import edgeloop
from edgeloop.domain.candidate import Candidate, CandidateState
from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.experiment import DataSummary, DeviceResult, ExperimentRequest, ExperimentResult
from edgeloop.domain.model import ModelDescription
from edgeloop.domain.recipe import Recipe
from edgeloop.domain.third_party import PREFIX

if TYPE_CHECKING:
    from edgeloop.app import App
    from edgeloop.observe.published import PublishedRow

__all__ = ["Exported", "export_records", "import_published"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_NOT_OURS = Benchmark(measure_latency=False, measure_memory=False, measure_nodes=False, check_parity=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written."""

    experiment_id: str
    #: Where it is now.
    place: str
    row_count: int


def export_records(
    app: App, experiment: str, format: str, to: str = "", *, samples: bool = False
) -> Exported:
    """Write every run of an experiment, or every raw sample, in a format of others.

    Raises:
        NotFoundError: no such experiment or format, or one without runs.
        InvalidInputError: a place that cannot be used, or samples in a format that does not take them.
        MissingDependencyError: the format needs a package that is not installed.
        BusyError: the disk is full; nothing is left behind.
    """
    from edgeloop.observe.exporters import EXPORTERS
    from edgeloop.observe.exporters.base import Export
    from edgeloop.observe.exporters.rows import RUN_COLUMNS, SAMPLE_COLUMNS, run_rows, sample_rows

    exporter = EXPORTERS.load(format)()
    if samples and not exporter.takes_samples:
        raise InvalidInputError(
            f"{format} takes one row per run, not samples.", next_step="Use parquet or csv."
        )
    runs = app.records.runs(experiment)
    if not runs:
        raise NotFoundError(f"experiment {experiment} has no runs to export.")
    name = runs[0].experiment_id
    rows = sample_rows(runs, app.records.samples) if samples else run_rows(runs)
    export = Export(
        experiment_id=name, columns=SAMPLE_COLUMNS if samples else RUN_COLUMNS, rows=rows, runs=runs
    )
    return Exported(experiment_id=name, place=exporter.export(export, to), row_count=len(rows))


def import_published(
    app: App,
    path: Path,
    name: str,
    *,
    licence: str = "",
    url: str = "",
    columns: Mapping[str, str] | None = None,
) -> ExperimentResult:
    """Append a table of published figures as an experiment of third-party runs.

    Raises:
        InvalidInputError: the name or the table cannot be used.
        NotFoundError: no such file.
        StateError: there is an experiment of that name.
    """
    from edgeloop.observe.published import read_published

    if not _NAME.fullmatch(name) or name == "latest":
        raise InvalidInputError(
            f"{name!r} is no name for an import.", next_step="Use letters, digits, dots, dashes; at most 63."
        )
    rows = read_published(path, columns or {})
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    origin = {"file": path.name, "file_sha256": digest, "licence": licence, "url": url, "imported_as": name}
    context = tuple((PREFIX + key, value) for key, value in origin.items() if value)
    now = time.time()
    labels = tuple(dict.fromkeys(row.label for row in rows))
    result = ExperimentResult(
        experiment_id=name,
        created_wall_s=now,
        duration_s=0.0,
        edgeloop_version=edgeloop.__version__,
        request=_request(path, rows, context),
        model=_description(path, digest),
        data=_no_data(),
        candidates=tuple(_candidate(label) for label in labels),
        skipped=(),
        devices=_devices(rows, name, context, now),
    )
    app.records.finish(result)
    return result


def _request(
    path: Path, rows: Sequence[PublishedRow], context: tuple[tuple[str, str], ...]
) -> ExperimentRequest:
    names = dict.fromkeys(row.device for row in rows)
    return ExperimentRequest(
        model=path.name, devices=tuple(map(_spec, names)), context=context, benchmark=_NOT_OURS
    )


def _spec(device: str) -> DeviceSpec:
    return DeviceSpec(name=device, transport="third_party")


def _description(path: Path, digest: str) -> ModelDescription:
    return ModelDescription(
        name=path.name,
        format="published figures",
        digest=digest,
        size_bytes=0,
        inputs=(),
        outputs=(),
        opsets=(),
        ir_version=0,
        parameter_count=0,
        operator_counts=(),
        precision="",
        quantized=False,
    )


def _no_data() -> DataSummary:
    return DataSummary(
        name="",
        digest="",
        evaluation_count=0,
        calibration_count=0,
        golden_count=0,
        labelled=False,
        task="",
        metric="",
    )


def _identity(label: str) -> str:
    """Return what stands where an artifact's digest stands: of the description, for no artifact is known."""
    return hashlib.sha256(f"third-party: {label}".encode()).hexdigest()


def _candidate(label: str) -> Candidate:
    return Candidate(
        label=label,
        recipe=Recipe.from_tree(label, [{"pass": "third_party"}]),
        state=CandidateState.BUILT,
        artifact_digest=_identity(label),
    )


def _devices(
    rows: Sequence[PublishedRow], name: str, context: tuple[tuple[str, str], ...], now: float
) -> tuple[DeviceResult, ...]:
    from edgeloop.select.evidence import collect

    devices = []
    for device in dict.fromkeys(row.device for row in rows):
        own = [row for row in rows if row.device == device]
        runs = tuple(_run(row, name, context, now) for row in own)
        evidence = collect([_candidate(row.label) for row in own], runs)
        devices.append(DeviceResult(device=_spec(device), runs=runs, evidence=evidence))
    return tuple(devices)


def _run(row: PublishedRow, name: str, context: tuple[tuple[str, str], ...], now: float) -> Run:
    return Run(
        run_id=str(uuid.uuid4()),
        source=Source.THIRD_PARTY,
        device_id=f"third-party:{row.device}",
        device_name=row.device,
        boot_id="",
        agent_version="",
        job_id="",
        request_id="",
        lease_id="",
        experiment_id=name,
        trial=Trial(
            trial_id=row.label,
            label=row.label,
            artifact_digest=_identity(row.label),
            settings=RuntimeSettings(runtime=row.runtime or "not stated"),
        ),
        benchmark=_NOT_OURS,
        runtime_version=row.runtime,
        started_wall_s=now,
        duration_s=0.0,
        outcome=Outcome.SUCCESS,
        context=(*row.context, *context),
    )
