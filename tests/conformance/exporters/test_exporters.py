"""What every exporter has to do, whoever wrote it."""

from __future__ import annotations

import dataclasses
import errno
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from edgeloop.domain.third_party import PREFIX
from edgeloop.observe.exporters import BUILTIN, EXPORTERS
from edgeloop.observe.exporters.base import Export, Exporter, write_whole
from edgeloop.observe.exporters.csv import read_csv
from edgeloop.observe.exporters.rows import (
    RUN_COLUMNS,
    SAMPLE_COLUMNS,
    Column,
    Value,
    run_rows,
    sample_rows,
)
from edgeloop_foundation.errors import BusyError, InternalError, InvalidInputError, MissingDependencyError
from edgeloop_protocol.types.emulation import Emulation
from edgeloop_protocol.types.run import Run, Source

from tests.controller.report.factory import experiment, samples_of

Rows = tuple[tuple[Value, ...], ...]

NASTY = (
    "=1+1", "+x", "-x", "@SUM(A1)", "\tx", "\rx", "\nx", "'=x", "'", "", 'a "quoted", name', "line\r\nbreak",
    "ümläut µ",
)  # fmt: skip


def runs() -> tuple[Run, ...]:
    """Measured and simulated runs, failed ones, a third-party one, and names that mean harm."""
    found = [run for device in experiment().devices for run in device.runs]
    published = replace(
        found[0],
        run_id="published",
        source=Source.THIRD_PARTY,
        simulation=None,
        timing=None,
        memory=None,
        energy=None,
        parity=None,
        context=((f"{PREFIX}latency_p50", "0.25"),),
    )
    harmful = [
        replace(found[0], run_id=f"n{i}", trial=replace(found[0].trial, label=name))
        for i, name in enumerate(NASTY)
    ]
    return (*found, published, *harmful)


def export_of(some: tuple[Run, ...]) -> Export:
    return Export(experiment_id="exp", columns=RUN_COLUMNS, rows=run_rows(some), runs=some)


def read_parquet(path: Path, columns: tuple[Column, ...]) -> Rows:
    table = pytest.importorskip("pyarrow.parquet").read_table(path)
    assert table.column_names == [column.name for column in columns]
    return tuple(zip(*(column.to_pylist() for column in table.columns), strict=True))


READERS: dict[str, Callable[[Path, tuple[Column, ...]], Rows]] = {"csv": read_csv, "parquet": read_parquet}


@pytest.fixture(params=sorted(BUILTIN))
def exporter(request: pytest.FixtureRequest) -> Exporter:
    needed = {"parquet": "pyarrow", "mlflow": "mlflow"}.get(request.param)
    if needed:
        pytest.importorskip(needed)
    return EXPORTERS.load(request.param)()


@pytest.mark.parametrize("name", sorted(READERS))
def test_what_is_written_is_read_back_equal(name: str, tmp_path: Path) -> None:
    if name == "parquet":
        pytest.importorskip("pyarrow")
    export = export_of(runs())
    place = EXPORTERS.load(name)().export(export, str(tmp_path / "out"))
    assert READERS[name](Path(place), RUN_COLUMNS) == export.rows


@pytest.mark.parametrize("name", sorted(READERS))
def test_samples_are_read_back_equal(name: str, tmp_path: Path) -> None:
    if name == "parquet":
        pytest.importorskip("pyarrow")
    blobs = samples_of(experiment())
    some = tuple(run for device in experiment().devices for run in device.runs)
    rows = sample_rows(some, blobs.get)
    assert len(rows) > 1000
    export = Export(experiment_id="exp", columns=SAMPLE_COLUMNS, rows=rows, runs=some)
    place = EXPORTERS.load(name)().export(export, str(tmp_path / "out"))
    assert READERS[name](Path(place), SAMPLE_COLUMNS) == rows
    crashed = [row for row in rows if row[-1] is None]
    assert crashed, "a run without samples has a row"
    assert all(row[6] for row in crashed), "and its reason"


def test_an_export_says_where_it_is_and_can_be_done_again(exporter: Exporter, tmp_path: Path) -> None:
    export = export_of(runs()[:3])
    first = exporter.export(export, str(tmp_path / "place"))
    second = exporter.export(export, str(tmp_path / "place"))
    assert first == second
    assert str(tmp_path / "place") in first.replace("file://", "")


def test_an_empty_experiment_is_written_too(exporter: Exporter, tmp_path: Path) -> None:
    exporter.export(export_of(()), str(tmp_path / "place"))
    assert (tmp_path / "place").exists()


def values(run: Run) -> dict[str, Value]:
    return dict(zip((column.name for column in RUN_COLUMNS), run_rows((run,))[0], strict=True))


def test_every_row_says_what_kind_of_figure_it_is() -> None:
    for run in runs():
        row = values(run)
        assert row["source"] == run.source.value
        assert (row["basis"] != "") == (run.source is Source.SIMULATED)
        assert (row["series"] == "") == (run.source is Source.THIRD_PARTY)


def test_absent_is_null_beside_its_reason() -> None:
    for run in runs():
        row = values(run)
        for name in row:
            if name.endswith("_low"):
                stem = name.removesuffix("_low")
                assert (row[stem] is None) == (row[f"{stem}_reason"] != ""), (run.run_id, stem)


