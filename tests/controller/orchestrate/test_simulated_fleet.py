"""Fleets of simulated boards: planned, started, addressed, asked and ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from edgeloop.app import App
from edgeloop.domain.device import DeviceSpec
from edgeloop.orchestrate.devices import facts
from edgeloop.orchestrate.fleet_hosts import find_hosts
from edgeloop.orchestrate.simulated_fleet import (
    FleetRequest,
    fleet_names,
    fleet_status,
    plan_fleet,
    select_boards,
    start_fleet,
    stop_fleet,
)
from edgeloop_foundation.errors import (
    AlreadyExistsError,
    EdgeloopError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
)

REQUEST = FleetRequest(name="ci", count=20, mix="raspberry_pi_4:3,nuc11:1", seed=7, process_count=2)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a home with a running fleet of 20 boards."""
    # The path of pytest is long, so that the sockets take the way out as well.
    root = tmp_path_factory.mktemp("a-directory-whose-path-is-too-long-for-a-socket-in-it")
    with start_fleet(root, REQUEST, detached=False):
        yield root


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


async def test_every_board_is_a_device_with_an_identity_of_its_own(home: Path) -> None:
    with App.open(home) as app:
        found = await facts(app, select_boards(home, "fleet:ci"))
    assert [reason for _, _, reason in found if reason] == []
    described = [known for _, known, _ in found if known is not None]
    assert len({known.device_id for known in described}) == len({known.name for known in described}) == 20
    assert sorted({known.profile for known in described}) == ["nuc11", "raspberry_pi_4"]
    assert all(known.simulated for known in described)


async def test_the_fleet_tells_how_it_is(home: Path) -> None:
    status = await fleet_status(home, "ci")
    assert (status.board_count, status.serving_count, status.failing) == (20, 20, ())
    assert status.running
    assert len(status.processes) == 2
    assert status.memory_bytes is not None
    assert status.health_p99_s is not None
    assert 0 < status.health_p99_s < 5
    assert fleet_names(home) == ("ci",)


@pytest.mark.parametrize(
    ("word", "count"),
    [
        ("fleet:ci", 20),
        ("fleet:ci/nuc11", 5),
        ("fleet:ci/raspberry_pi_4-000?", 10),
        ("fleet:ci/raspberry_pi_4-0014", 1),
        ("desk=fleet:ci/nuc11-0000", 1),
    ],
)
def test_boards_are_selected_by_name_pattern_and_profile(home: Path, word: str, count: int) -> None:
    chosen = select_boards(home, word)
    assert len(chosen) == count
    assert {spec.transport for spec in chosen} == {"fleet"}
    if word.startswith("desk="):
        assert chosen[0].name == "desk"


def test_what_is_not_there_is_said(home: Path) -> None:
    with pytest.raises(NotFoundError, match="no fleet 'lab' was started; known are ci"):
        select_boards(home, "fleet:lab")
    with pytest.raises(NotFoundError, match=r"'radio'.*The first of its 20 is raspberry_pi_4-0000"):
        select_boards(home, "fleet:ci/radio")
    with pytest.raises(InvalidInputError, match="one name to 5 boards"):
        select_boards(home, "x=fleet:ci/nuc11")


def test_the_same_fleet_again_is_left_alone_and_another_one_refused(home: Path) -> None:
    before = find_hosts(home / "fleets" / "ci", 2)
    with start_fleet(home, REQUEST, detached=False) as again:
        assert again.hosts is None
    assert find_hosts(home / "fleets" / "ci", 2) == before
    other = FleetRequest(name="ci", count=21, mix=REQUEST.mix, seed=7)
    with (
        pytest.raises(AlreadyExistsError, match="20 boards, seed 7, runs already"),
        start_fleet(home, other, detached=False),
    ):
        pytest.fail("two fleets of one name")


def test_a_detached_fleet_stays_until_it_is_ended(tmp_path: Path) -> None:
    request = FleetRequest(name="stay", count=3, mix="nuc11", directory=tmp_path / "elsewhere")
    with start_fleet(tmp_path, request, detached=True):
        pass
    (pid,) = find_hosts(tmp_path / "elsewhere", 1)
    assert pid is not None
    assert not gone(pid)
    assert stop_fleet(tmp_path, "stay") == 1
    assert gone(pid)
    assert fleet_names(tmp_path) == ()
    with pytest.raises(NotFoundError, match="no fleet 'stay'"):
        stop_fleet(tmp_path, "stay")


