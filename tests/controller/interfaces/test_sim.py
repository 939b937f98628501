"""``edgeloop sim``: what is printed, what is left behind, and exit statuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Call

SMALL = ("sim", "up", "--name", "two", "--count", "2", "--mix", "nuc11", "--seed", "7")


@pytest.mark.parametrize(("command", "status"), [(("true",), 0), (("sh", "-c", "exit 5"), 5)])
def test_a_command_has_the_fleet_to_itself_and_its_status_is_ours(
    call: Call, command: tuple[str, ...], status: int
) -> None:
    done = call(*SMALL, "--", *command)
    assert done.exit_code == status, done.output
    assert "fleet two: 2 boards in 1 process, seed 7, ready in" in done.stdout
    assert "--on fleet:two/nuc11-0000" in done.stdout
    assert json.loads(call("sim", "list", "--json").stdout) == {"fleets": []}


def test_a_detached_fleet_is_listed_asked_used_and_ended(call: Call) -> None:
    started = json.loads(call(*SMALL, "--detach", "--json").stdout)
    try:
        assert (started["started"], len(started["boards"])) == (True, 2)
        (row,) = json.loads(call("sim", "list", "--json").stdout)["fleets"]
        assert (row["name"], row["board_count"], row["serving_count"]) == ("two", 2, None)
        status = call("sim", "status", "two")
        assert status.exit_code == 0, status.output
        facts = call("device", "facts", "--on", "fleet:two/nuc11-0001", "--json")
        assert json.loads(facts.stdout)["devices"][0]["facts"]["name"] == "nuc11-0001"
        again = call(*SMALL, "--detach")
        assert "runs already" in again.stdout
        assert call(*SMALL[:-1], "8", "--detach").exit_code == 2
    finally:
        ended = call("sim", "down", "two")
    assert ended.stdout == "fleet two: ended, 1 process\n"
    assert call("sim", "status", "two").exit_code == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--detach", "--count", "1", "--", "true"), "--detach and a command exclude each other."),
        (("--mix", "nowhere.toml"), "there is no file nowhere.toml."),
        ((), "found --count absent"),
        (("--count", "1", "--faults", "faults.toml"), "fault[0]: drop: found no trigger"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(call: Call, words: tuple[str, ...], said: str) -> None:
    Path("faults.toml").write_text('apiVersion = "edgeloop/v1"\nkind = "Faults"\n[[fault]]\nkind = "drop"\n')
    done = call("sim", "up", *words)
    assert done.exit_code == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
