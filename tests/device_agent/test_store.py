"""The store on a real disk and on one that loses power."""

from __future__ import annotations

import errno
import os
import threading
import uuid
from pathlib import Path

import pytest
from edgeloop_agent.store import ContentStore
from edgeloop_agent.upload import COMMIT_BYTES, PAST_CACHE_BYTES, Upload, UploadName
from edgeloop_foundation.errors import (
    AlreadyExistsError,
    BusyError,
    CorruptDataError,
    InvalidInputError,
    NotFoundError,
    StateError,
)
from edgeloop_foundation.ports.fs import FileSystem, OsFileSystem
from edgeloop_foundation.ports.simulated_fs import SimulatedFileSystem

from .conftest import digest

ROOT = Path("/state/store")


def open_store(
    fs: FileSystem, root: Path = ROOT, *, store_bytes: int = 1 << 30, reserve_bytes: int = 0
) -> ContentStore:
    store = ContentStore(fs, root, store_bytes=store_bytes, reserve_bytes=reserve_bytes)
    store.open()
    return store


def name_of(data: bytes) -> UploadName:
    return UploadName(uuid=str(uuid.uuid4()), digest=digest(data), size_bytes=len(data))


def begin(store: ContentStore, name: UploadName) -> Upload:
    upload = store.begin(name)
    assert upload is not None
    return upload


def put(store: ContentStore, data: bytes) -> str:
    upload = begin(store, name_of(data))
    upload.write(data)
    assert upload.finish() == len(data)
    return digest(data)


