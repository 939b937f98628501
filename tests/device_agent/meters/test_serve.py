"""A meter named on the command line is among the agent's sensors and in its conditions."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from edgeloop_agent.daemon import _board
from edgeloop_foundation.errors import InvalidInputError


def options(**changes: Any) -> argparse.Namespace:
    return argparse.Namespace(**{"simulate": "", "name": "desk", "seed": 0, "meter": [], **changes})


async def test_a_named_meter_is_among_sensors_and_readings(meter_server: Any, tmp_path: Path) -> None:
    meter_server.documents = {
        "/rpc/Switch.GetStatus?id=0": {"id": 0, "apower": 4.5, "aenergy": {"total": 2.0}}
    }
    board = _board(options(meter=[f"shelly={meter_server.address}"]), tmp_path)
    board._runtimes = ()  # type: ignore[attr-defined]
    (facts,) = [s for s in (await board.facts()).sensors if s.name == "shelly"]
    assert (facts.scope, facts.reason, facts.channels) == ("wall", "", ("shelly/channel-0",))
    (reading,) = [r for r in (await board.conditions()).readings if r.name.startswith("shelly/")]
    assert (reading.value, reading.unit) == (7200.0, "joule")
    assert reading.time_ns is not None


def test_a_simulated_board_takes_no_meter(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="simulated"):
        _board(options(simulate="raspberry_pi_4", meter=["shelly=http://192.0.2.7"]), tmp_path)


def test_a_wrong_meter_ends_the_agent_with_one_sentence(tmp_path: Path) -> None:
    argv = [
        sys.executable,
        "-m",
        "edgeloop_agent",
        "serve",
        "--state",
        str(tmp_path),
        "--socket",
        str(tmp_path / "s"),
    ]
    done = subprocess.run([*argv, "--meter", "geiger=x"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "unknown meters 'geiger'" in done.stderr
