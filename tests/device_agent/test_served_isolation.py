"""Serving processes that were taken over, grow, hang or crash: what holds them, and what becomes of their artifact."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

import pytest
from edgeloop_agent.enclosure import Enclosure
from edgeloop_agent.isolation_policy import IsolationPolicy
from edgeloop_agent.quarantine import Quarantine
from edgeloop_agent.served_bounds import ServedBounds, own_task_count
from edgeloop_agent.served_models import ServedModels
from edgeloop_agent.slots import Pointer, Slot
from edgeloop_agent.task_group import TaskGroup
from edgeloop_foundation.errors import StateError
from edgeloop_foundation.ports.clock import SystemClock
from edgeloop_foundation.ports.fs import OsFileSystem
from edgeloop_foundation.ports.process import ChildProcess, ProcessPort, SystemProcesses
from edgeloop_protocol.types.deployment import ModelLimits
from edgeloop_protocol.types.serving import ServingSpec, ServingState, ServingStatus

from scripts.bench.serving_slots import SlotBoard, linear
from tests.device_agent.serving.conftest import until_ready

SPEC = ServingSpec(name="demo", batch_max=1)
MiB = 1 << 20
SERVER = "edgeloop_agent.serving"

TAKEN_OVER = """
import os, signal, socket, subprocess, sys, threading, time
from pathlib import Path
from edgeloop_agent.serving import model
honest = model.ServedModel.run
def evil(self, feeds):
    {code}
    return honest(self, feeds)
