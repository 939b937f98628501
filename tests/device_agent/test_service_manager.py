"""What systemd is told, over its real protocol."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from edgeloop_agent.service_manager import ServiceManager


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)
        yield listener


def told(listener: socket.socket) -> list[str]:
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            found.append(listener.recv(4096).decode())
    return found


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": str(tmp_path / "notify"), **more}


async def test_ready_signs_of_life_and_stopping(manager: socket.socket, tmp_path: Path) -> None:
    service = ServiceManager(environment(tmp_path, WATCHDOG_USEC="100000", WATCHDOG_PID=str(os.getpid())))
    assert service.interval_s == pytest.approx(0.05)
    began = time.monotonic()
    async with service.watched():
        await asyncio.sleep(0.4)
    intervals = (time.monotonic() - began) / service.interval_s
    seen = told(manager)
    assert (seen[0], seen[-1]) == ("READY=1", "STOPPING=1")
    assert 2 <= seen.count("WATCHDOG=1") <= intervals + 1
    await asyncio.sleep(0.15)
    assert told(manager) == [], "after the end there is no sign of life"


async def test_a_blocked_loop_gives_no_sign_of_life(manager: socket.socket, tmp_path: Path) -> None:
    async with ServiceManager(environment(tmp_path, WATCHDOG_USEC="40000")).watched():
        await asyncio.sleep(0.05)
        told(manager)
        time.sleep(0.3)  # noqa: ASYNC251 - this is what a blocked loop does
        assert told(manager) == []


@pytest.mark.parametrize("more", [{}, {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}])
async def test_without_a_watchdog_of_ours_nothing_but_the_states(
    more: dict[str, str], manager: socket.socket, tmp_path: Path
) -> None:
    async with ServiceManager(environment(tmp_path, **more)).watched():
        await asyncio.sleep(0.05)
    assert told(manager) == ["READY=1", "STOPPING=1"]


async def test_elsewhere_nobody_is_told(tmp_path: Path) -> None:
    async with ServiceManager({}).watched():
        pass
    async with ServiceManager(environment(tmp_path)).watched():
        pass  # the manager is gone


def test_a_name_in_the_abstract_namespace() -> None:
    name = f"edgeloop-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}")
        listener.setblocking(False)
        ServiceManager({"NOTIFY_SOCKET": f"@{name}"}).tell("READY=1")
        assert told(listener) == ["READY=1"]
