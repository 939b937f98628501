"""The queue of experiments on disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from edgeloop.domain.experiment import ExperimentRequest
from edgeloop.domain.queue import QueueEvent, QueueState, Submission, SubmittedFile
from edgeloop.store.database import Database
from edgeloop.store.records import RecordStore
from edgeloop.store.schema import MIGRATIONS
from edgeloop_foundation.errors import AlreadyExistsError, NotFoundError, StateError


def submission(priority: int = 0) -> Submission:
    return Submission(
        request=ExperimentRequest(model="m.onnx", devices=()),
        files=(SubmittedFile(path="m.onnx", digest="a" * 64),),
        on=("sim:nuc11",),
        priority=priority,
    )


@pytest.fixture
def records(tmp_path: Path) -> Iterator[RecordStore]:
    store = RecordStore.open(tmp_path / "records.sqlite")
    yield store
    store.close()


def test_a_higher_priority_goes_first_and_equals_in_their_order(records: RecordStore) -> None:
    queue = records.queue()
    for name, priority in (("1" * 32, 0), ("2" * 32, 5), ("3" * 32, 5), ("4" * 32, -1)):
        queue.add(name, submission(priority), submitted_by="me", now_s=1.0)
    order = []
    while (first := queue.first_queued()) is not None:
        order.append(first.queue_id[0])
        queue.begin(first.queue_id, f"e{first.queue_id}", 2.0)
    assert order == ["2", "3", "1", "4"]
    assert [entry.queue_id[0] for entry in queue.all()] == ["4", "3", "2", "1"]


def test_what_happened_is_there_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "records.sqlite"
    store = RecordStore.open(path)
    store.queue().add("1" * 32, submission(), submitted_by="operator token", now_s=1.0)
    store.queue().begin("1" * 32, "e1", 2.0)
    store.queue().move("1" * 32, QueueEvent.FAIL, "no.", ended_s=3.0, error_kind="NotFoundError")
    store.close()
    again = RecordStore.open(path)
    entry = again.queue().get("e1")
    again.close()
    assert (entry.state, entry.reason, entry.error_kind) == (QueueState.FAILED, "no.", "NotFoundError")
    assert (entry.attempt_count, entry.started_wall_s, entry.ended_wall_s) == (1, 2.0, 3.0)
    assert entry.submission == submission()


def test_the_same_is_handed_in_once_under_its_identifier(records: RecordStore) -> None:
    queue = records.queue()
    first = queue.add("1" * 32, submission(), submitted_by="me", now_s=1.0)
    assert queue.add("1" * 32, submission(), submitted_by="me", now_s=2.0) == first
    with pytest.raises(AlreadyExistsError):
        queue.add("1" * 32, submission(1), submitted_by="me", now_s=2.0)
    assert len(queue.all()) == 1


def test_what_cannot_happen_changes_nothing(records: RecordStore) -> None:
    queue = records.queue()
    queue.add("1" * 32, submission(), submitted_by="me", now_s=1.0)
    queue.move("1" * 32, QueueEvent.CANCEL, "no more.", ended_s=2.0)
    with pytest.raises(StateError, match="cancelled"):
        queue.begin("1" * 32, "e1", 3.0)
    assert queue.get("1" * 32).attempt_count == 0


def test_a_beginning_is_enough_where_it_means_one(records: RecordStore) -> None:
    queue = records.queue()
    for name in ("12" * 16, "13" * 16):
        queue.add(name, submission(), submitted_by="me", now_s=1.0)
    assert queue.get("12").queue_id == "12" * 16
    for word in ("1", "9", "", "%"):
        with pytest.raises(NotFoundError):
            queue.get(word)


def test_an_earlier_file_gets_the_table_and_keeps_a_copy(tmp_path: Path) -> None:
    path = tmp_path / "records.sqlite"
    Database(path, MIGRATIONS[:4]).close()
    store = RecordStore.open(path)
    assert store.queue().all() == ()
    store.close()
    assert (tmp_path / "records.sqlite.backup-v4").exists()
