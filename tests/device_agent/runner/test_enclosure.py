"""The tier "bubblewrap": what is there within, what is told where it cannot be had, and how a death within is told."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from edgeloop_agent.board import RealBoard
from edgeloop_agent.enclosure import Enclosure, innermost, status_within
from edgeloop_agent.execute import execute
from edgeloop_agent.isolation_policy import IsolationPolicy
from edgeloop_foundation.ports.process import SystemProcesses
from edgeloop_protocol.types.run import FailureKind, Outcome

from scripts.heavy.hostile_agent import RUNNER
from tests.device_agent.runner.test_hostile import TAKEN_OVER, outcome_of


class TakenOver:
    """Starts the runner within what encloses it, with code in it that does what it likes once a model is opened."""

    def __init__(self, attempts: str) -> None:
        self._program = TAKEN_OVER.format(attempts=attempts)

    async def spawn(self, argv: Any, env: Any, cwd: str | None = None) -> Any:
        if RUNNER in argv and "--describe" not in argv:
            at = argv.index(RUNNER)
            argv = (*argv[: at - 1], "-c", self._program, *argv[at + 1 :])
        return await SystemProcesses().spawn(argv, env, cwd)


@pytest.fixture
async def enclosed(bench: Any) -> Any:
    reason = await Enclosure(SystemProcesses()).refusal()
    if reason:
        pytest.skip(reason)
    bench.isolation = IsolationPolicy(tier="bubblewrap", minimum="bubblewrap")
    return bench


async def test_a_model_is_measured_within_and_the_board_sees_the_runner_itself(
    enclosed: Any, workshop: Any, quick: Any
) -> None:
    (run,) = await execute(enclosed.context(workshop.mlp(), benchmark=quick))
    assert run.outcome is Outcome.SUCCESS, run.failure_reason
    layers = dict(run.isolation.layers)
    assert (run.isolation.tier, run.isolation.reason) == ("bubblewrap", "")
    assert layers["own_files"]
    assert layers["own_processes"]
    assert layers["own_network"]
    assert layers["no_sockets"]
    facts = await enclosed.board.facts()
    assert next(one for one in facts.runtimes if one.name == "onnxruntime").version


async def test_a_runner_that_was_taken_over_finds_nothing_there(
    enclosed: Any, workshop: Any, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("key")
    told_outside = tmp_path / "told"
    enclosed.processes = TakenOver(
        f"lambda: open({str(tmp_path / 'secret')!r}), lambda: open({str(told_outside)!r}, 'w'), "
        "lambda: open('/etc/passwd'), lambda: os.fork(), lambda: subprocess.run(['/bin/true']), "
        "lambda: socket.create_connection(('127.0.0.1', 9)), lambda: os.mkdir('/usr/escaped'), "
        "lambda: os.listdir('/proc/1/fd'), lambda: os.listdir('/sys/fs')"
    )
    run, _ = await outcome_of(enclosed, workshop.mlp())
    assert (run.outcome, run.failure_kind) == (Outcome.DEVICE_ERROR, FailureKind.RUNNER_CRASHED)
    assert "exit status 9" in run.failure_reason
    told = run.log_tail.split()
    assert len(told) == 9
    assert "escaped" not in told
    assert not told_outside.exists()


async def test_nothing_is_shown_twice(tmp_path: Path) -> None:
    words = Enclosure(SystemProcesses()).wrap(("true",), readable=(), writable=(tmp_path,))
    shown = [Path(words[at + 1]) for at, word in enumerate(words) if word == "--ro-bind"]
    assert Path("/usr") in shown
    assert not [path for path in shown if any(other in path.parents for other in shown)]


WITHOUT_LANDLOCK = """
from edgeloop_agent.runner.sandbox import enter
def restrict(*_, **__):
    raise OSError(95, "Operation not supported")
