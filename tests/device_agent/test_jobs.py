"""Jobs: every trial one row, every state on the disk first, every end reached."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from edgeloop_agent.cool_down import Rests
from edgeloop_agent.execution import Progress
from edgeloop_agent.job_journal import JobJournal
from edgeloop_agent.jobs import Jobs
from edgeloop_agent.leases import Leases
from edgeloop_agent.quarantine import Quarantine
from edgeloop_agent.spool import Spool
from edgeloop_agent.store import ContentStore
from edgeloop_agent.workspace import Workspace
from edgeloop_foundation.errors import (
    AlreadyExistsError,
    BusyError,
    InvalidInputError,
    LeaseError,
    NotFoundError,
    StateError,
)
from edgeloop_foundation.ports.clock import SystemClock
from edgeloop_foundation.ports.simulated_fs import SimulatedFileSystem
from edgeloop_protocol.convert import to_wire
from edgeloop_protocol.types.job import TERMINAL, JobEvent, JobState
from edgeloop_protocol.types.lease import Lease, LeaseRequest
from edgeloop_protocol.types.run import FailureKind, Memory, Outcome, Run
from edgeloop_protocol.types.trial import JobSpec, Trial
from edgeloop_protocol.v1 import run_pb2

from .conftest import QuietBoard, ScriptedExecute, SlowDisk, digest, make_artifact, make_spec, until

ROOT = Path("/state")


class HastyClock(SystemClock):
    """A clock whose waiters are let go at once when they wait for a second or more."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.02))


class Device:
    """Everything around jobs, on one simulated disk; may be opened again on what a crash left."""

    def __init__(self, fs: SimulatedFileSystem) -> None:
        self.fs = fs
        # Copies for a job need not survive a power cut; apart from the rest, they do not multiply its states.
        self.scratch = SimulatedFileSystem()
        self.execute = ScriptedExecute()
        clock = HastyClock()
        self.store = ContentStore(fs, ROOT / "store", store_bytes=1 << 30, reserve_bytes=0)
        self.spool = Spool(fs, ROOT / "spool", reserve_bytes=100)
        self.leases = Leases(fs=fs, clock=clock, root=ROOT / "leases", boot_id="b")
        board = QuietBoard()
        self.rests = Rests(fs=fs, root=ROOT / "leases", board=board)
        self.quarantine = Quarantine(fs=fs, root=ROOT / "quarantine", clock=clock)
        self.jobs = Jobs(
            journal=JobJournal(fs, ROOT / "jobs"),
            clock=clock,
            board=board,
            store=self.store,
            workspace=Workspace(self.scratch, ROOT / "work", self.store),
            spool=self.spool,
            leases=self.leases,
            rests=self.rests,
            quarantine=self.quarantine,
            execute=self.execute,
        )

    def open(self) -> Device:
        self.store.open()
        self.spool.open()
        self.quarantine.open()
        self.scratch.make_directory(ROOT / "work")
        self.jobs.open()
        self.leases.open(self.jobs.highest_fencing_token)
        return self

    async def lease(self) -> Lease:
        wanted = LeaseRequest(request_id="r", holder="test", ttl_s=600.0)
        return [lease async for lease in self.leases.acquire(wanted)][-1]

    async def spec(self, trials: int = 2, label: str = "m") -> JobSpec:
        manifest, blobs = make_artifact(label)
        for data in (manifest, *blobs.values()):
            self.store.put(data)
        lease = await self.lease()
        return dataclasses.replace(
            make_spec(digest(manifest), trials=trials),
            lease_id=lease.lease_id,
            fencing_token=lease.fencing_token,
        )

    async def events(self, job_id: str, after: int = 0) -> list[JobEvent]:
        async with asyncio.timeout(10):
            return [event async for event in self.jobs.watch(job_id, after)]

    def rows(self) -> list[Run]:
        return [row.run for row in self.spool.fetch(0)]


