"""Lists and counts over the records: pages that join without gap, counts that are right, indexes that are used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from edgeloop.domain.experiment import ExperimentResult
from edgeloop.store.database import Database
from edgeloop.store.overview import ArtifactUse
from edgeloop.store.records import RecordStore
from edgeloop.store.schema import MIGRATIONS
from edgeloop_protocol.types.run import FailureKind, Outcome, SpooledRun

from tests.controller.report import factory


@pytest.fixture(scope="module")
def result() -> ExperimentResult:
    return factory.experiment()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, result: ExperimentResult) -> Iterator[RecordStore]:
    opened = RecordStore.open(tmp_path_factory.mktemp("overview") / "records.sqlite")
    for number in range(5):
        devices = tuple(
            replace(
                device,
                runs=tuple(
                    replace(run, run_id=f"{number}-{run.run_id}", experiment_id=f"e{number}")
                    for run in device.runs
                ),
                evidence=(),
            )
            for device in result.devices
        )
        opened.finish(
            replace(result, experiment_id=f"e{number}", created_wall_s=1000.0 + number, devices=devices)
        )
    yield opened
    opened.close()


def test_pages_of_experiments_join_without_gap(store: RecordStore) -> None:
    overview = store.overview()
    first = overview.experiments(limit=2)
    second = overview.experiments(limit=2, before_wall_s=first[-1].created_wall_s)
    last = overview.experiments(limit=2, before_wall_s=second[-1].created_wall_s)
    assert [one.experiment_id for one in (*first, *second, *last)] == ["e4", "e3", "e2", "e1", "e0"]


def test_a_page_says_what_the_whole_list_says(store: RecordStore) -> None:
    assert store.overview().experiments(limit=50) == store.experiments()


def test_pages_of_runs_join_and_hold_what_was_asked_for(store: RecordStore, result: ExperimentResult) -> None:
    overview, name = store.overview(), result.devices[0].device.name
    wanted = [
        r.run_id
        for n in range(5)
        for r in store.runs(f"e{n}")
        if r.device_name == result.devices[0].runs[0].device_name
    ]
    found, before = [], None
    while page := overview.runs(device=name, before=before, limit=3):
        found += page
        before = page[-1].number
    assert [one.run_id for one in found] == wanted[::-1]
    one = next(run for run in found if run.latency_p50_s is not None)
    steady = store.run(one.run_id).timing
    assert steady is not None
    assert steady.steady is not None
    assert one.latency_p50_s == steady.steady.p50.value
    assert {run.experiment_id for run in overview.runs(experiment="e3")} == {"e3"}


def test_counts_are_those_of_the_runs(store: RecordStore) -> None:
    runs = [run for number in range(5) for run in store.runs(f"e{number}")]
    counts = store.overview().run_counts()
    assert sum(counts.values()) == len(runs)
    for (source, outcome), count in counts.items():
        assert count == sum(r.source.value == source and r.outcome.value == outcome for r in runs)


def test_the_use_of_an_artifact_counts_failures(tmp_path: Path, result: ExperimentResult) -> None:
    run = next(r for r in result.devices[0].runs if r.outcome is Outcome.SUCCESS)
    failed = replace(
        run, run_id="failed", outcome=Outcome.TIMEOUT, failure_kind=FailureKind.DEADLINE, failure_reason="too slow",
        started_wall_s=run.started_wall_s + 5,
    )  # fmt: skip
    store = RecordStore.open(tmp_path / "r.sqlite")
    device = replace(result.devices[0], runs=(run, failed), evidence=(), strategy=None)
    store.finish(replace(result, devices=(device,)))
    digest = run.trial.artifact_digest
    use = store.overview().use([digest, "0" * 64])
    assert use == {digest: ArtifactUse(run_count=2, error_count=1, last_wall_s=failed.started_wall_s)}
    store.close()


def test_runs_that_came_since_are_counted(tmp_path: Path, result: ExperimentResult) -> None:
    run = next(r for r in result.devices[0].runs if r.outcome is Outcome.SUCCESS)
    store = RecordStore.open(tmp_path / "r.sqlite")
    overview, key = store.overview(), (run.source.value, "success")
    assert overview.run_counts() == {}
    for number in range(1, 4):
        new = replace(run, run_id=f"r{number}")
        assert store.ingest(SpooledRun(epoch="e", sequence=number, run=new), "board")
        assert overview.run_counts() == {key: number}
        assert overview.run_counts() == {key: number}, "none is counted twice"
    assert store.overview().run_counts() == {key: 3}
    store.close()


def test_an_older_file_gets_the_indexes(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    old = Database(path, MIGRATIONS[:3])
    with old.writing() as connection:
        for name in ("runs_by_name_of_device", "runs_by_outcome", "runs_of_artifact"):
            connection.exec_driver_sql(f"DROP INDEX {name}")
    old.close()
    new = Database(path, MIGRATIONS)
    with new.reading() as connection:
        rows = (
            connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'index'").scalars().all()
        )
    new.close()
    assert {"runs_by_name_of_device", "runs_by_outcome", "runs_of_artifact"} <= set(rows)


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("SELECT * FROM runs WHERE device = 'a' ORDER BY id DESC LIMIT 50", "runs_by_name_of_device"),
        (
            "SELECT source, outcome, count(*) FROM runs GROUP BY source, outcome",
            "COVERING INDEX runs_by_outcome",
        ),
        (
            "SELECT outcome, count(*), max(started_wall_s) FROM runs WHERE artifact_digest = 'a' GROUP BY outcome",
            "COVERING INDEX runs_of_artifact",
        ),
        (
            "SELECT experiment_id, count(*) FROM runs WHERE experiment_id IN ('a') GROUP BY 1",
            "COVERING INDEX runs_of_exp",
        ),
    ],
)
def test_lists_and_counts_are_read_from_indexes(tmp_path: Path, query: str, index: str) -> None:
    database = Database(tmp_path / "r.sqlite", MIGRATIONS)
    with database.reading() as connection:
        plan = " ".join(row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}"))
    database.close()
    assert index in plan
    assert "TEMP B-TREE" not in plan
