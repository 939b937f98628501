"""Words to requests, results to documents, outcomes to exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import edgeloop
import pytest
from edgeloop.interfaces.api import Candidate, DeviceSpec, ExperimentResult, Recipe, StateBinding
from edgeloop.interfaces.options import parse_grid
from edgeloop.orchestrate.push import Pushed
from edgeloop.transport.client import PushResult
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.convert import from_json
from edgeloop_protocol.types.run import Verdict

from .conftest import Call
from .recorder import DIGEST, Recorder, device_result, experiment


def test_run_reads_every_word(call: Call) -> None:
    api = Recorder()
    result = call(
        "run", "m.onnx", "--data", "photos", "--on", "local,pi=sim:raspberry_pi_5", "--on", "unix:/run/a.sock",
        "--require", "latency_p95 < 30ms", "--require", "size < 1MB", "--prefer", "size", "--seed", "7",
        "--budget", "1h30m", "--state", "stateN:state", "--threads", "2",
        api=api,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    request = api.heard
    assert (request.model, request.data, request.prefer, request.seed) == ("m.onnx", "photos", "size", 7)
    assert [device.name for device in request.devices] == ["this-machine", "pi", "/run/a.sock"]
    assert request.require == ("latency_p95 < 30ms", "size < 1MB")
    assert request.budget_s == 5400.0
    assert request.state == (StateBinding(input="state", output="stateN"),)
    assert request.settings.intra_op_threads == 2


def test_run_takes_defaults_from_the_configuration(call: Call) -> None:
    Path("edgeloop.toml").write_text(
        'apiVersion = "edgeloop/v1"\nkind = "Config"\n'
        '[experiment]\nmodel = "net.onnx"\ndata = "d.npz"\non = ["lab", "local"]\nrequire = ["size < 1MB"]\n'
        'prefer = "memory"\nseed = 5\nbudget = "10m"\nthreads = 3\nreport = "out"\nstate = ["o:i"]\n'
        "[benchmark]\nrounds = 9\nsample_count_min = 662\n"
        '[devices.lab]\naddress = "grpc://192.0.2.1:50051"\noptions = { tls_key = "k", tls_ca = "c" }\n'
    )
    api = Recorder()
    assert call("run", api=api).exit_code == 0
    assert api.heard == Path("out")
    request = api.calls[0][1]
    assert (request.model, request.data, request.prefer, request.seed) == ("net.onnx", "d.npz", "memory", 5)
    assert (request.benchmark.rounds, request.benchmark.sample_count_min) == (9, 662)
    assert request.settings.intra_op_threads == 3
    assert request.budget_s == 600.0
    assert request.devices[0] == DeviceSpec(
        name="lab",
        transport="grpc",
        address="192.0.2.1:50051",
        options=(("tls_ca", "c"), ("tls_key", "k")),
    )
    assert call("run", "other.onnx", "--seed", "0", "--on", "local", api=api).exit_code == 0
    request = api.calls[2][1]
    assert (request.model, request.seed, [d.name for d in request.devices]) == (
        "other.onnx",
        0,
        ["this-machine"],
    )


def test_json_is_one_document_that_reads_back_whole(call: Call) -> None:
    result = call("run", "m.onnx", "--on", "local", "--json", api=Recorder())
    assert from_json(result.stdout, ExperimentResult) == experiment()


def test_people_see_the_strategy_its_reasons_and_that_it_is_simulated(call: Call) -> None:
    shown = call("run", "m.onnx", "--on", "local", api=Recorder()).stdout
    assert "keep original" in shown
    assert "simulated (transferred, unvalidated)" in shown
    assert "nothing is certainly faster [0.98 to 1.01]" in shown, "brackets are text, not markup"
    assert "skipped dynamic int8: Conv has no dynamic kernel" in shown
    assert "4.90 ms" in shown


def test_a_device_that_was_not_reached_is_exit_3_but_the_rest_is_shown(call: Call) -> None:
    api = Recorder(device_result("pi"), device_result("desk", error="desk cannot be reached."))
    result = call("run", "m.onnx", "--on", "local", api=api)
    assert result.exit_code == 3
    assert "keep original" in result.stdout
    assert "desk cannot be reached." in result.stdout


def test_a_dry_run_measures_nothing(call: Call) -> None:
    api = Recorder()
    result = call("run", "m.onnx", "--on", "local", "--dry-run", api=api)
    assert result.exit_code == 0, result.output
    assert [verb for verb, _ in api.calls] == ["plan"]
    assert "expected in all: 1.5 minutes on pi" in result.stdout
    document = json.loads(call("run", "m.onnx", "--on", "local", "--dry-run", "--json", api=api).stdout)
    assert document["steps"] == [{"what": "measure", "expected_s": 90.0}]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "--on", "local"], "no model is named"),
        (["run", "m"], "no device is named"),
        (["run", "m", "--on", ","], "no device is named"),
        (["run", "m", "--on", "moon"], "unknown device 'moon'"),
        (["run", "m", "--on", "sim:a,sim:a"], "two devices have the name 'a'"),
        (["run", "m", "--on", "local", "--budget", "10"], "a duration is written like"),
        (["run", "m", "--on", "local", "--budget", "ten"], "a duration is written like"),
        (["run", "m", "--on", "local", "--budget", "0s"], "a duration is written like"),
        (["run", "m", "--on", "local", "--state", "only"], "a state is written OUTPUT:INPUT"),
        (["run", "m", "--on", "local", "--state", "a:i", "--state", "b:i"], "one state only"),
        (["--config", "absent.toml", "run", "m"], "absent.toml does not exist"),
        (["validate", "--thresholds", "absent.yaml"], "absent.yaml does not exist"),
        (["validate", "--thresholds", "gates.txt"], ".toml, .yaml or .json"),
    ],
)
def test_wrong_use_is_one_sentence_before_anything_happens(
    call: Call, words: list[str], message: str
) -> None:
    api = Recorder()
    result = call(*words, api=api)
    assert result.exit_code == 2
    assert message in result.stderr
    assert api.calls == []


def test_bench_passes_how_to_measure(call: Call) -> None:
    api = Recorder()
    words = ["--rounds", "3", "--batch-size", "4", "--samples", "662", "--seed", "9", "--threads", "2"]
    assert call("bench", DIGEST[:12], "--on", "local", "--data", "d", *words, api=api).exit_code == 0
    model, devices, benchmark, settings, data, state = api.heard
    assert (model, data, state) == (DIGEST[:12], "d", ())
    assert (benchmark.rounds, benchmark.batch_size, benchmark.sample_count_min, benchmark.seed) == (
        3,
        4,
        662,
        9,
    )
    assert settings.intra_op_threads == 2
    assert [device.name for device in devices] == ["this-machine"]


@pytest.mark.parametrize(
    ("verdict", "code"), [(Verdict.PASSED, 0), (Verdict.FAILED, 1), (Verdict.UNDECIDED, 1)]
)
def test_parity_passes_only_when_it_passed(call: Call, verdict: Verdict, code: int) -> None:
    api = Recorder(device_result(parity=verdict))
    assert call("parity", "m.onnx", "--on", "local", api=api).exit_code == code


def test_parity_of_an_unreached_device_is_a_device_error(call: Call) -> None:
    assert call("parity", "m", "--on", "local", api=Recorder(device_result(error="gone."))).exit_code == 3


@pytest.mark.parametrize(
    ("gates", "code", "answer"),
    [
        ("require: []", 0, "passed"),
        ("require: ['latency_p50 < 30ms']\nallow_predicted: true", 0, "passed"),
        ("require: ['latency_p50 < 30ms']", 1, "predicted, so undecided"),
        ("require: ['latency_p50 < 1ms']\nallow_predicted: true", 1, "FAILED"),
    ],
)
def test_validate_fails_when_a_gate_fails_or_rests_on_predictions(
    call: Call, gates: str, code: int, answer: str
) -> None:
    Path("gates.yaml").write_text(gates)
    result = call("validate", "--thresholds", "gates.yaml", api=Recorder())
    assert result.exit_code == code, result.output
    assert answer in result.stdout


def test_validate_refuses_thresholds_it_does_not_know(call: Call) -> None:
    Path("gates.yaml").write_text("requires: []")
    result = call("validate", "--thresholds", "gates.yaml", api=Recorder())
    assert result.exit_code == 2
    assert "'requires'" in result.stderr


class Picky(Recorder):
    """Cannot build the recipe "one"; cannot write a report."""

    def compress(self, model: str, recipe: Recipe, **rest: Any) -> Candidate:
        if recipe.label == "one":
            raise InvalidInputError("one: it does not apply.")
        return super().compress(model, recipe, **rest)

    def write_report(self, result: ExperimentResult, directory: Path) -> Path:
        raise FileExistsError(17, "File exists", str(directory))


def test_one_recipe_that_fails_does_not_hide_the_others(call: Call) -> None:
    Path("r.yaml").write_text("recipes:\n  one: [{pass: optimize_graph}]\n  two: [{pass: optimize_graph}]\n")
    result = call("compress", "m.onnx", "--recipes", "r.yaml", "--json", api=Picky())
    assert [entry["label"] for entry in json.loads(result.stdout)["candidates"]] == ["two"]
    assert (result.exit_code, result.stderr) == (2, "edgeloop: one: it does not apply.\n")


def test_recipes_without_any_to_build_are_said(call: Call) -> None:
    Path("r.yaml").write_text("recipes: {plain: []}\n")
    result = call("compress", "m.onnx", "--recipes", "r.yaml", api=Recorder())
    assert (result.exit_code, "there is nothing to build" in result.stderr) == (2, True)


def test_a_report_that_cannot_be_written_does_not_cost_the_answer(call: Call) -> None:
    result = call("run", "m.onnx", "--on", "local", "--report", "taken", api=Picky())
    assert result.exit_code == 2
    assert "taken: File exists." in result.stderr
    assert "keep original" in result.stdout


def test_the_version_needs_no_installation(call: Call) -> None:
    assert call("--version").stdout == f"{edgeloop.__version__}\n"


def test_compress_builds_the_chosen_recipes(call: Call) -> None:
    Path("r.yaml").write_text(
        "recipes:\n  plain: []\n  one: [{pass: optimize_graph}]\n  two: [{pass: optimize_graph}]\n"
    )
    api = Recorder()
    assert call("compress", "m.onnx", "--recipes", "r.yaml", "--seed", "3", api=api).exit_code == 0
    assert [(heard[1].label, heard[4]) for _, heard in api.calls] == [("one", 3), ("two", 3)]
    api = Recorder()
    document = call("compress", "m", "--recipes", "r.yaml", "--recipe", "two", "--json", api=api).stdout
    assert [entry["label"] for entry in json.loads(document)["candidates"]] == ["two"]
    result = call("compress", "m", "--recipes", "r.yaml", "--recipe", "six", api=Recorder())
    assert (result.exit_code, "has no recipe 'six'" in result.stderr) == (2, True)


def test_compress_hands_on_what_passes_that_train_need(call: Call) -> None:
    api = Recorder()
    words = (
        "--recipe",
        "hybrid",
        "--train",
        "n.py:data",
        "--loss",
        "n.py:loss",
        "--grid",
        "sim:raspberry_pi_4",
    )
    assert call("compress", "n.py:model", *words, api=api).exit_code == 0
    ((_, heard),) = api.calls
    prune, distill, static = (dict(step.settings) for step in heard[1].passes)
    assert prune["train"] == distill["train"] == "n.py:data"
    assert distill["loss"] == "n.py:loss"
    assert prune["block"] == parse_grid("raspberry_pi_4", Path()) > 1
    assert "train" not in static
    result = call("compress", "n.py:model", api=Recorder())
    assert (result.exit_code, "name recipes with --recipes FILE" in result.stderr) == (2, True)
    result = call("compress", "n.py:model", "--recipe", "hybrid", "--grid", "no_such_board", api=Recorder())
    assert (result.exit_code, "there is no profile 'no_such_board'" in result.stderr) == (2, True)
    result = call("compress", "n.py:model", "--recipe", "hybrid", "--grid", "0", api=Recorder())
    assert (result.exit_code, "at least one channel" in result.stderr) == (2, True)


def test_devices_that_do_not_answer_are_exit_3(call: Call) -> None:
    result = call("device", "facts", "--on", "grpc://192.0.2.1:1", api=Recorder())
    assert result.exit_code == 3
    assert "192.0.2.1:1 cannot be reached." in result.stdout


def test_the_doctor_is_content_with_warnings_but_not_with_errors(call: Call) -> None:
    result = call("device", "doctor", "--on", "local", api=Recorder())
    assert result.exit_code == 0
    assert "a warning" in result.stdout
    assert "Act." in result.stdout
    result = call("device", "doctor", "--on", "local,sim:nuc11", "--json", api=Recorder())
    assert result.exit_code == 1
    assert json.loads(result.stdout)["devices"][1]["findings"][0]["level"] == "error"


def test_select_hands_the_words_on(call: Call) -> None:
    api = Recorder()
    assert call("select", "e-1", "--require", "size < 1MB", "--prefer", "size", api=api).exit_code == 0
    assert api.heard == ("e-1", ("size < 1MB",), "size")
    assert call("select", api=api).exit_code == 0
    assert api.heard == ("latest", (), "")


def test_report_goes_to_standard_output_or_a_file(call: Call) -> None:
    assert call("report", "--format", "csv", api=Recorder()).stdout == "# csv\n"
    result = call("report", "e-1", "--format", "html", "-o", "r.html", api=Recorder())
    assert result.exit_code == 0
    assert result.stdout == ""
    assert Path("r.html").read_text() == "# html"


def test_init_writes_a_configuration_that_run_accepts(call: Call) -> None:
    api = Recorder()
    assert call("init", "--model", 'a "b".onnx').exit_code == 0
    assert call("run", "--on", "local,pi", api=api).exit_code == 0
    assert api.heard.model == 'a "b".onnx'
    assert [device.address for device in api.heard.devices] == ["", "raspberry_pi_5"]


def test_init_overwrites_only_by_force(call: Call) -> None:
    Path("edgeloop.toml").write_text("mine")
    result = call("init")
    assert result.exit_code == 2
    assert "exists already" in result.stderr
    assert Path("edgeloop.toml").read_text() == "mine"
    assert call("init", "--force").exit_code == 0
    assert "apiVersion" in Path("edgeloop.toml").read_text()


def test_a_push_reads_its_limits_and_tells_how_it_went(call: Call) -> None:
    api = Recorder()
    pi = DeviceSpec.parse("pi=sim:raspberry_pi_5")
    result = PushResult(
        sent_bytes=1500, present_bytes=98_500, duration_s=0.5, retries=2, spliced_bytes=98_000
    )
    api.pushed = (Pushed(device=pi, result=result),)
    words = ("artifact", "push", "0123", "--on", "pi=sim:raspberry_pi_5")
    done = call(*words, "--max-bytes", "1.5MB", "--bandwidth", "500kB/s", api=api)
    assert done.exit_code == 0, done.output
    assert api.heard == ("0123", (pi,), 1_500_000, 500_000.0)
    for text in ("pi", "1.50 kB", "98.5 kB", "98.0 kB", "500 ms"):
        assert text in done.stdout
    document = json.loads(call(*words, "--json", api=api).stdout)
    assert api.heard == ("0123", (pi,), None, None)
    assert document["devices"][0]["result"]["spliced_bytes"] == 98_000
    assert document["devices"][0]["error"] == ""


def test_a_push_over_its_budget_is_a_failed_gate_and_a_lost_device_is_worse(call: Call) -> None:
    api = Recorder()
    pi, nuc = DeviceSpec.parse("pi=sim:raspberry_pi_5"), DeviceSpec.parse("nuc=sim:intel_nuc")
    over = Pushed(device=pi, error="pi: the push would send 9 bytes.", over_budget=True)
    words = ("artifact", "push", "0123", "--on", "local")
    api.pushed = (over,)
    done = call(*words, api=api)
    assert done.exit_code == 1
    assert "would send 9 bytes" in done.stdout
    api.pushed = (over, Pushed(device=nuc, error="nuc cannot be reached."))
    assert call(*words, api=api).exit_code == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--max-bytes", "5"), "a size is written like"),
        (("--max-bytes", "5MB/s"), "a size is written like"),
        (("--bandwidth", "5MB"), "a rate is written like"),
        (("--bandwidth", "fast"), "a rate is written like"),
    ],
)
def test_limits_that_cannot_be_read_are_wrong_use(call: Call, words: tuple[str, str], said: str) -> None:
    result = call("artifact", "push", "0123", "--on", "local", *words, api=Recorder())
    assert result.exit_code == 2
    assert said in result.stderr


def test_artifacts_are_listed(call: Call) -> None:
    assert DIGEST[:12] in call("artifact", "list", api=Recorder()).stdout
    document = json.loads(call("artifact", "list", "--json", api=Recorder()).stdout)
    assert document["artifacts"][0]["digest"] == DIGEST
    assert document["artifacts"][0]["manifest"]["model_file"] == "model.onnx"


def test_devices_are_this_machine_and_the_configured_ones(call: Call) -> None:
    call("init")
    document = json.loads(call("device", "list", "--json").stdout)
    assert [device["name"] for device in document["devices"]] == ["this-machine", "pi"]
    assert "simulated" in call("device", "list").stdout


def test_progress_goes_to_standard_error_only(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    from edgeloop.interfaces.progress import ProgressListener

    with ProgressListener() as listener:
        listener.phase("Candidates [all]")
        for done in range(1, 101):
            listener.progress("samples", done, 100, "inferences")
        listener.progress("bytes", 5, 0)
        listener.note("pi is [simulated]")
    out, err = capsys.readouterr()
    assert out == ""
    assert "Candidates [all]" in err
    assert "samples: 100 of 100 inferences" in err
    assert "bytes: 5\n" in err, "no total is made up"
    assert "pi is [simulated]" in err
    assert err.count("samples:") == 2, "a log is not flooded"


def test_export_says_what_it_wrote(call: Call) -> None:
    api = Recorder()
    result = call("export", "abc", "--format", "csv", "--to", "out.csv", "--samples", api=api)
    assert result.exit_code == 0, result.output
    assert api.heard == ("abc", "csv", "out.csv", True)
    assert "out.csv: 7 rows of experiment e1" in result.output
    document = json.loads(call("export", "--format", "parquet", "--json", api=api).output)
    assert document["exported"]["row_count"] == 7
    assert api.heard == ("latest", "parquet", "", False)
    assert call("export", api=api).exit_code == 2, "a format is named"


def test_import_reads_every_word(call: Call) -> None:
    api = Recorder()
    result = call(
        "import", "t.csv", "--as", "theirs", "--licence", "CC-BY", "--url", "u", "--column", "board=Device name",
        api=api,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert api.heard == (Path("t.csv"), "theirs", "CC-BY", "u", {"board": "Device name"})
    assert "they satisfy no gate" in result.output
    refused = call("import", "t.csv", "--as", "theirs", "--column", "board", api=api)
    assert refused.exit_code == 2
    assert "NAME=HEADING" in refused.output


def test_export_and_import_for_real(call: Call) -> None:
    Path("t.csv").write_text("board,model,p50_ms\npi,m,7.5\n")
    assert call("--home", "h", "import", "t.csv", "--as", "theirs").exit_code == 0
    done = call("--home", "h", "export", "theirs", "--format", "csv")
    assert done.exit_code == 0, done.output
    assert '"third_party"' in Path("theirs.csv").read_text()
    unknown = call("--home", "h", "export", "theirs", "--format", "papyrus")
    assert unknown.exit_code == 2
    assert "known are csv, mlflow, parquet" in unknown.output
    again = call("--home", "h", "import", "t.csv", "--as", "theirs")
    assert again.exit_code == 3
    assert "finished before" in again.output
