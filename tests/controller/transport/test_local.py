"""This machine as a device: the real agent as a child, and how it goes when that fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from edgeloop.domain.device import DeviceSpec
from edgeloop.transport.base import connect
from edgeloop.transport.local import LocalTransport, file_name
from edgeloop_foundation.errors import BusyError, DeadlineError, InvalidInputError, UnavailableError

DESK = DeviceSpec(name="desk", transport="local")


def pid_of(transport: LocalTransport) -> int:
    process = transport._process
    assert process is not None
    return process.pid


def is_gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


async def test_it_serves_and_is_gone_afterwards(tmp_path: Path) -> None:
    transport = LocalTransport(DESK, tmp_path)
    async with transport as client:
        facts = await client.describe()
        assert facts.name == "desk"
        assert not facts.simulated
        assert await client.health()
        pid = pid_of(transport)
        socket = tmp_path / "agents" / "desk" / "agent.sock"
        assert socket.stat().st_mode & 0o077 == 0
        with pytest.raises(BusyError, match=f"in use by another edgeloop process \\(number {os.getpid()}\\)"):
            await connect(DESK, tmp_path).open()
    assert is_gone(pid)
    first = facts.device_id
    async with connect(DESK, tmp_path) as client:
        assert (await client.describe()).device_id == first


async def test_a_killed_agent_is_reported_as_such_and_leaves_a_socket_that_is_no_obstacle(
    tmp_path: Path,
) -> None:
    transport = LocalTransport(DESK, tmp_path)
    async with transport as client:
        os.kill(pid_of(transport), signal.SIGKILL)
        started = time.monotonic()
        with pytest.raises(UnavailableError, match="desk"):
            await client.describe()
        with pytest.raises(UnavailableError, match="desk: its agent ended by SIGKILL"):
            await client.list_leases()
        assert time.monotonic() - started < 10
    async with connect(DESK, tmp_path) as client:
        assert await client.health()


async def test_a_home_with_a_long_path_gets_a_socket_elsewhere(tmp_path: Path) -> None:
    home = tmp_path / ("long" * 20) / ("longer" * 10)
    transport = LocalTransport(DESK, home)
    async with transport as client:
        assert await client.health()
        elsewhere = transport._short_directory
        assert elsewhere is not None
        assert elsewhere.stat().st_mode & 0o077 == 0
    assert not elsewhere.exists()


async def test_an_agent_that_cannot_start_says_why(tmp_path: Path) -> None:
    state = tmp_path / "agents" / "desk"
    state.mkdir(parents=True)
    (state / "state").write_text("a file where a directory should be")
    with pytest.raises(UnavailableError, match=r"desk: its agent ended with status 1: .*state") as caught:
        await connect(DESK, tmp_path).open()
    assert "agent.log" in caught.value.next_step


async def test_an_agent_that_is_not_ready_in_time_is_ended(tmp_path: Path) -> None:
    hasty = DeviceSpec(name="desk", transport="local", options=(("ready_timeout_s", "0.001"),))
    with pytest.raises(DeadlineError, match=r"not ready within 0.001 s"):
        await connect(hasty, tmp_path).open()
    async with connect(DESK, tmp_path) as client:
        assert await client.health()


@pytest.mark.parametrize("value", ["soon", "1s"])
async def test_a_timeout_that_is_no_number_is_refused(tmp_path: Path, value: str) -> None:
    spec = DeviceSpec(name="desk", transport="local", options=(("ready_timeout_s", value),))
    with pytest.raises(InvalidInputError, match="ready_timeout_s is a number"):
        await connect(spec, tmp_path).open()


def test_the_agent_ends_with_a_controller_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from edgeloop.domain.device import DeviceSpec\n"
        "from edgeloop.transport.local import LocalTransport\n"
        "async def main():\n"
        "    transport = LocalTransport(DeviceSpec.parse('desk=local'), Path(sys.argv[1]))\n"
        "    await transport.open()\n"
        "    print(transport._process.pid, flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE
    ) as controller:
        assert controller.stdout is not None
        pid = int(controller.stdout.readline())
        assert not is_gone(pid)
        controller.kill()
    give_up = time.monotonic() + 10
    while not is_gone(pid):
        assert time.monotonic() < give_up, "the agent outlived its controller"
        time.sleep(0.02)


def test_different_device_names_never_share_a_directory() -> None:
    names = ["pi", "pi/4", "pi-4", "../pi", "", ".", "unix:/a/b", "Pi", "ä", "x" * 200, "x" * 201]
    files = [file_name(name) for name in names]
    assert len(set(files)) == len(names)
    assert all(name and "/" not in name and not name.startswith(".") for name in files)
    assert file_name("pi-4") == "pi-4"
