"""The plugin as pytest runs it, in a process of its own, on simulated boards."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import onnx
import pytest
from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.inventory import InventoryEntry
from edgeloop.store.devices import DeviceBook

from tests.end_to_end.conftest import CLASSES, FEATURES, HIDDEN, two_layer_model

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.timeout(400)

BOARD = "--edgeloop-on=pi=sim:raspberry_pi_5"


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A directory with a small model in two states, quiet about plugins that are not ours."""
    import numpy as np

    rng = np.random.default_rng(3)
    first = rng.standard_normal((FEATURES, HIDDEN)).astype(np.float32)
    second = rng.standard_normal((HIDDEN, CLASSES)).astype(np.float32)
    onnx.save(two_layer_model(first, second), pytester.path / "model.onnx")
    second[0, 0] += 3
    onnx.save(two_layer_model(first, second), pytester.path / "altered.onnx")
    (pytester.path / "edgeloop.toml").write_text(
        'apiVersion = "edgeloop/v1"\nkind = "Config"\n[benchmark]\nsteady_s_max = 0.2\nrounds = 4\n'
    )
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    monkeypatch.delenv("EDGELOOP_HOME", raising=False)
    return pytester


def run(project: pytest.Pytester, test: str, *options: str) -> pytest.RunResult:
    project.makepyfile(test_it=test)
    return project.runpytest_subprocess("-p", "no:cacheprovider", BOARD, *options)


def out(result: pytest.RunResult) -> str:
    return result.stdout.str()


def test_a_predicted_absolute_budget_is_undecided_and_fails(project: pytest.Pytester) -> None:
    test = "def test_it(device):\n    device.measure('model.onnx').assert_latency(p95='1s')\n"
    result = run(project, test)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "UNDECIDED latency_p95 <= 1s" in out(result)
    assert "predicted (basis: transferred, unvalidated), not measured" in out(result)
    assert "Traceback" not in out(result)
    assert ".py:" not in out(result).partition("FAILURES")[2].partition("short test summary")[0]

    allowed = run(project, test, "--edgeloop-allow-predicted")
    assert allowed.ret == 0, out(allowed)
    assert "passed    pi: model.onnx: latency_p95 <= 1s [predicted, transferred, unvalidated" in out(allowed)


def test_failed_undecided_and_refused_have_wordings_of_their_own(project: pytest.Pytester) -> None:
    test = """
        def test_beyond(device):
            device.measure("model.onnx", samples=140).assert_latency(p50="1us")

        def test_floor(device):
            device.measure("model.onnx", rounds=3, samples=64, benchmark=SHORT).assert_latency(p99="1s")

        def test_across(device):
            measured = device.measure("model.onnx", samples=140)
            found = measured.value("latency_p50")
            measured.assert_latency(p50=f"{(found.value + found.high) / 2 * 1e9:.6f}ns")

        def test_nothing(device):
            device.measure("model.onnx").assert_latency()

        def test_unreadable(device):
            device.measure("model.onnx").assert_latency(p50="30 furlongs")

        def test_missing(device):
            device.measure("nowhere.onnx").assert_parity()

        def test_energy(device):
            device.measure("model.onnx").assert_energy("1uJ")

        from edgeloop_protocol.types.trial import Benchmark
        SHORT = Benchmark(steady_s_max=0.001, warmup_s_min=0.0, batch_s=0.0005)
    """
    result = run(project, test, "--edgeloop-allow-predicted")
    result.assert_outcomes(failed=7)
    text = out(result)
    assert "FAILED latency_p50 <= 1us" in text
    assert "p99 needs 662 samples" in text
    assert "UNDECIDED latency_p50 <=" in text
    assert re.search(r"about \d+ samples instead of \d+ would decide", text)
    assert "nothing is asserted" in text
    assert "'furlongs' is no unit of it" in text
    assert "nowhere.onnx" in text
    assert "Traceback" not in text


def test_a_model_is_measured_once_in_a_session(project: pytest.Pytester) -> None:
    test = """
        import pytest

        RUNS = set()

        @pytest.mark.parametrize("turn", range(3))
        def test_it(device, turn):
            RUNS.add(device.measure("model.onnx").run.run_id)
            assert len(RUNS) == 1

        def test_other_settings(device):
            assert device.measure("model.onnx", threads=2).run.run_id not in RUNS
    """
    result = run(project, test)
    result.assert_outcomes(passed=4)