@pytest.fixture
def disk() -> SlowDisk:
    return SlowDisk(ROOT / "jobs")


@pytest.fixture
async def device() -> AsyncIterator[Device]:
    device = Device(SimulatedFileSystem()).open()
    yield device
    await device.jobs.stop()


async def test_rows_are_spooled_before_the_job_is_over(device: Device) -> None:
    device.execute.go_on.set()
    job = await device.jobs.submit(await device.spec())
    assert job.state is JobState.ACCEPTED
    async for event in device.jobs.watch(job.job_id, 0):
        if event.state in TERMINAL:
            assert len(device.rows()) == 2
    assert event.state is JobState.SUCCEEDED
    assert device.jobs.get(job.job_id).state is JobState.SUCCEEDED
    context = device.execute.contexts[0]
    assert [path.parent.name for path in context.directories.values()] == [job.job_id]
    assert not device.scratch.exists(ROOT / "work" / job.job_id)
    assert [row.run_id for row in device.rows()] == list({row.run_id: 1 for row in device.rows()})


async def test_a_directory_holds_the_artifact_under_its_names(device: Device) -> None:
    spec = await device.spec(trials=1)
    await device.jobs.submit(spec)
    await device.execute.started.wait()
    (directory,) = device.execute.contexts[0].directories.values()
    names = [name for name, _ in device.scratch.entries(directory)]
    assert names == ["manifest.json", "model.onnx"]
    assert device.scratch.read(directory / "model.onnx") == b"model m"
    device.execute.go_on.set()


async def test_one_job_at_a_time_and_the_same_request_is_the_same_job(device: Device) -> None:
    spec = await device.spec()
    job = await device.jobs.submit(spec)
    assert (await device.jobs.submit(spec)).job_id == job.job_id
    with pytest.raises(AlreadyExistsError):
        await device.jobs.submit(dataclasses.replace(spec, deadline_s=5.0))
    other = dataclasses.replace(spec, request_id="another")
    with pytest.raises(BusyError, match="still runs"):
        await device.jobs.submit(other)
    device.execute.go_on.set()
    await device.events(job.job_id)
    assert (await device.jobs.submit(spec)).state is JobState.SUCCEEDED
    assert (await device.jobs.submit(other)).job_id != job.job_id


async def test_cancel_stops_a_running_job_and_has_no_effect_later(device: Device) -> None:
    job = await device.jobs.submit(await device.spec())
    await device.execute.started.wait()
    assert (await device.jobs.cancel(job.job_id)).state is JobState.CANCELLING
    assert (await device.jobs.cancel(job.job_id)).state in (JobState.CANCELLING, JobState.CANCELLED)
    assert (await device.events(job.job_id))[-1].state is JobState.CANCELLED
    assert {row.outcome for row in device.rows()} == {Outcome.CANCELLED}
    assert (await device.jobs.cancel(job.job_id)).state is JobState.CANCELLED


async def test_cancel_before_the_start_yields_rows_too(device: Device) -> None:
    job = await device.jobs.submit(await device.spec())
    await device.jobs.cancel(job.job_id)
    assert (await device.events(job.job_id))[-1].state is JobState.CANCELLED
    assert [row.outcome for row in device.rows()] == [Outcome.CANCELLED] * 2


async def test_a_cancel_in_the_moment_of_the_end_leaves_the_device_free(disk: SlowDisk) -> None:
    """The benchmark ends while the disk still takes the word that it shall stop."""
    device = Device(disk).open()
    job = await device.jobs.submit(await device.spec())
    await device.execute.started.wait()
    disk.hold()
    cancelling = asyncio.create_task(device.jobs.cancel(job.job_id))
    await until(disk.holds.is_set)
    device.execute.go_on.set()
    # The benchmark's end reaches the job within a few turns of the loop.
    await asyncio.sleep(0.05)
    disk.let_go()
    assert (await cancelling).state is not JobState.RUNNING
    assert (await device.events(job.job_id))[-1].state is JobState.CANCELLED
    assert [row.outcome for row in device.rows()] == [Outcome.SUCCESS] * 2
    job = await device.jobs.submit(await device.spec(label="n"))
    assert (await device.events(job.job_id))[-1].state is JobState.SUCCEEDED


