"""Artifacts that took a runner down twice in a row."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.quarantine import KEPT_MAX, Quarantine
from edgeloop_foundation.errors import InvalidInputError, NotFoundError, StateError
from edgeloop_foundation.ports.fs import FileSystem, OsFileSystem
from edgeloop_foundation.ports.simulated_clock import SimulatedClock
from edgeloop_foundation.ports.simulated_fs import SimulatedFileSystem
from edgeloop_protocol.types.run import FailureKind, Outcome

from .conftest import SlowDisk, until

ROOT = Path("/state/quarantine")
CRASH = RunnerFailure(Outcome.DEVICE_ERROR, FailureKind.RUNNER_CRASHED, "the runner died (SIGSEGV).")


def opened(fs: FileSystem, root: Path = ROOT) -> Quarantine:
    found = Quarantine(fs=fs, root=root, clock=SimulatedClock())
    found.open()
    return found


def digest(number: int) -> str:
    return f"{number:064x}"


async def test_two_strikes_in_a_row_and_it_is_opened_no_more_also_after_a_restart() -> None:
    fs = SimulatedFileSystem()
    first = opened(fs)
    await first.note_probe(digest(1), CRASH)
    assert first.refusal(digest(1)) is None
    second = opened(fs)
    await second.note_probe(digest(1), CRASH)
    third = opened(fs)
    refused = third.refusal(digest(1))
    assert refused is not None
    assert (refused.outcome, refused.failure_kind) == (Outcome.UNSUPPORTED, FailureKind.UNFIT_DEVICE)
    assert "2 times in a row" in refused.reason
    assert "SIGSEGV" in refused.reason
    with pytest.raises(StateError, match="--clear"):
        third.check(digest(1))
    third.check(digest(2))


async def test_what_a_client_that_goes_away_cleared_is_cleared_here_too() -> None:
    disk = SlowDisk(ROOT)
    kept = opened(disk)
    for _ in range(2):
        await kept.note_probe(digest(1), CRASH)
    disk.hold()
    clearing = asyncio.create_task(kept.clear("all"))
    await until(disk.holds.is_set)
    clearing.cancel()
    disk.let_go()
    with pytest.raises(asyncio.CancelledError):
        await clearing
    # Whoever comes next waits for it, and does not write beside it.
    await kept.note_probe(digest(2), CRASH)
    assert [one.digest for one in kept.listing()] == [digest(2)]
    assert opened(disk).listing() == kept.listing()


async def test_a_success_between_them_wipes_the_first() -> None:
    kept = opened(SimulatedFileSystem())
    for _ in range(3):
        await kept.note_probe(digest(1), CRASH)
        await kept.note_probe(digest(1), None)
    assert kept.listing() == ()


@pytest.mark.parametrize(
    ("outcome", "kind", "strike"),
    [
        (Outcome.DEVICE_ERROR, FailureKind.RUNNER_CRASHED, True),
        (Outcome.DEVICE_ERROR, FailureKind.OUT_OF_MEMORY, True),
        (Outcome.TIMEOUT, FailureKind.DEADLINE, True),
        (Outcome.HARNESS_ERROR, FailureKind.RUNNER_CRASHED, False),
        (Outcome.USER_ERROR, FailureKind.LOAD_FAILED, False),
        (Outcome.CANCELLED, FailureKind.CANCELLED, False),
        (Outcome.DEVICE_ERROR, FailureKind.UNFIT_DEVICE, False),
    ],
)
async def test_what_is_a_strike(outcome: Outcome, kind: FailureKind, strike: bool) -> None:
    kept = opened(SimulatedFileSystem())
    await kept.note_probe(digest(1), RunnerFailure(outcome, kind, "so it was."))
    assert bool(kept.listing()) is strike


async def test_every_power_cut_leaves_the_strikes_before_or_after() -> None:
    fs = SimulatedFileSystem()
    kept = opened(fs)
    await kept.note_probe(digest(1), CRASH)
    fs.settle()
    await kept.note_probe(digest(1), CRASH)
    found = {opened(crashed).listing()[0].strike_count for crashed in fs.crash_states()}
    assert found == {1, 2}
    assert opened(fs.crash(7)).listing()[0].strike_count == 2


async def test_a_person_opens_it_again() -> None:
    fs = SimulatedFileSystem()
    kept = opened(fs)
    for number in (1, 2):
        await kept.note_probe(digest(number), CRASH)
        await kept.note_probe(digest(number), CRASH)
    with pytest.raises(NotFoundError, match="begins with"):
        await kept.clear("ff")
    with pytest.raises(InvalidInputError):
        await kept.clear("")
    assert await kept.clear(digest(1)) == (digest(1),)
    assert opened(fs).refusal(digest(1)) is None
    assert opened(fs).refusal(digest(2)) is not None
    assert await kept.clear("all") == (digest(2),)
    assert kept.listing() == ()


async def test_only_so_many_are_remembered_and_the_quarantined_stay_longest() -> None:
    kept = opened(SimulatedFileSystem())
    for _ in range(2):
        await kept.note_probe(digest(0), CRASH)
    for number in range(1, KEPT_MAX + 5):
        await kept.note_probe(digest(number), CRASH)
    assert len(kept.listing()) == KEPT_MAX
    assert kept.listing()[0].digest == digest(0)
    assert kept.listing()[0].quarantined


def test_a_spoiled_file_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "quarantine.json").write_bytes(b"\0")
    assert opened(OsFileSystem(), tmp_path).listing() == ()
    assert (tmp_path / "quarantine.corrupt").exists()


async def test_a_full_disk_costs_no_row_and_the_strike_counts_until_the_agent_ends(tmp_path: Path) -> None:
    kept = opened(OsFileSystem(), tmp_path / "q")
    for path in (tmp_path / "q").iterdir():
        path.unlink()
    (tmp_path / "q").rmdir()
    await kept.note_probe(digest(1), CRASH)
    await kept.note_probe(digest(1), CRASH)
    assert kept.refusal(digest(1)) is not None
