"""The short form of scripts/heavy/install_kills, and that it finds a disk whose rename is not atomic."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "heavy" / "install_kills"


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *words], capture_output=True, text=True, timeout=560, check=False
    )


@pytest.mark.heavy
@pytest.mark.timeout(600)
def test_a_few_kills_and_errors_cost_nothing(tmp_path: Path) -> None:
    book = tmp_path / "kills.json"
    done = run("--points", "6", "--errors", "4", "--progress", str(book))
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads(book.read_text())["results"].values()
    assert sum(one["hit"] for one in results) >= 10
    assert all(one["health_count"] > 0 for one in results if one["kind"] != "kill")


@pytest.mark.heavy
@pytest.mark.timeout(600)
def test_a_disk_whose_rename_is_not_atomic_is_found() -> None:
    done = run("--scenario", "rollback", "--points", "30", "--errors", "0", "--plant", "torn-rename")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "half-installed: it serves ''" in done.stdout
