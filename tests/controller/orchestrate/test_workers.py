"""A model that kills or starves its worker costs an error, and the next piece of work runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
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


_KILLED = """
import os, sys, time
from pathlib import Path
from edgeloop.app import App

if __name__ == "__main__":
    with App.open(Path(sys.argv[1])) as app:
        print(app.pool().submit(os.getpid).result(), flush=True)
        time.sleep(60)
"""


def _runs(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_workers_end_when_their_controller_is_killed(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(_KILLED)
    command = [sys.executable, str(program), str(tmp_path / "home")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        worker = int(process.stdout.readline())
        assert Path(f"/proc/{worker}").exists()
        process.kill()
    # The program is not its parent any more, so nobody collects it but the system.
    give_up_s = time.monotonic() + 30
    while _runs(worker):
        assert time.monotonic() < give_up_s
        time.sleep(0.05)
