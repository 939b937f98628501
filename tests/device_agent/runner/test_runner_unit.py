"""The tier "systemd": the real keeper behind a real socket, started per connection as systemd would."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from edgeloop_agent.execute import execute
from edgeloop_agent.frames import encode_frame
from edgeloop_agent.isolation_policy import IsolationPolicy
from edgeloop_agent.readable_tree import ReadableTree
from edgeloop_agent.runner_unit import RunnerUnit, _Calls
from edgeloop_protocol.types.run import FailureKind, Outcome

from scripts.heavy.hostile import endless_loop
from tests.device_agent.runner.test_hostile import outcome_of

KEEPER = (sys.executable, "-I", "-m", "edgeloop_agent.runner.keeper")
RUNNER = (sys.executable, "-I", "-m", "edgeloop_agent.runner")


@pytest.fixture
def path() -> Iterator[Path]:
    """Return a socket behind which each connection starts a keeper on itself (Accept=yes), in a short directory."""
    with tempfile.TemporaryDirectory(prefix="edgeloop-") as name, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{name}/s")
        listener.listen()
        keepers: list[subprocess.Popen[bytes]] = []

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        environment = {"TMPDIR": name, "PATH": os.environ["PATH"]}
                        end = connection.fileno()
                        keepers.append(
                            subprocess.Popen(KEEPER, stdin=end, stdout=end, env=environment, cwd="/")
                        )

        thread = threading.Thread(target=accept)
        thread.start()
        yield Path(name, "s")
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        for keeper in keepers:
            keeper.wait(30)
        assert [entry.name for entry in Path(name).iterdir()] == ["s"], "a keeper leaves nothing"


def lives(pid: int) -> bool:
    # It may go between the opening and the reading.
    with contextlib.suppress(OSError):
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    return False


def is_gone(pid: int, within_s: float = 5.0) -> bool:
    end = time.monotonic() + within_s
    while lives(pid):
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def keepers(path: Path) -> list[int]:
    """Return the keepers of this test that wait or keep, oldest first."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            environment = (entry / "environ").read_bytes() if entry.name.isdigit() else b""
            is_keeper = b"edgeloop_agent.runner.keeper" in (entry / "cmdline").read_bytes()
            if is_keeper and f"TMPDIR={path.parent}".encode() in environment.split(b"\0"):
                found.append(int(entry.name))
    return sorted(found)


def all_gone(path: Path) -> bool:
    return all(is_gone(pid) for pid in keepers(path))


async def test_a_unit_that_stands_ready_is_the_next_runners(unit: RunnerUnit, path: Path) -> None:
    await unit.keep_spare()
    (ready,) = keepers(path)
    await unit.keep_spare()
    assert keepers(path) == [ready], "one is enough"
    child = await unit.spawn(RUNNER, {})
    assert parent_of(child.pid) == ready
    other = await unit.spawn(RUNNER, {})
    assert parent_of(other.pid) != ready, "an account is of one run"
    for one in (child, other):
        one.kill()
        await one.wait()


async def test_who_wants_a_runner_while_a_unit_is_made_ready_waits_for_it(
    unit: RunnerUnit, path: Path
) -> None:
    assert await unit.refusal() == ""
    unit.let_go()
    assert await asyncio.to_thread(all_gone, path)
    making = asyncio.create_task(unit.keep_spare())
    await asyncio.sleep(0)
    child = await unit.spawn(RUNNER, {})
    await making
    assert keepers(path) == [parent_of(child.pid)]
    child.kill()
    await child.wait()


async def test_a_unit_that_is_gone_meanwhile_is_replaced(unit: RunnerUnit, path: Path) -> None:
    await unit.keep_spare()
    for start_anew in (unit.keep_spare, None):
        (ready,) = keepers(path)
        os.kill(ready, signal.SIGKILL)
        assert is_gone(ready)
        if start_anew is not None:
            await start_anew()
            assert keepers(path) not in ([], [ready])
    child = await unit.spawn(RUNNER, {})
    assert parent_of(child.pid) != ready
    child.kill()
    await child.wait()


async def test_a_unit_that_nobody_wants_is_let_go_once_no_runner_lives(path: Path, tmp_path: Path) -> None:
    unit = RunnerUnit(tmp_path, path, spare_s=0.5)
    child = await unit.spawn(RUNNER, {})
    await unit.keep_spare()
    await asyncio.sleep(1.0)
    assert len(keepers(path)) == 2, "a runner lives: there will be another one"
    keeping = parent_of(child.pid)
    child.kill()
    await child.wait()
    assert await asyncio.to_thread(is_gone, keeping)
    assert len(keepers(path)) == 1
    await asyncio.sleep(0.5)
    assert await asyncio.to_thread(all_gone, path)


async def test_one_that_asks_for_a_unit_and_goes_away_leaves_none(unit: RunnerUnit, path: Path) -> None:
    making = asyncio.create_task(unit.keep_spare())
    await asyncio.sleep(0.01)
    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making
    assert await asyncio.to_thread(all_gone, path)
    await unit.keep_spare()
    assert len(keepers(path)) == 1