@pytest.fixture(params=["disk", "simulated"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ContentStore:
    if request.param == "disk":
        return open_store(OsFileSystem(), tmp_path / "store")
    return open_store(SimulatedFileSystem())


def test_a_blob_is_there_whole_and_read_only(store: ContentStore) -> None:
    name = put(store, b"content")
    assert b"".join(store.read_chunks(name)) == b"content"
    assert store.begin(name_of(b"content")) is None
    assert store.status(name_of(b"content")) == (7, True)
    if isinstance(store.fs, OsFileSystem):
        assert (store.blobs / name).stat().st_mode & 0o777 == 0o444


def test_an_empty_blob_is_a_blob(store: ContentStore) -> None:
    assert store.size_of(put(store, b"")) == 0


def test_nothing_is_visible_before_it_is_verified(store: ContentStore) -> None:
    upload = begin(store, name_of(b"content"))
    upload.write(b"content")
    assert store.size_of(digest(b"content")) is None
    upload.finish()
    assert store.size_of(digest(b"content")) == 7


def test_another_digest_is_refused_and_the_bytes_are_gone(store: ContentStore) -> None:
    upload = begin(store, name_of(b"expect!"))
    upload.write(b"another")
    with pytest.raises(InvalidInputError, match="not the declared"):
        upload.finish()
    assert store.fs.entries(store.uploads) == []
    with pytest.raises(NotFoundError):
        store.status(upload.name)


def test_more_than_declared_is_refused(store: ContentStore) -> None:
    upload = begin(store, name_of(b"four"))
    with pytest.raises(InvalidInputError, match="brought more"):
        upload.write(b"fours")


def test_how_far_an_upload_under_way_is_safe_is_told_while_the_store_is_busy(store: ContentStore) -> None:
    data = bytes(COMMIT_BYTES + 1)
    name = name_of(data)
    assert store.committed_while_open(name) is None
    upload = begin(store, name)
    with store._lock:  # held by whoever makes room, which may take seconds
        upload.append_all((data[:1000], data[1000:COMMIT_BYTES]))
        upload.commit()
        assert store.committed_while_open(name) == COMMIT_BYTES
    assert store.committed_while_open(UploadName(uuid=name.uuid, digest="0" * 64, size_bytes=4)) is None
    upload.suspend()
    assert store.committed_while_open(name) is None


def test_what_the_disk_is_slow_to_take_is_hashed_meanwhile(store: ContentStore) -> None:
    pieces = (b"the disk ", b"takes its ", b"time")
    upload = begin(store, name_of(b"".join(pieces)))
    appending = threading.Thread(target=upload.append_all, args=(pieces,))
    with upload._writing:  # held by a write under way
        appending.start()
        upload.hash_all(pieces)
        assert upload.written_bytes == 0
    appending.join()
    assert upload.finish() == len(b"".join(pieces))


def test_an_upload_goes_on_after_a_restart(store: ContentStore) -> None:
    data = bytes(range(256)) * 40_000
    name = name_of(data)
    upload = begin(store, name)
    upload.write(data[:COMMIT_BYTES])
    upload.write(data[COMMIT_BYTES : COMMIT_BYTES + 1000])
    assert upload.committed_bytes == COMMIT_BYTES
    again = open_store(store.fs, store.root)
    assert again.status(name) == (COMMIT_BYTES, False)
    upload = begin(again, name)
    assert upload.written_bytes == COMMIT_BYTES
    upload.write(data[COMMIT_BYTES:])
    assert upload.finish() == len(data)


def test_a_large_upload_goes_on_at_any_byte(tmp_path: Path) -> None:
    data = os.urandom(1 << 20) * (PAST_CACHE_BYTES >> 20) + b"a ragged end"
    name, at = name_of(data), 0
    for end in (5 << 20, (9 << 20) + 1234, (9 << 20) + 1235, len(data)):
        store = open_store(OsFileSystem(), tmp_path / "store")
        upload = begin(store, name)
        assert upload.written_bytes == upload.committed_bytes == at
        while at < end:
            upload.write(memoryview(data)[at : min(end, at + 1_000_003)])
            at = upload.written_bytes
        upload.suspend() if end < len(data) else upload.finish()
    assert (store.blobs / name.digest).read_bytes() == data


@pytest.mark.parametrize("wrong", ["kept", "new"])
def test_a_resumed_upload_is_checked_from_its_first_byte(store: ContentStore, wrong: str) -> None:
    data = bytes(range(256)) * 40_000
    name = name_of(data)
    bad = bytes([data[0] ^ 1]) + data[1:] if wrong == "kept" else data[:-1] + bytes([data[-1] ^ 1])
    upload = begin(store, name)
    upload.write(bad[:COMMIT_BYTES])
    again = open_store(store.fs, store.root)
    upload = begin(again, name)
    assert upload.written_bytes == COMMIT_BYTES
    upload.write(bad[COMMIT_BYTES:])
    with pytest.raises(InvalidInputError, match="not the declared"):
        upload.finish()
    assert again.size_of(name.digest) is None
    with pytest.raises(NotFoundError, match="Begin it at offset 0"):
        again.status(name)


def test_an_upload_has_one_writer_and_one_blob(store: ContentStore) -> None:
    name = name_of(b"content")
    upload = begin(store, name)
    with pytest.raises(StateError, match="writer"):
        store.begin(name)
    upload.write(b"con")
    upload.suspend()
    with pytest.raises(AlreadyExistsError):
        store.begin(UploadName(uuid=name.uuid, digest=digest(b"other"), size_bytes=5))
    assert begin(store, name).written_bytes == 3


@pytest.mark.parametrize("text", ["", "A" * 64, "0" * 63, "../" + "0" * 61, "0" * 64 + "\n"])
def test_only_digests_become_paths(store: ContentStore, text: str) -> None:
    with pytest.raises(InvalidInputError):
        store.size_of(text)
    with pytest.raises(InvalidInputError):
        UploadName(uuid=str(uuid.uuid4()), digest=text, size_bytes=1)
    with pytest.raises(InvalidInputError):
        UploadName(uuid=text, digest="0" * 64, size_bytes=1)


def test_the_reserve_is_kept_before_the_first_byte() -> None:
    store = open_store(SimulatedFileSystem(capacity_bytes=1000), reserve_bytes=400)
    before = store.fs.entries(store.uploads)
    with pytest.raises(BusyError, match="1 are lacking"):
        store.begin(UploadName(uuid=str(uuid.uuid4()), digest="0" * 64, size_bytes=601))
    assert store.fs.entries(store.uploads) == before
    first = begin(store, name_of(b"x" * 400))
    with pytest.raises(BusyError):
        store.begin(name_of(b"y" * 201))
    first.discard()
    assert store.begin(name_of(b"y" * 201)) is not None


def test_the_least_recently_used_blob_makes_room_and_pinned_ones_stay() -> None:
    fs = SimulatedFileSystem()
    store = open_store(fs, store_bytes=30)
    one, two, three = (put(store, text * 10) for text in (b"1", b"2", b"3"))
    assert store.missing([(one, 10)]) == []
    put(store, b"4" * 10)
    assert (store.size_of(two), store.size_of(one)) == (None, 10)
    store.add_pin_source(lambda: {three})
    put(store, b"5" * 20)
    assert (store.size_of(one), store.size_of(three)) == (None, 10)
    with pytest.raises(BusyError, match="no room"):
        put(store, b"6" * 21)
    store.close()
    order = open_store(fs, store_bytes=30)
    put(order, b"7" * 10)
    assert order.size_of(three) is None


def test_a_blob_that_the_disk_changed_is_told_and_removed(tmp_path: Path) -> None:
    store = open_store(OsFileSystem(), tmp_path / "store")
    name = put(store, b"content")
    path = store.blobs / name
    path.chmod(0o600)
    path.write_bytes(b"c0ntent")
    with pytest.raises(CorruptDataError, match="changed"):
        store.copy_verified(name, store.fs, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    assert store.missing([(name, 7)]) == [(name, 7)]


def test_a_start_sweeps_what_was_half_done(store: ContentStore) -> None:
    name = put(store, b"content")
    for path in (store.blobs / "a.tmp", store.uploads / "stray", store.uploads / f"{'x' * 36}.part"):
        store.fs.create(path).close()
    again = open_store(store.fs, store.root)
    assert [entry for entry, _ in store.fs.entries(store.blobs)] == [name]
    assert store.fs.entries(store.uploads) == []
    assert again.size_of(name) == 7


def test_a_full_disk_in_the_middle_keeps_what_was_committed() -> None:
    fs = SimulatedFileSystem()
    store = open_store(fs)
    name = name_of(b"x" * 100)
    upload = begin(store, name)
    upload.write(b"x" * 40)
    upload.commit()
    fs.fail_at(fs.operation_count, OSError(errno.ENOSPC, "full"))
    with pytest.raises(BusyError, match="full"):
        upload.write(b"x" * 60)
    assert store.status(name) == (40, False)
    upload = begin(store, name)
    upload.write(b"x" * 60)
    assert upload.finish() == 100


def test_an_upload_whose_last_step_failed_can_be_sent_again() -> None:
    fs = SimulatedFileSystem()
    store = open_store(fs)
    name = name_of(b"content")
    upload = begin(store, name)
    upload.write(b"content")
    upload.commit()
    # Read-only, rename, then the sync of the directory.
    fs.fail_at(fs.operation_count, OSError(errno.EIO, "I/O error"))
    with pytest.raises(CorruptDataError, match="failed"):
        upload.finish()
    upload.suspend()
    upload = begin(store, name)
    assert upload.written_bytes == 7
    assert upload.finish() == 7
    assert b"".join(store.read_chunks(name.digest)) == b"content"


def test_a_failed_sync_is_not_asked_again() -> None:
    fs = SimulatedFileSystem()
    store = open_store(fs)
    upload = begin(store, name_of(b"x" * 100))
    upload.write(b"x" * 40)
    fs.fail_at(fs.operation_count, OSError(errno.EIO, "broken"))
    with pytest.raises(CorruptDataError, match="failed"):
        upload.commit()
    with pytest.raises(NotFoundError):
        store.status(upload.name)


def test_no_power_cut_loses_an_acknowledged_prefix_or_shows_half_a_blob() -> None:
    fs = SimulatedFileSystem()
    store = open_store(fs)
    fs.settle()
    data = b"0123456789"
    name = name_of(data)
    upload = begin(store, name)
    for start in (0, 4, 8):
        upload.write(data[start : start + 4])
        upload.commit()
    upload.finish()
    count = 0
    for crashed in fs.crash_states():
        count += 1
        again = ContentStore(crashed, ROOT, store_bytes=1 << 30, reserve_bytes=0)
        again.open()
        if again.size_of(name.digest) is not None:
            assert again.read_verified(name.digest, 100) == data
            continue
        resumed = begin(again, name)
        resumed.write(data[resumed.written_bytes :])
        assert resumed.finish() == len(data)
    assert count > 10


def test_a_power_cut_after_an_acknowledgement_finds_that_prefix() -> None:
    name = name_of(b"0123456789")
    for seed in range(50):
        branch = SimulatedFileSystem()
        branch_store = open_store(branch)
        branch_upload = begin(branch_store, name)
        branch_upload.write(b"0123")
        branch_upload.commit()
        branch_upload.write(b"45")
        after = open_store(branch.crash(seed))
        resumed = begin(after, name)
        assert resumed.written_bytes == 4
        resumed.write(b"456789")
        assert resumed.finish() == 10


def test_of_the_blobs_that_were_made_here_the_newest_and_the_needed_stay(store: ContentStore) -> None:
    sent = put(store, b"sent by a client")
    needed = store.put(b"samples of a result that waits")
    store.add_pin_source(lambda: {needed})
    made = [store.put(f"samples {index}".encode()) for index in range(250)]
    assert store.size_of(sent) is not None
    assert store.size_of(needed) is not None
    kept = [name for name in made if store.size_of(name) is not None]
    assert kept == made[-len(kept) :]
    assert len(kept) == 200
    assert [b"".join(store.read_chunks(name)) for name in kept[-1:]] == [b"samples 249"]