model.ServedModel.run = evil
from edgeloop_agent.serving.__main__ import main
raise SystemExit(main())
"""


HANGS = """if os.path.exists('hang'):
        self._execute = lambda feeds: time.sleep(60)"""


class TakenOver:
    """Starts the serving process with code in it that runs with the first inference of the warm-up."""

    def __init__(self, code: str) -> None:
        # Its module imports NumPy, whose threads would come before the namespaces.
        self.program = TAKEN_OVER.format(code=code)

    async def spawn(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: str | None = None
    ) -> ChildProcess:
        if SERVER in argv:
            at = argv.index(SERVER)
            argv = (*argv[: at - 1], "-c", self.program, *argv[at + 1 :])
        return await SystemProcesses().spawn(argv, env, cwd)


@pytest.fixture
def board(tmp_path: Path) -> SlotBoard:
    return SlotBoard(tmp_path / "state")


@pytest.fixture
def quarantine(board: SlotBoard) -> Quarantine:
    made = Quarantine(fs=OsFileSystem(), root=board.state / "quarantine", clock=SystemClock())
    made.open()
    return made


@contextlib.asynccontextmanager
async def models(
    board: SlotBoard,
    *,
    tier: str = "unprivileged",
    processes: ProcessPort | None = None,
    quarantine: Quarantine | None = None,
) -> AsyncIterator[ServedModels]:
    policy = IsolationPolicy(tier=tier)
    served = ServedModels(
        OsFileSystem(), board.state, board.slots, processes or SystemProcesses(), policy, quarantine
    )
    try:
        yield served
    finally:
        await served.stop()


async def until(served: ServedModels, holds: Callable[[ServingStatus], bool]) -> ServingStatus:
    async with asyncio.timeout(60):
        while not holds(served.list()[0]):  # noqa: ASYNC110 - as a client asks
            await asyncio.sleep(0.02)
    return served.list()[0]


async def serve_badly(served: ServedModels) -> None:
    """Begin to serve what will fail; it may do so before or after it listens."""
    with contextlib.suppress(StateError):
        await served.serve(SPEC)


@pytest.mark.parametrize("tier", ["process", "unprivileged", "bubblewrap"])
async def test_a_server_that_was_taken_over_reaches_nothing(
    board: SlotBoard, tmp_path: Path, tier: str
) -> None:
    if tier == "bubblewrap" and (reason := await Enclosure(SystemProcesses()).refusal()):
        pytest.skip(reason)
    board.install("demo", 1, linear(2.0))
    board.install("other", 1, linear(3.0))
    (tmp_path / "secret").write_text("key")
    weights = board.slots.directory("other", board.slots.pointer("other").current) / "model.onnx"
    harmless = {
        "secret": f"open({str(tmp_path / 'secret')!r}).read()",
        "other": f"open({str(weights)!r}, 'rb').read()",
        "program": "subprocess.run(['/bin/true'])",
        "listener": "socket.socket().close()",
        "agent": "os.kill(os.getppid(), 0)",
    }
    attempts = {
        **harmless,
        "pointer": f"open({str(board.state / 'deployments/demo/pointer.json')!r}, 'w')",
        "record": f"os.unlink({str(board.state / 'deployments/demo/record.json')!r})",
        "process": "os.fork() or os._exit(0)",
        "connection": "socket.create_connection(('127.0.0.1', 9))",
        "priorities": "os.setpriority(os.PRIO_USER, 0, 19)",
    }
    lines = "".join(
        f"\n    try:\n        {code}\n        told.append({name!r})\n    except OSError: pass"
        for name, code in (harmless if tier == "process" else attempts).items()
    )
    code = f"told = []{lines}\n    open('told', 'w').write(' '.join(told))"
    async with models(board, tier=tier, processes=TakenOver(code)) as served:
        await served.serve(SPEC)
        isolation = (await until_ready(served)).isolation
        assert isolation is not None
        assert isolation.tier == tier
        (told,) = (board.state / "scratch").rglob("told")
        # With limits alone everything gets out, so that the attempts are good ones.
        assert set(told.read_text().split()) == (set(harmless) if tier == "process" else set())


async def test_a_server_does_not_run_in_the_runners_unit_and_says_so(board: SlotBoard) -> None:
    board.install("demo", 1, linear(2.0))
    async with models(board, tier="systemd") as served:
        await served.serve(SPEC)
        isolation = (await until_ready(served)).isolation
        assert isolation is not None
        refused = await Enclosure(SystemProcesses()).refusal()
        assert isolation.tier != "systemd"
        assert isolation.tier == "bubblewrap" or refused
        assert "systemd: a serving process listens on the network" in isolation.reason
        assert refused in isolation.reason


async def test_a_server_is_refused_where_nothing_but_the_unit_will_do(board: SlotBoard) -> None:
    board.install("demo", 1, linear(2.0))
    policy = IsolationPolicy(tier="systemd", minimum="systemd")
    served = ServedModels(OsFileSystem(), board.state, board.slots, SystemProcesses(), policy, None)
    try:
        with pytest.raises(StateError, match="systemd at least"):
            await served.serve(SPEC)
    finally:
        await served.stop()


async def test_a_version_that_is_signed_for_more_is_not_taken_and_the_one_before_answers_on(
    board: SlotBoard,
) -> None:
    board.install("demo", 1, linear(2.0))
    async with models(board, tier="seccomp") as served:
        await served.serve(SPEC)
        await until_ready(served)
        board.install("demo", 2, linear(3.0), limits=ModelLimits(isolation="unprivileged"))
        status = await until(served, lambda one: "release 2" in one.reason)
        assert "signed to be opened in the isolation unprivileged at least" in status.reason
        assert (status.state, status.counter) == (ServingState.READY, 1)


async def test_a_server_that_crashes_twice_puts_its_artifact_into_quarantine(
    board: SlotBoard, quarantine: Quarantine
) -> None:
    digest = Slot.parse(board.install("demo", 1, linear(2.0))).digest
    processes = TakenOver("os.kill(os.getpid(), signal.SIGSEGV)")
    async with models(board, processes=processes, quarantine=quarantine) as served:
        await serve_badly(served)
        status = await until(served, lambda one: "quarantine" in one.reason)
        assert status.restarts == 2
        (known,) = quarantine.listing()
        assert (known.digest, known.strike_count, known.quarantined) == (digest, 2, True)
        assert "SIGSEGV" in known.reason
        # A person says otherwise, and the process does no harm any more.
        processes.program = TakenOver("pass").program
        await quarantine.clear(digest)
        assert (await until_ready(served)).reason.startswith("no batching")


async def until_tried(served: ServedModels) -> None:
    """Wait until the shadow has a version."""
    async with asyncio.timeout(30):
        while True:
            (counted,) = await served.telemetry()
            if counted.shadow is not None and counted.shadow.counter:
                return


async def test_a_killed_bystander_is_not_blamed(board: SlotBoard, quarantine: Quarantine) -> None:
    """With two versions open nobody can tell which one took the process down."""
    board.install("demo", 1, linear(2.0))
    board.install("try", 1, linear(2.0))
    async with models(board, quarantine=quarantine) as served:
        await served.serve(ServingSpec(name="demo", batch_max=1, shadow="try"))
        await until_ready(served)
        await until_tried(served)
        pid = served._served["demo"].child.pid  # type: ignore[union-attr]
        os.kill(pid, 11)
        await until(served, lambda one: one.restarts == 1)
        await until_ready(served)
    assert quarantine.listing() == ()


async def test_a_server_that_grows_beyond_what_was_signed_is_killed_and_that_is_a_strike(
    board: SlotBoard, quarantine: Quarantine
) -> None:
    limits = ModelLimits(memory_bytes_max=100 * MiB)
    digest = Slot.parse(board.install("demo", 1, linear(2.0), limits=limits)).digest
    processes = TakenOver("hold = [b'x' * (8 << 20) for _ in range(64)]; time.sleep(60)")
    async with models(board, processes=processes, quarantine=quarantine) as served:
        await serve_badly(served)
        await until(served, lambda one: one.restarts == 1)
        (known,) = quarantine.listing()
    assert (known.digest, known.strike_count) == (digest, 1)
    assert f"passed the signed {100 * MiB}; it was killed" in known.reason


async def test_a_request_that_takes_longer_than_signed_is_killed_and_that_is_a_strike(
    board: SlotBoard, quarantine: Quarantine
) -> None:
    digest = Slot.parse(board.install("demo", 1, linear(2.0), limits=ModelLimits(step_s_max=1))).digest
    processes = TakenOver(HANGS)
    async with models(board, processes=processes, quarantine=quarantine) as served:
        await served.serve(SPEC)
        status = await until_ready(served)
        (scratch,) = (board.state / "scratch").iterdir()
        (scratch / "hang").touch()
        with pytest.raises(OSError, match=r"."):
            await asyncio.to_thread(infer, status)
        await until(served, lambda one: one.restarts == 1)
        (known,) = quarantine.listing()
    assert (known.digest, known.strike_count) == (digest, 1)
    assert known.reason.startswith("a run of release 1 takes longer than 1 s; it was killed")


def infer(status: ServingStatus) -> None:
    body = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]})
    host, _, port = status.spec.http_address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    try:
        connection.request("POST", "/v2/models/demo/infer", body=body.encode())
        connection.getresponse()
    finally:
        connection.close()


@pytest.mark.skipif(
    not isinstance(TaskGroup.make(Path("/"), 8), TaskGroup), reason="no control group that counts tasks"
)
async def test_threads_of_a_served_model_are_bounded(board: SlotBoard) -> None:
    board.install("demo", 1, linear(2.0), limits=ModelLimits(process_count_max=20))
    flood = (
        "count = 0\n    try:\n        for _ in range(1000):\n"
        "            threading.Thread(target=time.sleep, args=(60,), daemon=True).start(); count += 1\n"
        "    except RuntimeError: pass\n    open('told', 'w').write(str(count)); os._exit(0)"
    )
    async with models(board, processes=TakenOver(flood)) as served:
        told: list[int] = []
        asking = asyncio.create_task(serve_badly(served))
        async with asyncio.timeout(60):
            while not told:
                for path in (board.state / "scratch").glob("*/told"):
                    with contextlib.suppress(OSError, ValueError):
                        told.append(int(path.read_text()))
                await asyncio.sleep(0.002)
        await asking
    assert 20 <= told[0] < own_task_count(SPEC) + 20


def test_bounds_are_those_of_all_that_may_be_open_together(board: SlotBoard) -> None:
    spec = ServingSpec(name="demo", shadow="try")
    first = ModelLimits(memory_bytes_max=10, process_count_max=3, step_s_max=5)
    board.install("demo", 1, linear(1.0), limits=first)
    bounds = ServedBounds(board.slots, spec)
    alone = bounds.read(0.0)
    assert (alone.memory_bytes, alone.task_count - own_task_count(spec), alone.step_s) == (10, 3, 5.0)
    second = ModelLimits(memory_bytes_max=20, process_count_max=4, step_s_max=9)
    board.install("demo", 2, linear(2.0), limits=second)
    # Both may be open while one takes over from the other, and one afterwards.
    switching, after = bounds.read(10.0), bounds.read(71.0)
    assert (switching.memory_bytes, switching.task_count - own_task_count(spec)) == (30, 7)
    assert (after.memory_bytes, after.task_count - own_task_count(spec), after.step_s) == (20, 4, 9.0)
    # Nothing was signed for the one that is tried beside it.
    board.install("try", 1, linear(3.0))
    assert bounds.read(80.0).memory_bytes == 0
    assert Slot.parse(board.slots.pointer("try").current).digest in bounds.read(80.0).digests
    assert board.slots.pointer("try").back == Pointer()