async def test_a_unit_of_another_version_is_not_used(unit: RunnerUnit, monkeypatch: Any) -> None:
    monkeypatch.setattr("edgeloop_agent.runner_unit._PREFIX", "/opt/edgeloop/agent/another")
    assert "start the agent anew" in await unit.refusal()
    with pytest.raises(OSError, match="start the agent anew"):
        await unit.spawn(RUNNER, {})


def sweep(path: Path) -> None:
    for left in path.parent.glob("edgeloop-runner-*"):
        left.rmdir()


@pytest.fixture
async def unit(path: Path, tmp_path: Path) -> AsyncIterator[RunnerUnit]:
    unit = RunnerUnit(tmp_path, path)
    yield unit
    unit.let_go()


@pytest.fixture
def bench_in_unit(bench: Any, unit: RunnerUnit) -> Any:
    bench.unit = unit
    bench.isolation = IsolationPolicy(tier="systemd")
    return bench


async def test_a_job_runs_through_the_keeper_and_no_tier_is_claimed_on_its_word(
    bench_in_unit: Any, workshop: Any, quick: Any, path: Path
) -> None:
    artifact = workshop.mlp()
    (run,) = await execute(bench_in_unit.context(artifact, benchmark=quick))
    assert run.outcome is Outcome.SUCCESS, run.failure_reason
    assert len(keepers(path)) == 1, "a unit stands ready for the next runner"
    # It is of the agent's own account here, and sees it.
    assert run.isolation.tier not in ("systemd", "bubblewrap")
    layers = dict(run.isolation.layers)
    assert not layers["own_account"]
    assert not layers["agent_hidden"]
    assert layers["dies_with_parent"]
    assert "not found in the unit: agent_hidden, own_account" in run.isolation.reason
    assert stat.S_IMODE((workshop.directory(artifact) / "manifest.json").stat().st_mode) & stat.S_IROTH == 0
    (bench_in_unit.state_directory / "runtimes.json").unlink(missing_ok=True)
    facts = await bench_in_unit.board.facts()
    assert next(one for one in facts.runtimes if one.name == "onnxruntime").version


async def test_too_little_for_the_agent_is_refused_through_the_keeper_as_well(
    bench_in_unit: Any, workshop: Any
) -> None:
    bench_in_unit.isolation = IsolationPolicy(tier="systemd", minimum="systemd")
    run, _ = await outcome_of(bench_in_unit, workshop.mlp())
    assert (run.outcome, run.failure_kind) == (Outcome.UNSUPPORTED, FailureKind.UNFIT_DEVICE)
    assert "own_account" in run.failure_reason


async def test_a_model_that_never_answers_is_killed_at_its_deadline(
    bench_in_unit: Any, workshop: Any
) -> None:
    artifact = workshop.hostile(endless_loop("x"))
    run, elapsed = await outcome_of(bench_in_unit, artifact, runner_deadline_s=2.0)
    assert (run.outcome, run.failure_kind) == (Outcome.TIMEOUT, FailureKind.DEADLINE)
    assert 2.0 <= elapsed < 12.0


async def test_an_end_is_told_with_its_status_and_its_last_words(unit: RunnerUnit) -> None:
    child = await unit.spawn((*RUNNER, "--no-such-option"), {})
    assert await child.wait() == 2
    assert "unrecognized arguments: --no-such-option" in child.log_tail()
    child.kill()
    child = await unit.spawn(RUNNER, {})
    os.kill(child.pid, signal.SIGSEGV)
    assert await child.wait() == -signal.SIGSEGV
    with pytest.raises(EOFError):
        await child.read_exactly(1)
    child.kill()


async def test_a_kill_takes_a_moment_and_is_told_as_one(unit: RunnerUnit) -> None:
    child = await unit.spawn(RUNNER, {})
    os.kill(child.pid, signal.SIGSTOP)
    before = time.monotonic()
    child.kill()
    assert await child.wait() == -signal.SIGKILL
    assert time.monotonic() - before < 1.0
    assert is_gone(child.pid, within_s=0.0)


async def test_the_end_of_its_input_ends_a_runner(unit: RunnerUnit) -> None:
    child = await unit.spawn(RUNNER, {})
    child.close_input()
    async with asyncio.timeout(30):
        assert await child.wait() == 0
    child.kill()


