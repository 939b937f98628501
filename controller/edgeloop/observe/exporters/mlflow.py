"""MLflow: one MLflow run per run of ours, in a local store or on a tracking server.

Metrics of a simulated run are named ``predicted.NAME`` and those of imported rows ``third_party.NAME``, so that no
chart lays them beside measured ones; the tag ``edgeloop.source`` says so too. An absent figure is no metric; its reason
is the tag ``absent.NAME``. The whole record is the artifact ``run.json``. An MLflow run is marked finished when all of
it is there, and deleted when something fails on the way.
"""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any, ClassVar

from edgeloop_foundation.errors import BusyError, InvalidInputError, MissingDependencyError, UnavailableError
from edgeloop_protocol.convert import to_json
from edgeloop_protocol.types.run import Run, Source

from edgeloop.observe.exporters.base import Export, Exporter
from edgeloop.observe.exporters.rows import Column, Value

__all__ = ["MlflowExporter"]

_PREFIX = {
    Source.MEASURED: "",
    Source.SIMULATED: "predicted.",
    Source.THIRD_PARTY: "third_party.",
    Source.EMULATED: "emulated.",
}
_TAGS = (
    "source", "basis", "profile_digest", "series", "preflight", "outcome", "failure_kind", "parity", "steady_state",
    "device_id", "run_id", "experiment_id",
)  # fmt: skip
_PARAMS = (
    "device", "board", "profile", "candidate", "artifact_digest", "runtime_version", "runtime", "intra_op_threads",
    "batch_size", "graph_optimization",
)  # fmt: skip
_TEXT_MAX = 5000
"""Length that every store of MLflow takes for a tag."""


class MlflowExporter(Exporter):
    """Writes one MLflow run per run."""

    name: ClassVar[str] = "mlflow"
    takes_samples: ClassVar[bool] = False

    def export(self, export: Export, to: str) -> str:
        """Write the runs and return the tracking URI."""
        client, uri = _client(to)
        from mlflow.exceptions import MlflowException

        try:
            experiment = _experiment(client, f"edgeloop/{export.experiment_id}")
            for row, run in zip(export.rows, export.runs, strict=True):
                _write(client, experiment, export.columns, row, run)
        except MlflowException as error:
            text = " ".join(str(error).split())
            raise UnavailableError(f"MLflow at {uri} did not take the runs: {text[:300]}.") from error
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise BusyError(f"no space left at {uri}.", next_step="Free some disk space.") from error
            raise
        return uri


def _client(to: str) -> tuple[Any, str]:
    uri = to or "mlruns"
    scheme, separator, _ = uri.partition("://")
    if separator and scheme not in ("http", "https", "file", "sqlite", "databricks"):
        raise InvalidInputError(f"MLflow knows no store {scheme!r}.", next_step="Give a directory or a URI.")
    if not separator:
        uri = Path(uri).absolute().as_uri()
    # MLflow would report its use to its makers, and wants to be told that a directory is meant as a store.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    if uri.startswith("file:"):
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    try:
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=uri), uri
    except ModuleNotFoundError as error:
        package = (error.name or "mlflow").partition(".")[0]
        raise MissingDependencyError(
            f"the exporter mlflow needs the package {package!r} for {uri}, which is not installed.",
            next_step="Install 'edgeloop[mlflow]' for directories and servers, the whole mlflow for databases.",
        ) from error


def _experiment(client: Any, name: str) -> str:
    known = client.get_experiment_by_name(name)
    return str(known.experiment_id if known else client.create_experiment(name))


def _write(
    client: Any, experiment: str, columns: tuple[Column, ...], row: tuple[Value, ...], run: Run
) -> None:
    values = {column.name: value for column, value in zip(columns, row, strict=True)}
    if client.search_runs([experiment], f"tags.`edgeloop.run_id` = '{run.run_id}'", max_results=1):
        return  # exported before; a record never changes
    tags = {f"edgeloop.{name}": str(values[name])[:_TEXT_MAX] for name in _TAGS}
    tags |= {
        f"absent.{name.removesuffix('_reason')}": str(value)[:_TEXT_MAX]
        for name, value in values.items()
        if name.endswith("_reason") and value
    }
    tags |= {f"context.{name}": value[:_TEXT_MAX] for name, value in run.context}
    made = client.create_run(
        experiment, int(run.started_wall_s * 1000), tags, f"{run.device_name}: {run.trial.label}"
    )
    identifier = made.info.run_id
    try:
        _fill(client, identifier, columns, values, run)
    except BaseException:
        client.delete_run(identifier)
        raise
    client.set_terminated(identifier, "FINISHED", int((run.started_wall_s + run.duration_s) * 1000))


def _fill(
    client: Any, identifier: str, columns: tuple[Column, ...], values: dict[str, Value], run: Run
) -> None:
    from mlflow.entities import Metric, Param

    moment_ms = int(run.started_wall_s * 1000)
    metrics = [
        Metric(f"{_PREFIX[run.source]}{column.name}", float(value), moment_ms, 0)
        for column in columns
        if column.kind == "real" or column.name.startswith("memory_")
        if isinstance(value := values[column.name], int | float)
    ]
    params = [Param(name, str(values[name])[:500]) for name in _PARAMS]
    client.log_batch(identifier, metrics=metrics, params=params)
    client.log_text(identifier, json.dumps(to_json(run), indent=2, ensure_ascii=False), "run.json")
