from __future__ import annotations

import resource
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from edgeloop.domain.experiment import ExperimentResult
from edgeloop.store import rows, schema
from edgeloop.store.database import Database
from edgeloop.store.records import RecordStore
from edgeloop_foundation.errors import (
    BusyError,
    CorruptDataError,
    NotFoundError,
    StateError,
    UnsupportedError,
)
from edgeloop_protocol.convert import to_canonical_json
from edgeloop_protocol.types.run import Run, SpooledRun

from tests.controller.report import factory


@pytest.fixture(scope="module")
def result() -> ExperimentResult:
    return factory.experiment()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "records.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[RecordStore]:
    opened = RecordStore.open(path)
    yield opened
    opened.close()


def begin(store: RecordStore, result: ExperimentResult) -> None:
    store.begin(result.request, result.experiment_id, result.model, result.data, result.created_wall_s)


def small(result: ExperimentResult, run_id: str = "run-1") -> Run:
    return replace(result.devices[0].runs[-1], run_id=run_id)


def test_an_experiment_comes_back_as_it_was_after_reopening(path: Path, result: ExperimentResult) -> None:
    store = RecordStore.open(path)
    begin(store, result)
    for device in result.devices:
        for sequence, run in enumerate(device.runs, start=1):
            assert store.ingest(SpooledRun(epoch="e", sequence=sequence, run=run), device.device.name)
    store.finish(result)
    store.close()

    again = RecordStore.open(f"sqlite:///{path}")
    assert again.result("latest") == result
    assert again.result(result.experiment_id[:8]) == result
    assert again.runs(result.experiment_id) == tuple(r for d in result.devices for r in d.runs)
    assert again.run(result.devices[0].runs[0].run_id) == result.devices[0].runs[0]
    again.close()


def test_operator_counts_keep_their_order(store: RecordStore, result: ExperimentResult) -> None:
    store.finish(result)
    assert store.result().model.operator_counts[0] == ("MatMul", 12)


def test_finish_appends_runs_that_never_went_through_a_spool(
    store: RecordStore, result: ExperimentResult
) -> None:
    store.finish(result)
    assert store.result() == result


def test_a_run_is_stored_once(store: RecordStore, result: ExperimentResult) -> None:
    spooled = SpooledRun(epoch="e", sequence=1, run=small(result))
    assert [store.ingest(spooled, "desk") for _ in range(3)] == [True, False, False]
    # The device lost its spool and sends the same run from another place.
    assert not store.ingest(replace(spooled, epoch="f", sequence=9), "desk")


def test_the_run_that_arrived_last_is_found_by_its_device(
    store: RecordStore, result: ExperimentResult
) -> None:
    assert store.last_run("desk") is None
    for sequence, name in enumerate(("run-1", "run-2")):
        store.ingest(SpooledRun(epoch="e", sequence=sequence, run=small(result, name)), "desk")
    last = store.last_run("desk")
    assert last is not None
    assert last.run_id == "run-2"
    assert store.last_run("another") is None


def test_a_record_of_an_older_version_is_still_the_same_run(
    store: RecordStore, path: Path, result: ExperimentResult
) -> None:
    run = small(result)
    row = rows.run_row(run, "desk", "e", 1)
    row["record"] = row["record"].replace('"log_tail":', '"no_longer_known":1,"log_tail":')
    with store._database.writing() as connection:
        connection.execute(schema.runs.insert().values(row))
    assert not store.ingest(SpooledRun(epoch="e", sequence=1, run=run), "desk")


def test_another_run_in_the_same_place_is_refused(store: RecordStore, result: ExperimentResult) -> None:
    store.ingest(SpooledRun(epoch="e", sequence=1, run=small(result, "run-1")), "desk")
    with pytest.raises(CorruptDataError, match=r"run-2.*run-1"):
        store.ingest(SpooledRun(epoch="e", sequence=1, run=small(result, "run-2")), "desk")
    with pytest.raises(CorruptDataError):
        store.ingest(
            SpooledRun(epoch="e", sequence=2, run=replace(small(result), failure_reason="other")), "desk"
        )