AGENT = """
import asyncio, sys
from pathlib import Path
from edgeloop_agent.runner_unit import RunnerUnit
async def main():
    runner = (sys.executable, "-I", "-m", "edgeloop_agent.runner")
    child = await RunnerUnit(Path("/"), Path(sys.argv[1])).spawn(runner, {})
    print(child.pid, flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


def test_a_runner_dies_with_its_agent(path: Path) -> None:
    with subprocess.Popen([sys.executable, "-I", "-c", AGENT, str(path)], stdout=subprocess.PIPE) as agent:
        assert agent.stdout is not None
        pid = int(agent.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        agent.kill()
    assert is_gone(pid)


async def test_a_keeper_that_is_killed_takes_the_runner_with_it(unit: RunnerUnit, path: Path) -> None:
    child = await unit.spawn((*RUNNER, "--enclosed"), {})
    await child.write(encode_frame({"command": "isolation"}))
    # Confined by now: it dies with its keeper.
    await child.read_exactly(8)
    os.kill(parent_of(child.pid), signal.SIGKILL)
    assert await child.wait() == -signal.SIGKILL
    assert is_gone(child.pid)
    child.kill()
    # In the unit its directory goes with the unit's.
    sweep(path)


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        ({"program": "/bin/true"}, "nothing but the runner is started here"),
        ({"options": "--describe"}, "a list of texts"),
        ({"options": ["a\0b"]}, "a list of texts"),
        ({"environment": {"LD_PRELOAD": "/tmp/x.so"}}, "has no 'LD_PRELOAD'"),
        ({"environment": ["PATH"]}, "an object of texts"),
    ],
)
async def test_anything_but_the_runner_is_refused(
    unit: RunnerUnit, request_: dict[str, object], why: str
) -> None:
    calls = await _Calls.make(await unit._waiting(), {"options": [], "environment": {}, **request_})
    with pytest.raises(OSError, match=re.escape(why)):
        await calls.started()


async def test_the_agent_itself_asks_for_nothing_else(unit: RunnerUnit) -> None:
    with pytest.raises(PermissionError):
        await unit.spawn(("/bin/true",), {})
    with pytest.raises(OSError, match="LD_PRELOAD"):
        await unit.spawn(RUNNER, {"LD_PRELOAD": "x"})


@pytest.mark.parametrize(
    ("sent", "status", "said"),
    [
        # An agent that wants no runner any more, or is gone, is nothing to complain of.
        (b"", 0, ""),
        (b"\xff" * 8, 2, "no request came"),
        (encode_frame({"options": []}), 2, "no request came"),
        (encode_frame({"options": []})[:6], 2, "no request came: the agent hung up"),
    ],
)
def test_a_connection_that_brings_no_request_ends_the_keeper(sent: bytes, status: int, said: str) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        keeper = subprocess.Popen(KEEPER, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, text=True)
        ours.sendall(sent)
        ours.shutdown(socket.SHUT_WR)
        _, log = keeper.communicate(timeout=30)
        assert keeper.returncode == status
        assert log.startswith(said)
        assert bool(log) == bool(said)


async def test_a_board_without_the_unit_says_so_and_takes_the_next_tier(
    bench: Any, workshop: Any, tmp_path: Path
) -> None:
    bench.unit = RunnerUnit(tmp_path, tmp_path / "absent")
    bench.isolation = IsolationPolicy(tier="systemd")
    run, _ = await outcome_of(bench, workshop.mlp())
    assert run.outcome is Outcome.SUCCESS
    assert run.isolation.tier != "systemd"
    assert f"{tmp_path / 'absent'}: No such file or directory" in run.isolation.reason
    bench.isolation = IsolationPolicy(tier="systemd", minimum="systemd")
    run, _ = await outcome_of(bench, workshop.mlp())
    assert (run.outcome, run.failure_kind) == (Outcome.UNSUPPORTED, FailureKind.UNFIT_DEVICE)
    assert "No such file or directory" in run.failure_reason


async def test_a_unit_that_cannot_start_is_told_with_where_to_look(tmp_path: Path) -> None:
    """Where systemd cannot set the unit up it closes the connection without a word."""
    with tempfile.TemporaryDirectory(prefix="edgeloop-") as name, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{name}/s")
        listener.listen()
        closing = asyncio.to_thread(lambda: listener.accept()[0].close())
        asked = asyncio.create_task(RunnerUnit(tmp_path, Path(name, "s")).refusal())
        await closing
        assert "journalctl -u 'edgeloop-runner@*'" in await asked


def test_an_artifact_is_open_to_others_only_while_it_is_in_use(tmp_path: Path) -> None:
    state = tmp_path / "state"
    artifact = state / "work" / "job" / "digest"
    artifact.mkdir(parents=True, mode=0o700)
    for path in (state, state / "work", state / "work" / "job"):
        path.chmod(0o700)
    (artifact / "model.onnx").write_bytes(b"m")
    (artifact / "model.onnx").chmod(0o400)
    (state / "work" / "job" / "record").write_bytes(b"r")
    (state / "work" / "job" / "record").chmod(0o600)

    def modes() -> list[int]:
        names = ("", "work", "work/job", "work/job/record", "work/job/digest", "work/job/digest/model.onnx")
        return [stat.S_IMODE((state / name).stat().st_mode) for name in names]

    closed = modes()
    tree = ReadableTree(state)
    tree.open([artifact])
    tree.open([artifact])
    assert modes() == [0o700, 0o701, 0o701, 0o600, 0o705, 0o404]
    tree.close([artifact])
    assert modes()[-1] == 0o404, "another one still reads there"
    tree.close([artifact])
    assert modes() == [0o700, 0o701, 0o701, 0o600, 0o700, 0o400]
    assert closed[-2:] == modes()[-2:]
    with pytest.raises(ValueError, match="subpath"):
        tree.open([tmp_path / "elsewhere"])
