"""The scripts that hold the house together."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.rooms import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def project() -> dict[str, dict[str, list[str]]]:
    found: dict[str, dict[str, list[str]]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return found


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = [re.match(r"([A-Za-z0-9._-]+)==([^;\s]+)", line) for line in lines if not line.startswith("#")]
    assert all(found), "every line is a comment or a pin"
    return {re.sub(r"[-_.]+", "-", m[1]).lower(): m[2] for m in found if m}


def test_every_requirement_has_a_tested_pin() -> None:
    extras = project()["optional-dependencies"]
    wanted = [*project()["dependencies"]]
    for name in ("agent", "controller", "docs", "demo", "test", "check"):
        wanted += [r for r in extras[name] if not r.startswith("edgeloop[")]
    # A requirement for other versions of Python only is not in the tested environment.
    names = [re.split(r"[<>=~!;\s\[]", r)[0] for r in wanted if "python_version" not in r]
    assert [n for n in names if re.sub(r"[-_.]+", "-", n).lower() not in pins()] == []
    assert pins()["torch"] == "2.13.0", "a loose range would take another build"


@pytest.mark.parametrize(
    "script", ["scripts/check", "scripts/docs", "scripts/test", "scripts/environment", ".ci/run"]
)
def test_scripts_are_valid_shell(script: str) -> None:
    done = subprocess.run(["bash", "-n", ROOT / script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert os.access(ROOT / script, os.X_OK) == (script != "scripts/environment")


def ci(tmp_path: Path, check: int, test: int) -> tuple[int, str]:
    """Run a copy of .ci/run over scripts that end as told."""
    for folder in (".ci", "scripts"):
        (tmp_path / folder).mkdir()
    (tmp_path / ".ci" / "run").write_text((ROOT / ".ci" / "run").read_text())
    for name, status in (("check", check), ("test", test)):
        script = tmp_path / "scripts" / name
        script.write_text(f"#!/bin/sh\necho {name}\nexit {status}\n")
        script.chmod(0o755)
    done = subprocess.run(["bash", tmp_path / ".ci" / "run"], capture_output=True, text=True)
    return done.returncode, done.stdout


@pytest.mark.parametrize(("check", "test", "status"), [(0, 0, 0), (1, 0, 1), (0, 2, 2), (1, 2, 2)])
def test_ci_runs_both_and_passes_the_failure_on(tmp_path: Path, check: int, test: int, status: int) -> None:
    assert ci(tmp_path, check, test) == (status, "check\ntest\n")


def budget(folder: Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "style_budget", "."], cwd=folder, capture_output=True, text=True
    )
    return done.returncode, done.stdout


def test_the_budget_of_lengths_is_held(tmp_path: Path) -> None:
    short = "".join(f"def f{i}():\n    pass\n\n\n" for i in range(20))
    (tmp_path / "good.py").write_text(short)
    assert budget(tmp_path)[0] == 0
    (tmp_path / "long.py").write_text("def long():\n" + "    pass\n" * 80)
    (tmp_path / "large.py").write_text("x = 1\n" * 601)
    status, text = budget(tmp_path)
    assert status == 1
    assert "long.py:1 long has 81 lines" in text
    assert "large.py has 601 lines" in text


def test_an_unknown_python_is_refused_with_a_sentence(tmp_path: Path) -> None:
    command = f". {ROOT}/scripts/environment; prepare_environment check; echo went on"
    environment = {**os.environ, "EDGELOOP_VENV": str(tmp_path)}
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr == f"environment: EDGELOOP_VENV={tmp_path} has no bin/python.\n"