def test_parity_is_held_against_the_reference(project: pytest.Pytester) -> None:
    test = """
        def test_same(device):
            device.measure("model.onnx", reference="model.onnx").assert_parity()

        def test_altered(device):
            device.measure("altered.onnx", reference="model.onnx").assert_parity()
    """
    result = run(project, test)
    result.assert_outcomes(passed=1, failed=1)
    assert "FAILED parity: against original: logits is off by" in out(result)


BASELINE = "def test_it(device):\n    device.measure('model.onnx', name='m').assert_no_regression()\n"


def test_a_baseline_is_recorded_reviewed_and_refused_elsewhere(project: pytest.Pytester) -> None:
    missing = run(project, BASELINE)
    assert missing.ret == 1
    assert "no baseline file edgeloop-baseline.json" in out(missing)

    assert run(project, BASELINE, "--edgeloop-update-baseline").ret == 0
    file = project.path / "edgeloop-baseline.json"
    (entry,) = json.loads(file.read_text())["baselines"]
    assert entry["model"] == "m"
    assert entry["source"] == "simulated"
    assert entry["latency"]["sample_count"] >= 64
    assert len(entry["artifact_digest"]) == 64

    same = run(project, BASELINE)
    assert same.ret == 0, out(same)

    changes = {
        "fingerprint": ("0" * 64, "comes from another device"),
        "series": ("as_deployed", "another series"),
        "runtime_version": ("onnxruntime 0.1", "another runtime version"),
        "profile_digest": ("1" * 64, "with another profile"),
        "source": ("measured", "the two are never mixed"),
    }
    entries = [{**entry, "model": key, key: value} for key, (value, _) in changes.items()]
    file.write_text(json.dumps({"api_version": "edgeloop/v1", "kind": "Baseline", "baselines": entries}))
    tests = BASELINE.replace("test_it", "test_{0}").replace("'m'", "'{0}'")
    refused = run(project, "\n".join(tests.format(key) for key in changes))
    refused.assert_outcomes(failed=len(changes))
    for key, (_, words) in changes.items():
        (sentence,) = [line for line in refused.outlines if line.startswith(f"edgeloop: {key} on pi")]
        assert "UNDECIDED" in sentence
        assert words in sentence


def test_another_artifact_is_measured_again_or_taken_from_the_file(project: pytest.Pytester) -> None:
    assert run(project, BASELINE, "--edgeloop-update-baseline").ret == 0
    changed = BASELINE.replace("'model.onnx'", "'altered.onnx'")
    interleaved = run(project, changed, "--edgeloop-summary=s.md")
    assert interleaved.ret == 0, out(interleaved)
    assert "both measured again, interleaved, on pi" in (project.path / "s.md").read_text()

    # Elsewhere the baseline's artifact is not at hand.
    wide = changed.replace("()\n", "(max_slowdown='50%')\n")
    stored = run(project, wide, "--edgeloop-home=other", "--edgeloop-summary=t.md")
    assert stored.ret == 0, out(stored)
    text = (project.path / "t.md").read_text()
    assert "from the distribution recorded on" in text
    assert "is not at hand" in text


def test_budgets_come_from_a_reviewed_file(project: pytest.Pytester) -> None:
    budgets = project.path / "edgeloop-budgets.toml"
    head = 'apiVersion = "edgeloop/v1"\nkind = "Budgets"\n[[budget]]\nmodel = "model*"\n'
    test = "def test_it(device):\n    device.assert_budgets('model.onnx')\n"
    budgets.write_text(head + 'device = "raspberry_pi_*"\nlatency_p99 = "1s"\nsize = "1kB"\n')
    result = run(project, test, "--edgeloop-allow-predicted")
    assert result.ret == 1
    assert "FAILED size <= 1kB" in out(result)
    assert "passed    pi: model.onnx: latency_p99 <= 1s" in out(result), "samples follow the percentile"

    for body, words in (
        ('device = "nuc*"\nsize = "1MB"\n', "no budget of model.onnx on pi / raspberry_pi_5"),
        ('latency_p97 = "1s"\n', "latency_p97"),
        ('latency_p95 = "soon"\n', "soon"),
    ):
        budgets.write_text(head + body)
        refused = run(project, test)
        assert refused.ret == 1
        assert words in out(refused)
        assert "Traceback" not in out(refused)