def test_a_published_figure_has_a_value_and_no_interval_of_ours() -> None:
    row = values(next(run for run in runs() if run.source is Source.THIRD_PARTY))
    assert row["latency_p50_s"] == 0.25
    assert row["latency_p50_s_low"] is None
    assert row["latency_p90_s"] is None
    assert "states no" in str(row["latency_p90_s_reason"])
    assert row["sample_count"] is None
    assert row["intra_op_threads"] is None


def test_units_stand_in_the_names() -> None:
    ends = ("_s", "_bytes", "_j", "_w", "_low", "_high")
    assert [c.name for c in RUN_COLUMNS if c.kind == "real" and not c.name.endswith(ends)] == []


def test_no_cell_is_a_formula(tmp_path: Path) -> None:
    place = EXPORTERS.load("csv")().export(export_of(runs()), str(tmp_path / "a.csv"))
    import csv

    with open(place, newline="", encoding="utf-8") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert [c for c in cells if c.startswith(("=", "+", "@", "\t", "\r", "\n"))] == []
    assert all(math.isfinite(float(c)) for c in cells if c.startswith("-"))


@pytest.mark.parametrize("name", sorted(READERS))
def test_a_failure_leaves_the_old_file_and_nothing_else(name: str, tmp_path: Path) -> None:
    if name == "parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / "out"
    exporter = EXPORTERS.load(name)()
    exporter.export(export_of(runs()[:2]), str(path))
    before = path.read_bytes()
    some = runs()
    broken = export_of(some)
    rows = (*broken.rows[:-1], (*broken.rows[-1][:-1], object()))
    with pytest.raises((InternalError, TypeError, ValueError)):
        exporter.export(replace(broken, rows=rows), str(path))  # type: ignore[arg-type]
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("old")

    def fill() -> None:
        with write_whole(path) as temporary:
            temporary.write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(BusyError, match="no space left"):
        fill()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_really_full_disk_leaves_nothing(tmp_path: Path) -> None:
    # /dev/full takes no byte; the exporter must not turn that into a half-written file.
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")

    def fill() -> None:
        with write_whole(tmp_path / "a"), full.open("w") as file:
            file.write("x" * 100_000)

    with pytest.raises(BusyError):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="is a directory"):
        EXPORTERS.load("csv")().export(export_of(()), str(tmp_path))


def mlflow_client(place: str) -> object:
    mlflow = pytest.importorskip("mlflow")
    return mlflow.MlflowClient(tracking_uri=place)


def test_mlflow_never_mixes_predicted_with_measured(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    every = runs()
    chosen = tuple(
        next(run for run in every if run.source is source and (run.timing or source is Source.THIRD_PARTY))
        for source in set(Source) - {Source.EMULATED}
    )
    measured = next(run for run in chosen if run.source is Source.MEASURED)
    limits = Emulation.parse("512MiB", "1", "")
    emulated = dataclasses.replace(measured, run_id="emulated", source=Source.EMULATED, emulation=limits)
    chosen = (*chosen, emulated)
    place = EXPORTERS.load("mlflow")().export(export_of(chosen), str(tmp_path / "store"))
    client: object = mlflow_client(place)
    experiment_id = client.get_experiment_by_name("edgeloop/exp").experiment_id  # type: ignore[attr-defined]
    found = {r.data.tags["edgeloop.source"]: r for r in client.search_runs([experiment_id])}  # type: ignore[attr-defined]
    assert set(found) == {source.value for source in Source}
    assert all(name.startswith("emulated.") for name in found["emulated"].data.metrics)
    assert found["emulated"].data.metrics
    assert "512 MiB" in found["emulated"].data.tags["edgeloop.basis"]
    assert all(name.startswith("predicted.") for name in found["simulated"].data.metrics)
    assert all(name.startswith("third_party.") for name in found["third_party"].data.metrics)
    assert not any("." in name for name in found["measured"].data.metrics)
    assert measured.timing is not None
    assert measured.timing.steady is not None
    assert found["measured"].data.metrics["latency_p50_s"] == measured.timing.steady.p50.value
    assert found["measured"].info.status == "FINISHED"
    assert found["simulated"].data.tags["edgeloop.basis"]
    assert found["third_party"].data.tags["absent.latency_p90_s"]
    assert found["measured"].data.params["candidate"] == measured.trial.label
    text = client.download_artifacts(found["measured"].info.run_id, "run.json", str(tmp_path))  # type: ignore[attr-defined]
    assert json.loads(Path(text).read_text())["run_id"] == measured.run_id


def test_a_store_that_needs_more_says_what_to_install(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    try:
        import alembic  # type: ignore[import-not-found]  # noqa: F401
    except ModuleNotFoundError:
        with pytest.raises(MissingDependencyError, match="whole mlflow for databases"):
            EXPORTERS.load("mlflow")().export(export_of(()), f"sqlite:///{tmp_path}/x.db")
    with pytest.raises(InvalidInputError, match="no store 'gopher'"):
        EXPORTERS.load("mlflow")().export(export_of(()), "gopher://x")