enter.restrict = restrict
from edgeloop_agent.runner.__main__ import main
main()
"""


async def test_a_kernel_without_landlock_has_the_files_absent(
    enclosed: Any, workshop: Any, quick: Any
) -> None:
    enclosed.processes = TakenOver("")
    enclosed.processes._program = WITHOUT_LANDLOCK
    (run,) = await execute(enclosed.context(workshop.mlp(), benchmark=quick))
    assert (run.outcome, run.isolation.tier) == (Outcome.SUCCESS, "bubblewrap"), run.failure_reason
    layers = dict(run.isolation.layers)
    assert layers["no_read_outside"]
    assert layers["no_write_outside"]


async def test_a_signal_within_is_told_as_one(enclosed: Any, workshop: Any) -> None:
    enclosed.processes = TakenOver("lambda: os.kill(os.getpid(), 11),")
    run, _ = await outcome_of(enclosed, workshop.mlp())
    assert (run.outcome, run.failure_kind) == (Outcome.DEVICE_ERROR, FailureKind.RUNNER_CRASHED)
    assert "SIGSEGV" in run.failure_reason
    assert [status_within(status) for status in (0, 9, 128, 139, -9)] == [0, 9, 128, -11, -9]


async def test_a_board_without_the_program_says_so_and_takes_the_next_tier(
    bench: Any, workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    bench.isolation = IsolationPolicy(tier="bubblewrap")
    run, _ = await outcome_of(bench, workshop.mlp())
    assert run.outcome is Outcome.SUCCESS
    assert run.isolation.tier != "bubblewrap"
    assert "the program bwrap is not installed" in run.isolation.reason
    bench.isolation = IsolationPolicy(tier="bubblewrap", minimum="bubblewrap")
    run, _ = await outcome_of(bench, workshop.mlp())
    assert (run.outcome, run.failure_kind) == (Outcome.UNSUPPORTED, FailureKind.UNFIT_DEVICE)
    assert "the program bwrap is not installed" in run.failure_reason


async def test_a_kernel_that_refuses_the_program_is_told_in_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuses = tmp_path / "bwrap"
    refuses.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    refuses.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda _: str(refuses))
    enclosure = Enclosure(SystemProcesses())
    assert await enclosure.refusal() == "bubblewrap: bwrap: No permissions to create new namespace"


async def test_a_program_that_claims_to_enclose_and_does_not_reaches_no_such_tier(
    bench: Any, workshop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tier is what is found within, and not what was started."""
    pretends = tmp_path / "bwrap"
    pretends.write_text('#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done\nshift\nexec "$@"\n')
    pretends.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda _: str(pretends))
    bench.isolation = IsolationPolicy(tier="bubblewrap")
    run, _ = await outcome_of(bench, workshop.mlp())
    assert run.outcome is Outcome.SUCCESS, run.failure_reason
    assert run.isolation.tier != "bubblewrap"
    layers = dict(run.isolation.layers)
    assert not (layers["own_files"])
    assert not (layers["own_processes"])


def test_the_last_of_a_chain_of_processes_is_found(tmp_path: Path) -> None:
    for pid, parent in ((10, 1), (11, 10), (12, 11), (20, 1), (21, 20), (22, 20)):
        directory = tmp_path / "proc" / str(pid)
        directory.mkdir(parents=True)
        (directory / "stat").write_text(f"{pid} (a (strange) name) S {parent} 0 0")
    assert innermost(tmp_path, 10) == 12
    # A parent of two is what is meant itself.
    assert innermost(tmp_path, 20) == 20


async def test_the_probe_of_the_helper_is_made_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    looked: list[str] = []
    monkeypatch.setattr(shutil, "which", lambda name: looked.append(name))
    board = RealBoard(tmp_path, "b", SystemProcesses(), isolation=IsolationPolicy(tier="bubblewrap"))
    await board.facts()
    await board._places.choose(("true",), tmp_path, ())
    assert looked.count("bwrap") == 1