def test_junit_and_summary_carry_source_series_and_interval(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(project.path / "step.md"))
    test = """
        def test_it(device):
            measured = device.measure("model.onnx")
            measured.assert_latency(p50="1s")
            measured.assert_size("1MB")
    """
    result = run(project, test, "--edgeloop-allow-predicted", "--edgeloop-summary=s.md", "--junitxml=j.xml")
    assert result.ret == 0, out(result)
    properties = ElementTree.parse(project.path / "j.xml").getroot().iter("property")
    rows = [json.loads(p.attrib["value"]) for p in properties if p.attrib["name"] == "edgeloop"]
    assert [row["check"] for row in rows] == ["latency_p50 <= 1s", "size <= 1MB"]
    latency, size = rows
    assert latency["source"] == "simulated"
    assert latency["basis"] == "transferred, unvalidated"
    assert latency["series"] == "nominal"
    assert latency["low"] < latency["value"] < latency["high"]
    assert size["source"] == "host"
    assert (project.path / "s.md").read_text() == (project.path / "step.md").read_text()
    assert "| passed | pi | model.onnx | latency\\_p50 \\<= 1s |" in (project.path / "s.md").read_text()


def test_no_device_and_a_wrong_one_are_sentences(project: pytest.Pytester) -> None:
    project.makepyfile(test_it="def test_it(device):\n    pass\n")
    for options, words in (
        ((), "no device is named"),
        (("--edgeloop-on=warp:9",), "unknown device 'warp:9'"),
        (("--edgeloop-on=sim:nothing_of_that_name",), "nothing_of_that_name"),
        (("--edgeloop-on=local", "--edgeloop-rounds=many"), "edgeloop_rounds is a whole number, not 'many'"),
    ):
        project.makepyfile(test_it="def test_it(device):\n    device.facts\n")
        result = project.runpytest_subprocess("-p", "no:cacheprovider", *options)
        assert result.ret == 1, out(result)
        assert words in out(result)
        assert "Traceback" not in out(result)


def test_conditions_choose_devices_of_the_inventory(project: pytest.Pytester) -> None:
    book = DeviceBook(project.path / ".edgeloop")
    for name, rack in (("a", "1"), ("b", "2"), ("c", "2")):
        spec = DeviceSpec(name=name, transport="simulated", address="raspberry_pi_5")
        book.put_entry(
            InventoryEntry(spec=spec, labels=(("rack", rack),), groups=("lab",) if name != "c" else ())
        )
    project.makepyfile(test_it="def test_it(device):\n    pass\n")
    for words, names in (("rack=2", ["b", "c"]), ("rack=2,group=lab", ["b"]), ("a,rack=2", ["a", "b", "c"])):
        result = project.runpytest_subprocess(
            "-p", "no:cacheprovider", "--collect-only", "-q", f"--edgeloop-on={words}"
        )
        assert [line for line in result.outlines if line.startswith("test_it.py")] == [
            f"test_it.py::test_it[{name}]" for name in names
        ]
    nobody = project.runpytest_subprocess(
        "-p", "no:cacheprovider", "--collect-only", "-q", "--edgeloop-on=rack=9"
    )
    assert nobody.ret != 0
    assert "edgeloop: " in out(nobody)
    assert "Traceback" not in out(nobody)


def test_two_devices_of_one_name_are_refused(project: pytest.Pytester) -> None:
    project.makepyfile(test_it="def test_it(device):\n    pass\n")
    result = project.runpytest_subprocess(
        "--edgeloop-on=local,sim:nuc11", "--edgeloop-on=sim:nuc11,sim:nuc11"
    )
    assert result.ret != 0
    assert "two devices have one name" in out(result)


def test_a_project_may_have_a_device_fixture_of_its_own(project: pytest.Pytester) -> None:
    project.makeconftest("import pytest\n\n@pytest.fixture\ndef device():\n    return 'mine'\n")
    project.makepyfile(test_it="def test_it(device):\n    assert device == 'mine'\n")
    result = project.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)
    assert "edgeloop" not in out(result).partition("test session starts")[2].partition("collected")[2]


def test_two_workers_take_turns_on_one_device(project: pytest.Pytester) -> None:
    test = """
        import pytest

        @pytest.mark.parametrize("threads", [1, 2, 3, 4])
        def test_it(device, threads):
            device.measure("model.onnx", threads=threads).assert_parity()
    """
    result = run(project, test, "-n2", "--edgeloop-summary=s.md")
    result.assert_outcomes(passed=4)
    assert "4 of 4 checks passed" in (project.path / "s.md").read_text()