async def test_a_board_of_a_fleet_that_is_down_is_out_of_reach(tmp_path: Path) -> None:
    request = FleetRequest(name="short", count=1, mix="nuc11")
    with start_fleet(tmp_path, request, detached=False):
        specs = select_boards(tmp_path, "fleet:short")
    missing = DeviceSpec(name="b", transport="fleet", address=str(tmp_path / "none" / "b.sock"))
    with App.open(tmp_path) as app:
        ((_, known, reason),) = await facts(app, [missing])
        assert known is None
        assert "its fleet is down" in reason
    assert specs[0].address.endswith("nuc11-0000.sock")


UP = "import sys; from edgeloop.interfaces.cli.main import main; sys.argv[0] = 'edgeloop'; main()"


def test_a_killed_controller_leaves_nothing_running(tmp_path: Path) -> None:
    words = ("--home", str(tmp_path), "sim", "up", "--name", "k", "--count", "4", "--processes", "2")
    up = subprocess.Popen([sys.executable, "-c", UP, *words], stdout=subprocess.PIPE, text=True)
    assert up.stdout is not None
    assert "4 boards in 2 processes" in up.stdout.readline()
    pids = [pid for pid in find_hosts(tmp_path / "fleets" / "k", 2) if pid is not None]
    assert len(pids) == 2
    up.send_signal(signal.SIGKILL)
    up.wait()
    up.stdout.close()
    deadline = time.monotonic() + 10
    while not all(gone(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert all(gone(pid) for pid in pids)
    # What it left behind is in nobody's way.
    with start_fleet(tmp_path, FleetRequest(name="k", count=4, process_count=1), detached=False) as fleet:
        assert fleet.hosts is not None


def test_a_lost_process_is_noticed(tmp_path: Path) -> None:
    request = FleetRequest(name="half", count=4, process_count=2, mix="nuc11")
    with start_fleet(tmp_path, request, detached=False) as fleet:
        assert fleet.hosts is not None
        first = find_hosts(tmp_path / "fleets" / "half", 2)[0]
        assert first is not None
        os.kill(first, signal.SIGKILL)
        deadline = time.monotonic() + 5
        while not fleet.hosts.ended() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert list(fleet.hosts.ended()) == [0]
        with (
            pytest.raises(UnavailableError, match="has lost a process"),
            start_fleet(tmp_path, request, detached=False),
        ):
            pytest.fail("half a fleet is no fleet")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "a/b"}, "the name of a fleet has"),
        ({"mix": "nuc11:many"}, "--mix: found 'nuc11:many'"),
        ({"mix": "commodore_64"}, "no profile 'commodore_64'"),
        ({"count": 0}, "found --count absent"),
        ({"count": 2, "process_count": 3}, "--processes: found 3 for 2 boards"),
        ({"mix": "nowhere.toml"}, r"nowhere\.toml"),
        ({"faults": Path("nowhere.toml")}, r"nowhere\.toml"),
    ],
)
def test_a_fleet_that_cannot_be_meant_is_refused(change: dict[str, object], said: str) -> None:
    words: dict[str, object] = {"count": 5, "mix": "nuc11", **change}
    with pytest.raises(EdgeloopError, match=said):
        plan_fleet(FleetRequest(**words))  # type: ignore[arg-type]


def test_a_process_that_cannot_serve_says_why(tmp_path: Path) -> None:
    blocked = tmp_path / "fleets" / "b" / "boards"
    blocked.parent.mkdir(parents=True)
    blocked.write_text("in the way")
    with (
        ExitStack() as stack,
        pytest.raises(UnavailableError, match=r"process 0 of the fleet ended: .*Not a directory"),
    ):
        stack.enter_context(start_fleet(tmp_path, FleetRequest(name="b", count=1), detached=False))
    assert fleet_names(tmp_path) == ()
