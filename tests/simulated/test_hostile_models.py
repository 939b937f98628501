"""Models that hang or eat memory are recorded outcomes, and the agent answers meanwhile."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "heavy" / "hostile_models"


def test_hostile_models_are_contained() -> None:
    command = [sys.executable, str(SCRIPT), "--tier", "process", "--slice", "1/12", "--deadline-s", "6"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "external data at '../secret'           user_error/load_failed" in done.stdout
    # The one that fills the memory; on a busy machine its time is over first.
    assert re.search("forty doublings +(device_error/out_of_memory|timeout/deadline)", done.stdout)
