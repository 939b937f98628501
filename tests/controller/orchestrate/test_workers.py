"""A model that kills or starves its worker costs an error, and the next piece of work runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from edgeloop.app import App
from edgeloop.orchestrate.workers import in_worker
from edgeloop_foundation.errors import InvalidInputError


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    with App.open(tmp_path) as opened:
        yield opened


def die() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def starve() -> int:
    return len(bytearray(1 << 50))


def double(number: int) -> int:
    return 2 * number


async def test_a_dead_worker_is_an_error_and_the_next_work_runs(app: App) -> None:
    with pytest.raises(InvalidInputError, match=r"model\.onnx: the worker process died"):
        await in_worker(app, "model.onnx", die)
    assert await in_worker(app, "another", double, 21) == 42


async def test_too_much_memory_is_an_error(app: App) -> None:
    with pytest.raises(InvalidInputError, match="more memory than this host has"):
        await in_worker(app, "model.onnx", starve)


def test_a_deadline_ends_the_work_wherever_it_hangs() -> None:
    code = (
        "from edgeloop.orchestrate import workers\n"
        "workers.DEADLINE_S = 0.2\n"
        "def endless():\n"
        "    while True: pass\n"
        "workers._Limited(endless, (), {})()\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], timeout=20, check=False)
    assert ended.returncode == -signal.SIGALRM