async def test_a_submission_whose_client_goes_away_is_one_job(disk: SlowDisk) -> None:
    device = Device(disk).open()
    spec = await device.spec()
    disk.hold()
    submitting = asyncio.create_task(device.jobs.submit(spec))
    await until(disk.holds.is_set)
    submitting.cancel()
    await asyncio.wait({submitting})
    disk.let_go()
    device.execute.go_on.set()
    job = await device.jobs.submit(spec)
    assert (await device.events(job.job_id))[-1].state is JobState.SUCCEEDED
    await device.jobs.stop()
    again = Device(device.fs).open()
    assert [row.job_id for row in again.rows()] == [job.job_id] * 2


async def test_a_cancel_whose_client_goes_away_stops_the_job(disk: SlowDisk) -> None:
    device = Device(disk).open()
    job = await device.jobs.submit(await device.spec())
    await device.execute.started.wait()
    disk.hold()
    cancelling = asyncio.create_task(device.jobs.cancel(job.job_id))
    await until(disk.holds.is_set)
    cancelling.cancel()
    await asyncio.wait({cancelling})
    disk.let_go()
    assert (await device.events(job.job_id))[-1].state is JobState.CANCELLED


@pytest.mark.parametrize(
    "poison",
    [
        {"runtime_version": "\ud800"},
        {"memory": Memory(pss_bytes=1 << 80)},
        {"log_tail": "x" * (5 << 20)},
    ],
    ids=["no-unicode", "beyond-64-bits", "too-long"],
)
async def test_a_record_that_nobody_could_fetch_does_not_enter_the_spool(
    device: Device, poison: dict[str, Any]
) -> None:
    device.execute.go_on.set()
    device.execute.poison = poison
    job = await device.jobs.submit(await device.spec())
    assert (await device.events(job.job_id))[-1].state is JobState.SUCCEEDED
    bad, fine = device.rows()
    assert bad.outcome is Outcome.HARNESS_ERROR
    assert "cannot be sent" in bad.failure_reason
    assert fine.outcome is Outcome.SUCCESS
    for run in (bad, fine):
        assert to_wire(run, run_pb2.Run()).ByteSize() < 4 << 20


async def test_a_deadline_ends_the_job(device: Device) -> None:
    spec = dataclasses.replace(await device.spec(), deadline_s=0.01)
    job = await device.jobs.submit(spec)
    last = (await device.events(job.job_id))[-1]
    assert last.state is JobState.TIMED_OUT
    assert "0.01 s" in last.message
    assert {row.failure_kind for row in device.rows()} == {FailureKind.DEADLINE}


async def test_a_benchmark_that_ignores_the_stop_is_abandoned(device: Device) -> None:
    device.execute.obeys = False
    job = await device.jobs.submit(await device.spec())
    await device.execute.started.wait()
    await device.jobs.cancel(job.job_id)
    assert (await device.events(job.job_id))[-1].state is JobState.CANCELLED
    assert [row.outcome for row in device.rows()] == [Outcome.CANCELLED] * 2


async def test_a_fault_of_ours_is_a_row_and_the_device_goes_on(device: Device) -> None:
    device.execute.go_on.set()
    device.execute.fails_with = RuntimeError("bug")
    job = await device.jobs.submit(await device.spec())
    last = (await device.events(job.job_id))[-1]
    assert (last.state, last.message) == (JobState.FAILED, "RuntimeError: bug")
    assert {row.outcome for row in device.rows()} == {Outcome.HARNESS_ERROR}
    device.execute.fails_with = None
    job = await device.jobs.submit(await device.spec(label="n"))
    assert (await device.events(job.job_id))[-1].state is JobState.SUCCEEDED


