"""The example project: its three outcomes, and the commands of its workflow as they stand in the file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).parents[3] / "examples" / "ci_project"
WORKFLOW = PROJECT / ".github" / "workflows" / "edgeloop.yml"


def workflow() -> dict[str, Any]:
    # YAML 1.1 reads the key "on" as true.
    found: dict[str, Any] = yaml.safe_load(WORKFLOW.read_text())
    return {str(key): value for key, value in found.items()}


def commands(job: str) -> list[str]:
    return [step["run"] for step in workflow()["jobs"][job]["steps"] if "run" in step]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return Path(shutil.copytree(PROJECT, tmp_path / "project"))


def shell(project: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Run one step as the runner does: bash, stop at the first failure, in the checkout."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "GITHUB_STEP_SUMMARY": str(project / "step.md"),
        "PYTHONWARNINGS": "ignore",
    }
    environment.pop("EDGELOOP_HOME", None)
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", command],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.timeout(300)
def test_the_commands_of_the_simulated_job_pass(project: Path) -> None:
    install, build, test = commands("simulated")
    assert install == 'python -m pip install "edgeloop[pytest] @ $EDGELOOP_SOURCE"'
    for command in (build, test):
        done = shell(project, command)
        assert done.returncode == 0, done.stdout + done.stderr
    summary = (project / "step.md").read_text()
    assert "8 of 8 checks passed" in summary
    assert "predicted, transferred, unvalidated" in summary
    assert (project / "edgeloop.xml").exists()


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("fault", "said", "unsaid"),
    [
        ("slowdown", "FAILED latency_p50 slowdown <= 5%", "FAILED parity"),
        ("parity", "FAILED parity: against original", "slowdown <= 5%: "),
    ],
)
def test_a_planted_fault_fails_and_is_named(project: Path, fault: str, said: str, unsaid: str) -> None:
    _, build, test = commands("simulated")
    assert shell(project, f"{build} --plant {fault}").returncode == 0
    done = shell(project, test)
    assert done.returncode == 1, done.stdout + done.stderr
    assert said in done.stdout
    assert unsaid not in done.stdout
    assert "Traceback" not in done.stdout


def test_the_planted_slowdown_is_a_tenth_of_graph_work_with_equal_outputs(project: Path) -> None:
    import numpy as np
    import onnx
    import onnxruntime

    assert shell(project, "python build_model.py --plant slowdown").returncode == 0
    counts, outputs = [], []
    images = np.load(project / "shapes.npz")["image"][:8]
    for name in ("reference.onnx", "model.onnx"):
        model = onnx.load(project / name)
        counts.append(sum(node.op_type == "Conv" for node in model.graph.node))
        session = onnxruntime.InferenceSession(str(project / name), providers=["CPUExecutionProvider"])
        outputs.append(session.run(None, {"image": images})[0])
    assert counts == [20, 22]
    np.testing.assert_allclose(*outputs, rtol=1e-4, atol=1e-5)


def test_real_devices_run_by_label_only_and_never_for_a_fork() -> None:
    jobs = workflow()["jobs"]
    condition = " ".join(jobs["hardware"]["if"].split())
    assert "contains(github.event.pull_request.labels.*.name, 'run-on-hardware')" in condition
    assert "head.repo.full_name == github.repository" in condition
    assert jobs["hardware"]["runs-on"] == ["self-hosted", "edgeloop"]
    assert "if" in jobs["simulated"]
    assert workflow()["True"]["pull_request"]["types"] == ["opened", "synchronize", "reopened", "labeled"]
    assert workflow()["permissions"] == {"contents": "read"}
    assert all(job["timeout-minutes"] for job in jobs.values())
    test = commands("hardware")[-1]
    assert '--edgeloop-on "$EDGELOOP_DEVICES"' in test
    # No expression inside of a command: what a pull request names is never pasted into a shell.
    assert not any("${{" in command for job in jobs for command in commands(job))


def test_the_options_of_the_workflow_are_known() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--help"], capture_output=True, text=True, timeout=60, cwd=PROJECT
    )
    words = {
        w for job in ("simulated", "hardware") for c in commands(job) for w in c.split() if w.startswith("--")
    }
    assert words >= {"--edgeloop-on", "--junitxml"}
    assert [word for word in words if word.replace("--junitxml", "--junit-xml") not in done.stdout] == []


def test_budgets_of_the_example_can_be_read() -> None:
    from edgeloop.interfaces.gate.budgets import matching, read_budgets, samples_needed

    budgets = read_budgets(PROJECT / "edgeloop-budgets.toml")
    assert len(matching(budgets, ["model.onnx"], ["rpi5", "raspberry_pi_5"])) == 1
    board = matching(budgets, ["model.onnx"], ["lab-pi5-1", "Raspberry Pi 5 Model B"])
    assert samples_needed(board) == 130
    assert json.dumps([b.model_dump() for b in budgets])