@pytest.mark.parametrize(
    "statement", ["UPDATE runs SET candidate = 'x'", "DELETE FROM runs", "DELETE FROM decisions"]
)
def test_the_file_itself_refuses_to_change_what_was_appended(
    store: RecordStore, path: Path, result: ExperimentResult, statement: str
) -> None:
    store.finish(result)
    connection = sqlite3.connect(path)
    with pytest.raises(sqlite3.IntegrityError, match="appended, never changed or removed"):
        connection.execute(statement)
    connection.close()


def test_an_experiment_that_never_ended_says_so(store: RecordStore, result: ExperimentResult) -> None:
    begin(store, result)
    store.ingest(SpooledRun(epoch="e", sequence=1, run=small(result)), "desk")
    with pytest.raises(StateError, match="never ended; 1 runs"):
        store.result(result.experiment_id)
    assert [(e.status, e.run_count) for e in store.experiments()] == [("running", 1)]
    with pytest.raises(StateError, match="recorded before"):
        begin(store, result)


def test_finish_happens_once_and_whole(store: RecordStore, result: ExperimentResult) -> None:
    contradicting = replace(result.devices[2].runs[0], duration_s=1.0)
    store.ingest(SpooledRun(epoch="e", sequence=1, run=contradicting), "pi")
    with pytest.raises(CorruptDataError):
        store.finish(result)
    assert store.experiments() == ()
    with pytest.raises(NotFoundError):
        store.result()


def test_a_second_finish_is_refused(store: RecordStore, result: ExperimentResult) -> None:
    store.finish(result)
    with pytest.raises(StateError, match="finished before"):
        store.finish(result)


def test_not_found_lists_what_there_is(store: RecordStore, result: ExperimentResult) -> None:
    with pytest.raises(NotFoundError, match="none yet"):
        store.result()
    other = replace(result, experiment_id="2025-other", devices=())
    store.finish(result)
    store.finish(other)
    with pytest.raises(NotFoundError, match=r"several experiments begin with '2025'.*2025-other"):
        store.result("2025")
    with pytest.raises(NotFoundError, match=result.experiment_id):
        store.result("%")
    with pytest.raises(NotFoundError, match="no run"):
        store.run("nothing")


def test_latest_is_the_newest_that_ended(store: RecordStore, result: ExperimentResult) -> None:
    store.finish(replace(result, devices=()))
    newer = replace(result, experiment_id="newer", created_wall_s=result.created_wall_s + 1, devices=())
    store.finish(newer)
    store.begin(result.request, "newest", result.model, result.data, result.created_wall_s + 2)
    assert store.result("latest").experiment_id == "newer"
    assert [e.experiment_id for e in store.experiments()] == ["newest", "newer", result.experiment_id]


def test_decisions_are_a_history(store: RecordStore, result: ExperimentResult) -> None:
    store.finish(result)
    strategy = result.devices[0].strategy
    assert strategy is not None
    other = replace(strategy, candidate="dynamic int8")
    store.add_decision("latest", other, ("size < 2MB",), "size", result.created_wall_s + 900)
    history = [d for d in store.decisions("latest") if d.strategy.device == "this-machine"]
    assert [(d.strategy.candidate, d.prefer) for d in history] == [
        ("static int8 U8S8 per channel", "latency_p50"),
        ("dynamic int8", "size"),
    ]
    assert history[1].require == ("size < 2MB",)
    assert dict(store.experiments()[0].decisions)["this-machine"] == "this_one: dynamic int8"
    assert store.result() == result, "what was decided first is still what the experiment ended with"


def test_samples_are_kept_under_their_digest(store: RecordStore, path: Path) -> None:
    digest = factory.digest("abc")
    store.put_samples(digest, b"abc")
    store.put_samples(digest, b"abc")
    assert store.samples(digest) == b"abc"
    assert store.samples(factory.digest("other")) is None
    assert store.samples("../records.sqlite") is None
    with pytest.raises(CorruptDataError):
        store.put_samples(digest, b"abd")
    (path.parent / "samples" / digest).write_bytes(b"abd")
    with pytest.raises(CorruptDataError):
        store.samples(digest)


