"""A meter named on the command line is among the agent's sensors and in its conditions."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from edgeloop_agent.daemon import _real_board
from edgeloop_agent.kept_runtimes import keep_runtimes
from edgeloop_foundation.ports.fs import OsFileSystem
from edgeloop_protocol.types.isolation_tier import DEFAULT, TIERS

_CONFINED = {"isolation": DEFAULT, "require_isolation": TIERS[0]}
_UNEMULATED = {"emulate_memory": "", "emulate_cpus": "", "emulate_compute": ""}


def options(**changes: Any) -> argparse.Namespace:
    return argparse.Namespace(
        **{"simulate": "", "name": "desk", "seed": 0, "meter": [], **_UNEMULATED, **_CONFINED, **changes}
    )


async def test_a_named_meter_is_among_sensors_and_readings(meter_server: Any, tmp_path: Path) -> None:
    meter_server.documents = {
        "/rpc/Switch.GetStatus?id=0": {"id": 0, "apower": 4.5, "aenergy": {"total": 2.0}}
    }
    board = _real_board(options(meter=[f"shelly={meter_server.address}"]), tmp_path)
    keep_runtimes(OsFileSystem(), tmp_path, board._dependencies(), ())
    (facts,) = [s for s in (await board.facts()).sensors if s.name == "shelly"]
    assert (facts.scope, facts.reason, facts.channels) == ("wall", "", ("shelly/channel-0",))
    (reading,) = [r for r in (await board.conditions()).readings if r.name.startswith("shelly/")]
    assert (reading.value, reading.unit) == (7200.0, "joule")
    assert reading.time_ns is not None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["--meter", "geiger=x"], "unknown meters 'geiger'", id="wrong meter"),
        pytest.param(
            ["--simulate", "raspberry_pi_4", "--meter", "shelly=http://192.0.2.7"],
            "a simulated one has no wires",
            id="simulated board",
        ),
    ],
)
def test_a_meter_that_cannot_be_ends_the_agent_with_one_sentence(
    tmp_path: Path, arguments: list[str], said: str
) -> None:
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
    done = subprocess.run([*argv, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert said in done.stderr
