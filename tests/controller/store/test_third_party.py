"""Rows that others published stay what they are, whatever somebody does to the file afterwards."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from edgeloop.app import App
from edgeloop.orchestrate.experiment import reselect
from edgeloop.orchestrate.records import import_published
from edgeloop.orchestrate.validate import validate
from edgeloop.report import render
from edgeloop.select.evidence import collect
from edgeloop.store.records import RecordStore
from edgeloop_foundation.errors import CorruptDataError, InvalidInputError, NotFoundError, StateError
from edgeloop_protocol.types.run import Run, Source, SpooledRun

from tests.controller.report.factory import experiment

PUBLISHED = Path(__file__).parents[2] / "device_profiles" / "data" / "published_latency.csv"


@pytest.fixture
def app(tmp_path: Path) -> App:
    return App.open(tmp_path / "home")


@pytest.fixture
def imported(app: App) -> App:
    import_published(app, PUBLISHED, "mlperf", licence="Apache-2.0", url="https://example.org/results")
    return app


def connect(app: App) -> sqlite3.Connection:
    return sqlite3.connect(app.state_directory / "records.sqlite", isolation_level=None)


def test_every_row_is_third_party_and_keeps_its_origin(imported: App) -> None:
    runs = imported.records.runs("mlperf")
    lines = PUBLISHED.read_text().splitlines()
    assert len(runs) == len(lines) - 1
    assert {run.source for run in runs} == {Source.THIRD_PARTY}
    for run in runs:
        context = dict(run.context)
        assert context["third_party.licence"] == "Apache-2.0"
        assert context["third_party.url"] == "https://example.org/results"
        assert len(context["third_party.file_sha256"]) == 64
        assert run.timing is None
        assert run.memory is None
    first = dict(runs[0].context)
    assert first["third_party.column.p50_ms"] == "576.519", "word for word"
    assert float(first["third_party.latency_p50"]) == pytest.approx(0.576519)


def test_figures_are_shown_as_third_party_and_decide_nothing(imported: App) -> None:
    result = reselect(imported, "mlperf", ["latency_p50 < 100s"], "latency_p50")
    for device in result.devices:
        assert device.strategy is None
        assert {e.source for e in device.evidence} == {Source.THIRD_PARTY}
        assert all(gain.value is None for e in device.evidence for _, gain in e.gains)
    stated = result.devices[0].evidence[0].value("latency_p50")
    assert stated.value == pytest.approx(0.576519)
    assert stated.low is None
    assert result.devices[0].evidence[0].value("size").value is None, "nobody stated a size"
    for format in ("markdown", "html", "csv", "json"):
        assert "third" in render(result, format)


def test_no_gate_is_ever_satisfied(imported: App) -> None:
    result = imported.records.result("mlperf")
    label = result.candidates[0].label
    thresholds = {"candidate": label, "require": ["latency_p50 < 100s"], "allow_predicted": True}
    gates = validate(replace(result, devices=result.devices[:1]), thresholds)
    assert gates
    assert not any(gate.passed for gate in gates)
    assert "third-party" in gates[0].reason


def test_a_decision_among_measured_ones_passes_over_it(imported: App) -> None:
    from edgeloop.select.decide import decide
    from edgeloop.select.expressions import parse_preference

    whole = experiment().devices[0]
    foreign = replace(
        whole.evidence[1], candidate="foreign", source=Source.THIRD_PARTY, gains=(), original=False
    )
    strategy = decide("d", "i", [*whole.evidence[:1], foreign], (), parse_preference("latency_p50"))
    assert strategy.candidate != "foreign"
    (finding,) = [f for f in strategy.findings if f.candidate == "foreign"]
    assert finding.standing == "undecided"
    assert "third-party" in finding.reason


def test_it_is_no_anchor_of_a_gain() -> None:
    whole = experiment()
    runs = whole.devices[0].runs
    foreign = tuple(
        replace(run, source=Source.THIRD_PARTY, timing=run.timing) if run.trial.label == "original" else run
        for run in runs
    )
    before = {e.candidate: e for e in collect(whole.candidates, runs)}
    after = {e.candidate: e for e in collect(whole.candidates, foreign)}
    name = "static int8 U8S8 per channel"
    assert before[name].gain("latency_p50").value is not None
    assert after[name].gain("latency_p50").value is None


EDITS = (
    "UPDATE runs SET source = 'measured'",
    "UPDATE runs SET record = replace(record, 'third_party', 'measured')",
    "DELETE FROM runs",
    "INSERT OR REPLACE INTO runs SELECT id, run_id, device, device_id, epoch, sequence, experiment_id, "
    "artifact_digest, candidate, 'measured', outcome, started_wall_s, "
    'replace(record, \'"source":"third_party"\', \'"source":"measured"\') FROM runs',
    "INSERT INTO runs SELECT NULL, run_id || 'x', device, device_id, epoch, sequence, experiment_id, "
    "artifact_digest, candidate, 'measured', outcome, started_wall_s, record FROM runs",
    "INSERT INTO runs SELECT NULL, run_id || 'x', device, device_id, 'epoch', 1, experiment_id, artifact_digest, "
    "candidate, source, outcome, started_wall_s, "
    "replace(record, run_id, run_id || 'x') FROM runs LIMIT 1",
    "UPDATE device_results SET record = replace(record, 'third_party', 'measured')",
    "DELETE FROM device_results",
    "UPDATE candidates SET label = 'original'",
    "DELETE FROM candidates",
    "UPDATE experiments SET status = 'running'",
    "DELETE FROM experiments",
)


@pytest.mark.parametrize("statement", EDITS)
def test_the_database_itself_refuses_every_edit(imported: App, statement: str) -> None:
    before = imported.records.result("mlperf")
    imported.close()
    with connect(imported) as connection, pytest.raises(sqlite3.IntegrityError):
        connection.execute(statement)
    store = RecordStore.open(imported.state_directory / "records.sqlite")
    assert store.result("mlperf") == before
    store.close()


def test_evidence_that_contradicts_its_run_is_refused(imported: App) -> None:
    imported.close()
    with connect(imported) as connection:
        # Somebody who removes the triggers first is found out when it is read.
        connection.execute("DROP TRIGGER device_results_never_update")
        connection.execute(
            "UPDATE device_results SET record = "
            'replace(record, \'"source":"third_party"\', \'"source":"measured"\')'
        )
    store = RecordStore.open(imported.state_directory / "records.sqlite")
    with pytest.raises(CorruptDataError, match="edited the record store by hand"):
        store.result("mlperf")
    store.close()


def test_a_device_cannot_send_one(imported: App) -> None:
    run: Run = replace(imported.records.runs("mlperf")[0], run_id="sent")
    with pytest.raises(CorruptDataError, match="imported, never sent"):
        imported.records.ingest(SpooledRun(epoch="e", sequence=1, run=run), "pi")


def test_a_store_of_an_older_version_gets_the_triggers(tmp_path: Path) -> None:
    from edgeloop.store.database import Database
    from edgeloop.store.schema import MIGRATIONS

    path = tmp_path / "records.sqlite"
    Database(path, MIGRATIONS[:1]).close()
    store = RecordStore.open(path)
    store.finish(experiment())
    store.close()
    with sqlite3.connect(path) as connection, pytest.raises(sqlite3.IntegrityError):
        connection.execute("UPDATE device_results SET record = ''")


def test_other_headings_are_mapped(app: App, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("Device,Net,Median\nJetson,resnet18,7.5\nJetson,resnet18,8.5\n")
    columns = {"board": "Device", "model": "Net", "p50_ms": "Median"}
    result = import_published(app, table, "theirs", columns=columns)
    assert [c.label for c in result.candidates] == ["resnet18 (line 2)", "resnet18 (line 3)"]
    values = [e.value("latency_p50").value for e in result.devices[0].evidence]
    assert values == pytest.approx([0.0075, 0.0085])


@pytest.mark.parametrize(
    ("text", "columns", "words"),
    [
        ("board,model,p50_ms\npi,m,fast\n", {}, "line 2: p50_ms is 'fast', not a positive number"),
        ("board,model,p50_ms\npi,m,-1\n", {}, "not a positive number"),
        ("board,model,p50_ms\npi,m\n", {}, "not as many cells"),
        ("board,model,p50_ms\n,m,1\n", {}, "names no board or no model"),
        ("board,model\npi,m\n", {}, "states no figure"),
        ("model,p50_ms\nm,1\n", {}, "no column 'board'"),
        ("board,model,p50_ms\n", {}, "holds no rows"),
        ("board,model,p50_ms\npi,m,1\n", {"speed": "x"}, "no column 'speed' to map"),
        ('board,model,p50_ms\n"pi,m,1\n', {}, "cannot be read as CSV"),
    ],
)
def test_a_table_that_cannot_be_used_is_one_sentence(
    app: App, tmp_path: Path, text: str, columns: dict[str, str], words: str
) -> None:
    table = tmp_path / "t.csv"
    table.write_text(text)
    with pytest.raises(InvalidInputError, match=words):
        import_published(app, table, "theirs", columns=columns)
    assert app.records.experiments() == ()


def test_names_are_checked_and_taken_once(imported: App, tmp_path: Path) -> None:
    with pytest.raises(StateError, match="finished before"):
        import_published(imported, PUBLISHED, "mlperf")
    for name in ("latest", "", "a b", "../x"):
        with pytest.raises(InvalidInputError, match="is no name for an import"):
            import_published(imported, PUBLISHED, name)
    with pytest.raises(NotFoundError):
        import_published(imported, tmp_path / "nowhere.csv", "x")


def test_records_are_json_with_the_source_in_front(imported: App) -> None:
    imported.close()
    with connect(imported) as connection:
        (record,) = connection.execute("SELECT record FROM runs LIMIT 1").fetchone()
    assert list(json.loads(record))[:2] == ["run_id", "source"], "what the trigger compares"