async def test_one_spoiled_artifact_does_not_hurt_the_other_trial(device: Device) -> None:
    device.execute.go_on.set()
    spec = await device.spec(trials=1)
    bad_manifest, bad_blobs = make_artifact("bad")
    for data in (bad_manifest, *bad_blobs.values()):
        device.store.put(data)
    both = (*spec.trials, Trial(trial_id="bad", label="bad", artifact_digest=digest(bad_manifest)))
    path = device.store.blobs / digest(*bad_blobs.values())
    device.fs.remove(path)
    file = device.fs.create(path)
    file.write(b"x" * len(next(iter(bad_blobs.values()))))
    file.close()
    job = await device.jobs.submit(dataclasses.replace(spec, trials=both))
    assert (await device.events(job.job_id))[-1].state is JobState.SUCCEEDED
    outcomes = {row.trial.trial_id: (row.outcome, row.failure_kind) for row in device.rows()}
    assert outcomes["t0"][0] is Outcome.SUCCESS
    assert outcomes["bad"] == (Outcome.DEVICE_ERROR, FailureKind.CORRUPT_ARTIFACT)


async def test_the_copies_of_a_job_leave_the_reserve_to_its_results() -> None:
    disk = SimulatedFileSystem(capacity_bytes=10_000)
    store = ContentStore(disk, ROOT / "store", store_bytes=1 << 30, reserve_bytes=0)
    store.open()
    manifest, blobs = make_artifact()
    for data in (manifest, *blobs.values()):
        store.put(data)
    free = disk.free_bytes(ROOT)
    tight = Workspace(disk, ROOT / "work", store, reserve_bytes=free)
    tight.open()
    with pytest.raises(BusyError, match="reserve"):
        tight.materialise("job", digest(manifest))
    roomy = Workspace(disk, ROOT / "work", store, reserve_bytes=free - 5000)
    assert disk.exists(roomy.materialise("job", digest(manifest)) / "model.onnx")


async def test_wrong_submissions_are_refused_at_once(device: Device) -> None:
    spec = await device.spec()
    with pytest.raises(LeaseError):
        await device.jobs.submit(dataclasses.replace(spec, fencing_token=spec.fencing_token + 1))
    for digest_text, error in (("0" * 64, StateError), ("../x", InvalidInputError)):
        trial = dataclasses.replace(spec.trials[0], artifact_digest=digest_text)
        with pytest.raises(error):
            await device.jobs.submit(dataclasses.replace(spec, trials=(trial,)))
    for seconds in (float("nan"), 1e9):
        with pytest.raises(InvalidInputError):
            await device.jobs.submit(dataclasses.replace(spec, deadline_s=seconds))
    for change in ({"rounds": 1001}, {"batch_s": float("nan")}, {"steady_s_max": float("inf")}):
        benchmark = dataclasses.replace(spec.benchmark, **change)
        with pytest.raises(InvalidInputError, match=next(iter(change))):
            await device.jobs.submit(dataclasses.replace(spec, benchmark=benchmark))
    for change, words in (
        ({"interleave": "batch", "arrival": "paced", "rate_hz": 10.0}, "interleave 'batch'"),
        ({"arrival": "open_poisson", "rate_hz": 900_000.0, "steady_s_max": 50.0}, "a schedule of"),
        ({"arrival": "open_poisson", "rate_hz": float("nan")}, "rate_hz"),
        ({"scenario": "server", "rate_hz": 1e5, "latency_bound_s": 1.0}, "the server scenario"),
        ({"sustained_s": 3600.0, "window_s": 0.1}, "at most 2000 windows"),
        ({"sustained_s": float("nan")}, "sustained_s"),
    ):
        benchmark = dataclasses.replace(spec.benchmark, **{"scenario_s_min": 60.0, **change})  # type: ignore[arg-type]
        with pytest.raises(InvalidInputError, match=words):
            await device.jobs.submit(dataclasses.replace(spec, benchmark=benchmark))
    hostile = device.store.put(b'{"files": [{"name": "../../etc/passwd"}]}')
    trial = dataclasses.replace(spec.trials[0], artifact_digest=hostile)
    with pytest.raises(InvalidInputError):
        await device.jobs.submit(dataclasses.replace(spec, trials=(trial,)))
    with pytest.raises(NotFoundError):
        device.jobs.get("none")