def test_another_database_is_refused_with_a_sentence() -> None:
    with pytest.raises(UnsupportedError, match="postgresql"):
        RecordStore.open("postgresql://host/db")


def test_ten_thousand_runs_are_found_quickly(store: RecordStore, result: ExperimentResult) -> None:
    store.finish(result)
    template = rows.run_row(small(result), "desk", "e", 1)
    with store._database.writing() as connection:
        connection.execute(
            schema.runs.insert(),
            [
                template
                | {
                    "run_id": f"r{i}",
                    "sequence": i + 1,
                    "experiment_id": f"x{i // 20}",
                    "record": template["record"].replace(template["run_id"], f"r{i}", 1),
                }
                for i in range(10_000)
            ],
        )
    started = time.perf_counter()
    assert store.result() == result
    assert store.experiments()[0].run_count == 18
    assert time.perf_counter() - started < 2.0


def test_killed_writers_lose_nothing_they_acknowledged(tmp_path: Path, result: ExperimentResult) -> None:
    template, acknowledged = tmp_path / "template.json", tmp_path / "acknowledged"
    template.write_bytes(to_canonical_json(small(result)))
    script = Path(__file__).with_name("ingest_until_killed.py")
    records = tmp_path / "records.sqlite"
    subprocess.run([sys.executable, script, records, template, acknowledged, "20"], check=True, timeout=60)

    noted = {int(line) for line in acknowledged.read_text().split()}
    connection = sqlite3.connect(records)
    kept = [row[0] for row in connection.execute("SELECT sequence FROM runs ORDER BY id")]
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    assert len(acknowledged.read_text().split()) >= 20, "every writer wrote something before it was killed"
    assert noted <= set(kept)
    assert len(kept) == len(set(kept))
    assert kept == list(range(1, len(kept) + 1))


FULL_DISK = """
import sys
from pathlib import Path
import resource
from dataclasses import replace
from edgeloop.store.records import RecordStore
from edgeloop_foundation.errors import BusyError
from edgeloop_protocol.convert import from_json
from edgeloop_protocol.types.run import Run, SpooledRun
store = RecordStore.open(sys.argv[1])
run = from_json(Path(sys.argv[2]).read_bytes(), Run)
limit = Path(sys.argv[1]).stat().st_size + 16384
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
kept = 0
try:
    for sequence in range(1, 10000):
        spooled = SpooledRun(epoch="e", sequence=sequence, run=replace(run, run_id=f"r{sequence}"))
        store.ingest(spooled, "desk")
        kept = sequence
except BusyError as error:
    print(kept, error)
"""


def test_a_file_that_can_not_grow_loses_nothing(tmp_path: Path, result: ExperimentResult) -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    template, records = tmp_path / "template.json", tmp_path / "records.sqlite"
    template.write_bytes(to_canonical_json(small(result)))
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, records, template], capture_output=True, text=True, timeout=60
    )
    kept, _, sentence = done.stdout.partition(" ")
    assert sentence.startswith("no space left for the records"), done.stdout + done.stderr
    store = RecordStore.open(records)
    with store._database.reading() as connection:
        count = connection.exec_driver_sql("SELECT count(*) FROM runs").scalar_one()
    assert count == int(kept) > 0
    assert store.ingest(SpooledRun(epoch="e", sequence=count + 1, run=small(result)), "desk")
    store.close()


def test_a_held_file_is_a_busy_error(path: Path, store: RecordStore, result: ExperimentResult) -> None:
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with store._database.reading() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout = 20")
    with pytest.raises(BusyError, match="another process holds"):
        begin(store, result)
    holder.close()
    begin(store, result)


def test_database_is_shared_by_threads(store: RecordStore, result: ExperimentResult) -> None:
    from concurrent.futures import ThreadPoolExecutor

    spooled = [SpooledRun(epoch="e", sequence=i, run=small(result, f"r{i % 10}")) for i in range(1, 41)]
    with ThreadPoolExecutor(4) as pool:
        new = list(pool.map(lambda s: store.ingest(s, "desk"), spooled))
    assert sum(new) == 10
    assert isinstance(store._database, Database)
