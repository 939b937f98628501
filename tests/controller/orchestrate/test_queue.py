"""The queue of a daemon, with the real process of each experiment."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest
from edgeloop.app import App
from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.experiment import ExperimentRequest
from edgeloop.domain.inventory import InventoryEntry
from edgeloop.domain.queue import ATTEMPTS_MAX, QueuedExperiment, QueueState, Submission, SubmittedFile
from edgeloop.orchestrate.from_afar import KnownDevices
from edgeloop.orchestrate.queue import QueueDesk
from edgeloop_foundation.errors import InvalidInputError, NotFoundError, StateError

from .test_experiment import small_model

S = QueueState
NAMED = DeviceSpec(name="lab", transport="grpc", address="unix:/nowhere/a.sock")


def resolve(words: Sequence[str]) -> tuple[DeviceSpec, ...]:
    return tuple(NAMED if word == "lab" else DeviceSpec.parse(word) for word in words)


KNOWN = KnownDevices(resolve=resolve, entries=lambda: (InventoryEntry(spec=NAMED),))


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    with App.open(tmp_path / "home") as opened:
        yield opened


def keep(desk: QueueDesk, content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()
    with desk.uploads.begin(digest, len(content)) as upload:
        upload.write(content)
        upload.keep()
    return digest


def submission(digest: str, *on: str, priority: int = 0) -> Submission:
    return Submission(
        request=ExperimentRequest(model="m.onnx", devices=()),
        files=(SubmittedFile(path="m.onnx", digest=digest),),
        on=on or ("sim:nuc11",),
        priority=priority,
    )


@contextlib.asynccontextmanager
async def working(desk: QueueDesk) -> AsyncIterator[None]:
    task = asyncio.create_task(desk.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await desk.stop()


async def until(desk: QueueDesk, name: str, *states: QueueState) -> QueuedExperiment:
    async with asyncio.timeout(60):
        while True:
            if (entry := desk.get(name)).state in states:
                return entry
            await asyncio.sleep(0.05)


async def test_what_cannot_be_used_fails_with_its_reason_and_the_next_one_runs(app: App) -> None:
    desk = QueueDesk(app, KNOWN)
    digest = keep(desk, b"no model at all")
    async with working(desk):
        first = await desk.submit(submission(digest), "operator token")
        second = await desk.submit(submission(digest), "operator token")
        ended = await until(desk, first.queue_id, S.FAILED)
        assert (ended.error_kind, ended.attempt_count) == ("InvalidInputError", 1)
        assert "m.onnx" in ended.reason
        news = await desk.news(first.queue_id, 0, 0.0)
        assert [(one.kind, one.text) for one in news.happenings][:1] == [("phase", "Model and data")]
        assert news.sequence == news.happenings[-1].number
        await until(desk, second.queue_id, S.FAILED)
    assert list((app.state_directory / "work" / "queued").iterdir()) == [], "its files are gone"
    audit = [json.loads(line) for line in (app.state_directory / "audit.jsonl").read_text().splitlines()]
    assert [line["action"] for line in audit] == ["asked: experiment"] * 2


async def running(desk: QueueDesk, model: bytes) -> QueuedExperiment:
    entry = await desk.submit(submission(keep(desk, model)), "me")
    await until(desk, entry.queue_id, S.RUNNING)
    async with asyncio.timeout(60):
        while not (await desk.news(entry.queue_id, 0, 10.0)).happenings:
            pass
    return desk.get(entry.queue_id)


async def test_one_that_waits_and_one_that_runs_are_called_off(app: App, tmp_path: Path) -> None:
    desk = QueueDesk(app, KNOWN)
    async with working(desk):
        first = await running(desk, small_model(tmp_path).read_bytes())
        second = await desk.submit(first.submission, "me")
        assert second.state is S.QUEUED
        gone = await desk.cancel(second.queue_id, "operator token")
        assert (gone.state, gone.attempt_count) == (S.CANCELLED, 0)
        gone = await desk.cancel(first.queue_id, "operator token")
        assert (gone.state, gone.reason) == (S.CANCELLED, "it was called off by operator token.")
        for entry in (first, second):
            with pytest.raises(StateError, match="cancelled"):
                await desk.cancel(entry.queue_id, "operator token")
    assert not app.records.is_finished(first.experiment_id)


async def test_a_process_that_is_killed_fails_its_experiment_alone(app: App, tmp_path: Path) -> None:
    desk = QueueDesk(app, KNOWN)
    async with working(desk):
        entry = await running(desk, small_model(tmp_path).read_bytes())
        lock = app.state_directory / "work" / "queued" / entry.experiment_id / "lock"
        os.kill(holder(lock), signal.SIGKILL)
        ended = await until(desk, entry.queue_id, S.FAILED)
        assert "ended by signal 9 (SIGKILL)" in ended.reason


def holder(lock: Path) -> int:
    """Return the process that has the file open besides this one."""
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and int(process.name) != os.getpid():
            with contextlib.suppress(OSError):
                if any(link.readlink() == lock for link in (process / "fd").iterdir()):
                    return int(process.name)
    raise AssertionError(f"nobody holds {lock}")


async def test_what_ran_when_the_daemon_ended_begins_anew(app: App, tmp_path: Path) -> None:
    desk = QueueDesk(app, KNOWN)
    async with working(desk):
        entry = await running(desk, small_model(tmp_path).read_bytes())
    left = desk.get(entry.queue_id)
    assert (left.state, left.reason) == (S.INTERRUPTED, "the server ended while it ran.")
    again = QueueDesk(app, KNOWN)
    async with working(again):
        begun = await until(again, entry.queue_id, S.RUNNING)
        assert begun.attempt_count == 2
        assert begun.experiment_id != entry.experiment_id
        await again.cancel(entry.queue_id, "me")


async def test_what_a_killed_daemon_left_is_found(app: App) -> None:
    store, desk = app.records.queue(), QueueDesk(app, KNOWN)
    digest = keep(desk, b"no model")
    for name in ("1" * 32, "2" * 32):
        store.add(name, submission(digest), submitted_by="me", now_s=1.0)
        store.begin(name, f"e{name}", 2.0)
    # The second one has brought the daemon down each time.
    for _ in range(ATTEMPTS_MAX - 1):
        desk._recovered(store.get("2" * 32))
        store.begin("2" * 32, "e2", 3.0)
    async with working(QueueDesk(app, KNOWN)):
        ended = await until(desk, "1" * 32, S.FAILED)
        assert (ended.attempt_count, ended.error_kind) == (2, "InvalidInputError")
    given_up = store.get("2" * 32)
    assert given_up.state is S.FAILED
    assert f"ended {ATTEMPTS_MAX} times" in given_up.reason


@pytest.mark.parametrize(
    "word",
    ["x=unix:/run/a.sock", "grpc://10.0.0.1:80", "ssh:root@10.0.0.1", "sim:/etc/board.toml", "sim:../x"],
)
async def test_addresses_from_afar_are_not_reached(app: App, word: str) -> None:
    desk = QueueDesk(app, KNOWN)
    with pytest.raises(InvalidInputError, match="not in the server's inventory"):
        await desk.submit(submission(keep(desk, b"m"), word), "me")
    assert desk.all() == ()


async def test_what_is_wrong_is_said_when_it_is_handed_in(app: App) -> None:
    desk = QueueDesk(app, KNOWN)
    with pytest.raises(NotFoundError, match=r"1 of its files are not on the server, among them m\.onnx"):
        await desk.submit(submission("b" * 64, "lab"), "me")
    good = submission(keep(desk, b"m"), "lab")
    with pytest.raises(InvalidInputError, match="identifier"):
        await desk.submit(good, "me", "../x")
    assert (await desk.submit(good, "me", "1" * 32)).queue_id == "1" * 32
    assert len(desk.all()) == 1
