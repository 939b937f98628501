"""Every ``ProcessPort`` behaves alike."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from edgeloop_foundation.ports.process import ChildProcess, ProcessPort, SystemProcesses
from edgeloop_foundation.ports.simulated_process import ChildStreams, SimulatedProcesses

_SCRIPTS = {
    "echo": "import sys\nd = sys.stdin.buffer.read(4)\nsys.stdout.buffer.write(d * 2)\n",
    "environment": "import os, sys\ne = os.environ\nsys.stdout.write(e.get('WORD') + str('PATH' in e))\n",
    "fails": "import sys\nsys.stderr.write('bad \\x1b[31mthing\\x00\\n')\nsys.exit(7)\n",
    "raises": "raise ValueError('no such luck')\n",
    "hangs": "import sys, time\nsys.stdout.write('up')\nsys.stdout.flush()\ntime.sleep(60)\n",
    "chatty": "import sys\nsys.stderr.write('x' * 100_000 + 'end')\n",
}


async def _echo(argv: Sequence[str], env: Mapping[str, str], streams: ChildStreams) -> int:
    streams.write(await streams.read_exactly(4) * 2)
    return 0


async def _environment(argv: Sequence[str], env: Mapping[str, str], streams: ChildStreams) -> int:
    streams.write((env.get("WORD", "?") + str("PATH" in env)).encode())
    return 0


async def _fails(argv: Sequence[str], env: Mapping[str, str], streams: ChildStreams) -> int:
    streams.log("bad \x1b[31mthing\x00\n")
    return 7


async def _raises(argv: Sequence[str], env: Mapping[str, str], streams: ChildStreams) -> int:
    raise ValueError("no such luck")


async def _hangs(argv: Sequence[str], env: Mapping[str, str], streams: ChildStreams) -> int:
    streams.write(b"up")
    await asyncio.Event().wait()
    return 0


async def _chatty(argv: Sequence[str], env: Mapping[str, str], streams: ChildStreams) -> int:
    streams.log("x" * 100_000 + "end")
    return 0


class Starter:
    """Starts the same program on either port."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.port: ProcessPort = SystemProcesses()
        if kind == "simulated":
            self.port = SimulatedProcesses(
                {
                    "echo": _echo,
                    "environment": _environment,
                    "fails": _fails,
                    "raises": _raises,
                    "hangs": _hangs,
                    "chatty": _chatty,
                }
            )

    async def __call__(self, name: str, env: Mapping[str, str] | None = None) -> ChildProcess:
        argv = [name] if self.kind == "simulated" else [sys.executable, "-I", "-S", "-c", _SCRIPTS[name]]
        return await self.port.spawn(argv, env or {})


@pytest.fixture(params=["system", "simulated"])
def start(request: pytest.FixtureRequest) -> Starter:
    return Starter(request.param)


async def test_bytes_go_in_and_come_out(start: Starter) -> None:
    child = await start("echo")
    assert child.pid > 0
    await child.write(b"abcd")
    assert await child.read_exactly(8) == b"abcdabcd"
    assert await child.wait() == 0


async def test_the_end_of_output_is_an_eof_error(start: Starter) -> None:
    child = await start("echo")
    await child.write(b"abcd")
    with pytest.raises(EOFError):
        await child.read_exactly(9)
    assert await child.wait() == 0


async def test_the_environment_is_exactly_the_given_one(start: Starter) -> None:
    child = await start("environment", {"WORD": "yes"})
    assert await child.read_exactly(8) == b"yesFalse"
    assert await child.wait() == 0


async def test_exit_status_and_printable_log(start: Starter) -> None:
    child = await start("fails")
    assert await child.wait() == 7
    assert child.log_tail() == "bad [31mthing\n"


async def test_an_exception_is_status_one_and_on_the_log(start: Starter) -> None:
    child = await start("raises")
    assert await child.wait() == 1
    assert "ValueError: no such luck" in child.log_tail()


async def test_a_killed_child_says_so_and_dies_once(start: Starter) -> None:
    child = await start("hangs")
    assert await child.read_exactly(2) == b"up"
    child.kill()
    assert await child.wait() == -9
    child.kill()
    assert await child.wait() == -9


async def test_a_dead_child_reads_no_more(start: Starter) -> None:
    child = await start("fails")
    await child.wait()

    async def keep_writing() -> None:
        for _ in range(20):
            await child.write(b"x" * 65536)

    with pytest.raises(ConnectionError):
        await keep_writing()


async def test_the_log_keeps_its_end(start: Starter) -> None:
    child = await start("chatty")
    assert await child.wait() == 0
    assert len(child.log_tail()) == 16 * 1024
    assert child.log_tail().endswith("xend")


async def test_a_missing_program_is_an_os_error(start: Starter) -> None:
    with pytest.raises(FileNotFoundError):
        await start.port.spawn(["/no/such/program"], {})


def _gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


async def test_a_grandchild_that_keeps_the_pipes_delays_nobody() -> None:
    script = (
        "import subprocess, sys\n"
        "p = subprocess.Popen([sys.executable, '-I', '-S', '-c', 'import time; time.sleep(20)'])\n"
        "sys.stdout.write(f'{p.pid:10d}')\n"
        "sys.stdout.flush()\n"
        "import os; os._exit(3)\n"
    )
    child = await SystemProcesses().spawn([sys.executable, "-I", "-S", "-c", script], {})
    grandchild = int(await child.read_exactly(10))
    start_s = time.monotonic()
    assert await asyncio.wait_for(child.wait(), 5) == 3
    assert time.monotonic() - start_s < 3
    child.kill()
    for _ in range(100):
        if _gone(grandchild):
            break
        await asyncio.sleep(0.02)
    else:
        os.kill(grandchild, 9)
        pytest.fail("the grandchild outlived the kill of its group")
