"""The short form of scripts/heavy/kill_agent: three kills in each phase."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "heavy" / "kill_agent"


@pytest.mark.parametrize("phase", ["upload", "benchmark", "result"])
def test_three_kills_cost_nothing(phase: str, tmp_path: Path) -> None:
    book = tmp_path / "progress.json"
    command = [sys.executable, str(SCRIPT), "--phase", phase, "--rounds", "3", "--progress", str(book)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rounds = json.loads(book.read_text())["rounds"][phase]
    assert len(rounds) == 3
    assert sum(r["hit"] for r in rounds) >= 2
    assert sum(r["lost"] + r["duplicated"] for r in rounds) == 0
    assert max(r["resent_bytes"] for r in rounds) <= 12 << 20, "a quarter of the upload"
    if phase == "upload":
        assert max(r["resent_bytes"] for r in rounds) > 0
    if phase == "benchmark":
        assert sum(r["interrupted"] for r in rounds) > 0
    again = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert again.returncode == 0
    assert len(json.loads(book.read_text())["rounds"][phase]) == 3
