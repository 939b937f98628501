"""Every board of a fleet works, and one seed gives the same records: scripts/bench/simulated_fleet, small and large."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench" / "simulated_fleet"


def bench(*words: str, timeout_s: float) -> str:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *words], capture_output=True, text=True, timeout=timeout_s, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_one_seed_gives_the_same_records_on_every_board() -> None:
    assert "4 boards twice with seed 7: records equal" in bench(
        "--sizes", "", "--repeat", "4", "--rounds", "1", timeout_s=100
    )


@pytest.mark.heavy
@pytest.mark.timeout(1500)
def test_a_thousand_boards_are_described_and_measured_while_their_health_is_asked() -> None:
    said = bench("--sizes", "10,100,1000", "--repeat", "1000", timeout_s=1400)
    assert "1000 boards twice with seed 7: records equal" in said