@pytest.fixture
def agent(project: pytest.Pytester) -> Iterator[str]:
    """A simulated board whose agent runs by itself, as on a lab's shelf."""
    # A socket's path has at most 107 bytes, and pytest's directories grow with the names of tests.
    shelf = tempfile.TemporaryDirectory()
    socket = Path(shelf.name) / "a.sock"
    command = [sys.executable, "-m", "edgeloop_agent", "serve", "--state", str(project.path / "state")]
    command += ["--socket", str(socket), "--name", "shelf", "--simulate", "raspberry_pi_4", "--seed", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("ready")
    yield f"--edgeloop-on=shelf=unix:{socket}"
    process.terminate()
    process.wait(20)
    process.stdout.close()
    shelf.cleanup()


def test_workers_queue_for_the_lease_of_an_agent_that_runs_by_itself(
    project: pytest.Pytester, agent: str
) -> None:
    project.makepyfile(
        test_it="""
        import pytest

        @pytest.mark.parametrize("threads", [1, 2, 3, 4])
        def test_it(device, threads):
            run = device.measure("model.onnx", threads=threads).run
            with open("log", "a") as file:
                file.write(f"{run.lease_id} {run.job_id}\\n")
        """
    )
    result = project.runpytest_subprocess("-p", "no:cacheprovider", "-n2", agent)
    result.assert_outcomes(passed=4)
    lines = (project.path / "log").read_text().split()
    assert len(set(lines)) == 8, "each measurement had a lease and a job of its own"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_session_that_ends_early_gives_the_device_back(
    project: pytest.Pytester, number: signal.Signals
) -> None:
    """Interrupted, at once; killed, when its lease runs out, for which the next waits as long as it was told."""
    project.makepyfile(
        test_it="""
        from edgeloop_protocol.types.trial import Benchmark

        def test_long(device):
            device.facts
            open("begun", "w").close()
            device.measure("model.onnx", benchmark=Benchmark(rounds=200, sample_count_min=100000, steady_s_max=500.0))

        def test_short(device):
            device.measure("model.onnx").assert_parity()
    """
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", BOARD, "-k"]
    process = subprocess.Popen(
        [*command, "long"], cwd=project.path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        deadline = time.monotonic() + 60
        while not (project.path / "begun").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(3.0)
        process.send_signal(number)
        said, _ = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
    wanted = pytest.ExitCode.INTERRUPTED if number is signal.SIGINT else -signal.SIGKILL
    assert process.returncode == wanted, said
    assert "Traceback" not in said
    again = subprocess.run(
        [*command, "short", "--edgeloop-lease-wait=2s"],
        cwd=project.path,
        capture_output=True,
        text=True,
        timeout=90,
    )
    if number is signal.SIGINT:
        assert again.returncode == 0, again.stdout
    else:
        assert again.returncode != 0, "the wait is shorter than what is left of the killed session's lease"
        left_s = [int(found) for found in re.findall(r"held by \S+ pid \d+ for (\d+) s", again.stdout)]
        assert left_s
        assert all(0 < seconds <= 55 for seconds in left_s)
        assert "Traceback" not in again.stdout


@pytest.mark.timeout(240)
def test_this_machine_as_deployed(project: pytest.Pytester) -> None:
    test = """
        def test_it(device):
            measured = device.measure("model.onnx", samples=140)
            assert not device.simulated
            assert measured.run.source.value == "measured"
            measured.assert_parity()
            print(measured.run.timing.timing_disputed, [a.reason for a in measured.run.anomalies])
            if not (measured.run.timing.timing_disputed or measured.run.anomalies):
                measured.assert_latency(p50="10s", p95="10s")
                measured.assert_memory(peak="4GB")
            measured.assert_size("1MB")
    """
    project.makepyfile(test_it=test)
    options = ("--edgeloop-on=local", "--edgeloop-series=as_deployed")
    result = project.runpytest_subprocess("-p", "no:cacheprovider", *options)
    assert result.ret == 0, out(result)
    assert "[measured, as_deployed]" in out(result)


def test_the_plugin_costs_pytest_next_to_nothing() -> None:
    code = (
        "import sys, pytest; before = set(sys.modules); import edgeloop.interfaces.pytest_plugin; "
        "print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(
        ["edgeloop", "edgeloop.interfaces", "edgeloop.interfaces.pytest_plugin"]
    )


def test_the_entry_point_is_registered() -> None:
    from importlib.metadata import entry_points

    (found,) = [e for e in entry_points(group="pytest11") if e.name == "edgeloop"]
    assert found.value == "edgeloop.interfaces.pytest_plugin"
    assert Path(found.load().__file__).name == "pytest_plugin.py"