async def test_an_ended_lease_cancels_its_job(device: Device) -> None:
    spec = await device.spec()
    job = await device.jobs.submit(spec)
    await device.execute.started.wait()
    await device.leases.release(spec.lease_id, spec.fencing_token)
    assert device.jobs.get(job.job_id).state is JobState.CANCELLED


async def test_stopping_the_agent_interrupts_the_job_on_record(device: Device) -> None:
    job = await device.jobs.submit(await device.spec())
    await device.execute.started.wait()
    await device.jobs.stop()
    assert device.jobs.get(job.job_id).state is JobState.INTERRUPTED
    assert {row.failure_kind for row in device.rows()} == {FailureKind.INTERRUPTED}


async def test_results_wait_for_a_full_disk(device: Device) -> None:
    job = await device.jobs.submit(await device.spec())
    await device.execute.started.wait()
    start = device.fs.operation_count
    for offset in range(6):
        device.fs.fail_at(start + offset, OSError(errno.ENOSPC, "full"))
    device.execute.go_on.set()
    last = (await device.events(job.job_id))[-1]
    assert last.state in (JobState.SUCCEEDED, JobState.FAILED)
    assert len(device.rows()) == 2


async def test_a_slow_watcher_misses_nothing_beside_a_quick_one(device: Device) -> None:
    job = await device.jobs.submit(await device.spec())
    await device.execute.started.wait()
    slow, quick = device.jobs.watch(job.job_id, 0), device.jobs.watch(job.job_id, 0)
    report = device.execute.contexts[0].report
    known = device.jobs.get(job.job_id).last_sequence
    for _ in range(known):
        await anext(slow)
        await anext(quick)
    waiting = asyncio.ensure_future(anext(quick))
    await asyncio.sleep(0)
    report(Progress(message="news"))
    assert (await waiting).message == "news"
    waiting = asyncio.ensure_future(anext(quick))
    await asyncio.sleep(0)
    late = asyncio.ensure_future(anext(slow))
    await asyncio.sleep(0)
    assert late.done()
    assert late.result().message == "news"
    waiting.cancel()
    await asyncio.wait({waiting})
    for watcher in (slow, quick):
        await watcher.aclose()
    device.execute.go_on.set()


async def test_a_watcher_comes_back_with_its_number(device: Device) -> None:
    job = await device.jobs.submit(await device.spec())
    await device.execute.started.wait()
    seen = [event.sequence for event in await _first(device, job.job_id, 3)]
    device.execute.go_on.set()
    rest = [event.sequence for event in await device.events(job.job_id, seen[-1])]
    assert [*seen, *rest] == list(range(1, len(seen) + len(rest) + 1))
    (again,) = await device.events(job.job_id, rest[-1])
    assert again.state is JobState.SUCCEEDED
    assert again.sequence > rest[-1]


async def _first(device: Device, job_id: str, count: int) -> list[JobEvent]:
    found: list[JobEvent] = []
    async for event in device.jobs.watch(job_id, 0):
        found.append(event)
        if len(found) == count:
            break
    return found


async def test_a_power_cut_at_any_moment_leaves_one_row_per_trial() -> None:
    fs = SimulatedFileSystem()
    device = Device(fs).open()
    spec = await device.spec()
    fs.settle()
    device.execute.go_on.set()
    job = await device.jobs.submit(spec)
    await device.events(job.job_id)
    await until(lambda: device.jobs.get(job.job_id).state in TERMINAL)
    ids = [row.run_id for row in device.rows()]
    ends = set()
    for crashed in fs.crash_states():
        again = Device(crashed).open()
        rows = again.rows()
        if not again.jobs._records:
            assert rows == []
            continue
        state = again.jobs.get(job.job_id).state
        ends.add(state)
        assert state in (JobState.SUCCEEDED, JobState.INTERRUPTED)
        assert [row.run_id for row in rows] == ids
        if state is JobState.SUCCEEDED:
            assert {row.outcome for row in rows} == {Outcome.SUCCESS}
        assert (await again.jobs.submit(spec)).job_id == job.job_id
        (event,) = await again.events(job.job_id, 1000)
        assert (event.state, event.sequence) == (state, 1001)
        assert [row.run_id for row in Device(crashed).open().rows()] == ids
    assert ends == {JobState.SUCCEEDED, JobState.INTERRUPTED}


async def test_a_job_that_was_accepted_is_known_after_a_power_cut() -> None:
    """Whoever was told its identifier must find it again, whatever the device had begun by then."""
    for seed in range(8):
        fs = SimulatedFileSystem()
        device = Device(fs).open()
        spec = await device.spec()
        job = await device.jobs.submit(spec)
        again = Device(fs.crash(seed)).open()
        await device.jobs.stop()
        assert again.jobs.get(job.job_id).state is JobState.INTERRUPTED
        assert [row.trial.trial_id for row in again.rows()] == ["t0", "t1"]


async def test_acknowledged_rows_do_not_come_again_after_a_crash() -> None:
    fs = SimulatedFileSystem()
    device = Device(fs).open()
    device.execute.go_on.set()
    spec = await device.spec()
    job = await device.jobs.submit(spec)
    await device.events(job.job_id)
    record = device.jobs._records[job.job_id]
    # As a crash between the last row and the end of the job leaves it, the rows fetched in between.
    JobJournal(fs, ROOT / "jobs").write(
        dataclasses.replace(record, state=JobState.RUNNING, spec=spec, final_state=JobState.SUCCEEDED)
    )
    device.spool.acknowledge(device.spool.epoch, 2)
    again = Device(fs).open()
    assert again.rows() == []
    assert again.jobs.get(job.job_id).state is JobState.SUCCEEDED


async def test_only_the_last_jobs_are_kept(device: Device) -> None:
    journal = JobJournal(device.fs, ROOT / "jobs")
    device.execute.go_on.set()
    job = await device.jobs.submit(await device.spec())
    await device.events(job.job_id)
    record = device.jobs._records[job.job_id]
    for number in range(250):
        journal.write(dataclasses.replace(record, job_id=f"j{number}", request_id=f"r{number}", order=number))
    again = Device(device.fs).open()
    assert len(again.jobs._records) == 200
    assert len([name for name, _ in device.fs.entries(ROOT / "jobs")]) == 200
    with pytest.raises(NotFoundError):
        again.jobs.get("j0")


async def test_a_model_that_takes_its_runner_down_twice_is_refused_by_the_third_job() -> None:
    device = Device(SimulatedFileSystem()).open()
    device.execute.go_on.set()
    device.execute.poison = {
        "outcome": Outcome.DEVICE_ERROR,
        "failure_kind": FailureKind.RUNNER_CRASHED,
        "failure_reason": "the runner died during infer (SIGSEGV).",
    }
    spec = await device.spec()
    artifact = spec.trials[0].artifact_digest
    for number in range(3):
        job = await device.jobs.submit(dataclasses.replace(spec, request_id=str(number)))
        await device.events(job.job_id)
    refusals = [context.refusal(artifact) for context in device.execute.contexts[:2]]
    # Asked now, when both strikes are there: the same rule is behind every job.
    assert [refusal is not None for refusal in refusals] == [True, True]
    assert device.quarantine.listing()[0].strike_count == 3
    again = Device(device.fs).open()
    assert again.quarantine.listing()[0].quarantined
