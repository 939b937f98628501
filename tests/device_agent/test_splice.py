"""Splices on a real disk and on one that runs full and loses power; lists and packs of somebody who lies."""

from __future__ import annotations

import errno
import hashlib
import random
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from edgeloop_agent.splice import Splicer
from edgeloop_agent.store import ContentStore
from edgeloop_agent.upload import UploadName
from edgeloop_foundation.errors import (
    BusyError,
    EdgeloopError,
    InvalidInputError,
    NotFoundError,
    StateError,
    UnavailableError,
)
from edgeloop_foundation.ports.fs import OsFileSystem
from edgeloop_foundation.ports.simulated_fs import PowerCut, SimulatedFileSystem
from edgeloop_protocol.chunk_list import Chunk, encode_chunks

from .conftest import digest
from .test_store import begin, name_of, open_store, put

SIZE = 5000


def pieces(count: int, seed: int = 0) -> list[bytes]:
    rng = random.Random(seed)
    return [rng.randbytes(SIZE + rng.randrange(1000)) for _ in range(count)]


def chunks_of(parts: Sequence[bytes]) -> list[Chunk]:
    return [Chunk(digest=hashlib.sha256(part).digest(), size_bytes=len(part)) for part in parts]


def put_listed(store: ContentStore, parts: Sequence[bytes]) -> str:
    """Put a blob and leave the list of its chunks."""
    name = put(store, b"".join(parts))
    Splicer(store).splice(name, sum(map(len, parts)), chunks_of(parts))
    return name


def pack_name(whole: bytes, parts: Sequence[bytes]) -> tuple[UploadName, bytes]:
    pack = encode_chunks(chunks_of(parts)) + b"".join(parts)
    name = UploadName(
        uuid=str(uuid.uuid4()),
        digest=digest(pack),
        size_bytes=len(pack),
        chunks_of=digest(whole),
        spliced_bytes=len(whole),
    )
    return name, pack


def put_pack(store: ContentStore, whole: bytes, parts: Sequence[bytes]) -> UploadName:
    name, pack = pack_name(whole, parts)
    upload = begin(store, name)
    upload.write(pack)
    upload.finish()
    return name


def content(store: ContentStore, name: str) -> bytes:
    return b"".join(store.read_chunks(name))


def leftovers(store: ContentStore) -> list[str]:
    return [name for name, _ in store.fs.entries(store.uploads)]


@pytest.fixture(params=["disk", "simulated"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ContentStore:
    if request.param == "disk":
        return open_store(OsFileSystem(), tmp_path / "store")
    return open_store(SimulatedFileSystem())


def test_a_blob_is_spliced_from_others_and_a_pack(store: ContentStore) -> None:
    old, new = pieces(6), pieces(2, seed=1)
    put_listed(store, old)
    parts = [new[0], *old[2:5], new[1], old[0], old[2]]
    whole = b"".join(parts)
    splicer = Splicer(store)
    assert splicer.missing(chunks_of(parts)) == chunks_of(new)
    name = put_pack(store, whole, new)
    assert store.status(name) == (name.size_bytes, True)
    assert store.begin(name) is None
    assert splicer.missing(chunks_of(parts)) == []
    splicer.splice(digest(whole), len(whole), chunks_of(parts))
    assert content(store, digest(whole)) == whole
    if isinstance(store.fs, OsFileSystem):
        assert (store.blobs / digest(whole)).stat().st_mode & 0o777 == 0o444
    assert store.fs.entries(store.chunks.packs) == [], "a pack goes when its blob is there"
    assert store.chunks.pack_bytes == 0
    assert leftovers(store) == []
    # The list of the new blob is kept, and serves when the old one is gone.
    assert splicer.missing(chunks_of(new)) == []


def test_a_chunk_is_not_a_blob(store: ContentStore) -> None:
    parts = pieces(3)
    put_listed(store, parts)
    assert store.missing([(digest(parts[1]), len(parts[1]))]) == [(digest(parts[1]), len(parts[1]))]


def test_a_list_goes_with_its_blob(store: ContentStore) -> None:
    parts = pieces(3)
    name = put_listed(store, parts)
    with pytest.raises(Exception, match="changed"):
        store.drop_corrupt(name)
    assert Splicer(store).missing(chunks_of(parts)) == chunks_of(parts)
    assert store.fs.entries(store.chunks.lists) == []


@pytest.mark.parametrize(
    "lie",
    [
        lambda chunks: [],
        lambda chunks: chunks[:-1],
        lambda chunks: [*chunks, chunks[0]],
        lambda chunks: [replace(chunks[0], size_bytes=chunks[0].size_bytes + 1), *chunks[1:]],
    ],
    ids=["none", "one less", "one more", "a longer one"],
)
def test_sizes_that_do_not_add_up_are_refused(store: ContentStore, lie: object) -> None:
    parts = pieces(4)
    put_listed(store, parts)
    lied = lie(chunks_of(parts[:3]))  # type: ignore[operator]
    with pytest.raises(InvalidInputError):
        Splicer(store).splice(digest(b"".join(parts[:3])), sum(map(len, parts[:3])), lied)
    assert leftovers(store) == []


def test_chunks_too_small_to_be_worth_a_list_are_refused(store: ContentStore) -> None:
    tiny = [bytes([number]) * 10 for number in range(100)]
    name = put(store, b"".join(tiny))
    with pytest.raises(InvalidInputError, match="1 to 1 chunks"):
        Splicer(store).splice(name, 1000, chunks_of(tiny))


@pytest.mark.parametrize(("name", "size"), [(b"", 5), (b"x" * 32, 0), (b"x" * 32, -1), (b"x" * 32, 1 << 25)])
def test_chunks_that_cannot_be_are_refused(name: bytes, size: int) -> None:
    with pytest.raises(InvalidInputError):
        Chunk(digest=name, size_bytes=size)


def test_another_digest_than_declared_is_never_visible(store: ContentStore) -> None:
    parts = pieces(4)
    put_listed(store, parts)
    wrong, size = digest(b"something else"), sum(map(len, parts[:3]))
    with pytest.raises(InvalidInputError, match="not the declared"):
        Splicer(store).splice(wrong, size, chunks_of(parts[:3]))
    assert store.size_of(wrong) is None
    assert leftovers(store) == []
    assert Splicer(store).missing(chunks_of(parts)) == [], "the lists that told the truth stay"


def test_a_list_that_lied_is_found_out_and_dropped(store: ContentStore) -> None:
    true, other = pieces(3), pieces(3, seed=2)
    body = b"".join(true)
    name = put(store, body)
    # It claims that the second chunk of this blob were another content of the same size.
    promised = other[1][: len(true[1])].ljust(len(true[1]), b"!")
    Splicer(store).splice(name, len(body), chunks_of([true[0], promised, true[2]]))
    wanted = [promised, true[0]]
    splicer, whole = Splicer(store), b"".join(wanted)
    assert splicer.missing(chunks_of(wanted)) == []
    with pytest.raises(NotFoundError, match="1 chunks on the device are not what"):
        splicer.splice(digest(whole), len(whole), chunks_of(wanted))
    assert store.size_of(digest(whole)) is None
    assert leftovers(store) == []
    assert splicer.missing(chunks_of(wanted)) == chunks_of(wanted), "now the device knows better"
    assert content(store, name) == body


def test_a_pack_that_lied_is_found_out_and_dropped(store: ContentStore) -> None:
    parts = pieces(2)
    whole = b"".join(parts)
    pack = encode_chunks(chunks_of(parts)) + parts[0] + b"?" * len(parts[1])
    name = replace(pack_name(whole, parts)[0], digest=digest(pack))
    upload = begin(store, name)
    upload.write(pack)
    upload.finish()
    with pytest.raises(NotFoundError):
        Splicer(store).splice(digest(whole), len(whole), chunks_of(parts))
    assert store.fs.entries(store.chunks.packs) == []
    assert store.size_of(digest(whole)) is None


def test_a_list_that_points_beyond_its_blob_is_dropped(tmp_path: Path) -> None:
    store = open_store(OsFileSystem(), tmp_path / "store")
    parts = pieces(3)
    name = put_listed(store, parts)
    (store.chunks.lists / name).write_bytes(encode_chunks(chunks_of(pieces(9))))
    assert Splicer(store).missing(chunks_of(pieces(9))) == chunks_of(pieces(9))
    assert store.fs.entries(store.chunks.lists) == []


@pytest.mark.parametrize("damage", [lambda d: d[:-9], lambda d: d[:30] + b"\0" + d[31:], lambda d: b""])
def test_a_damaged_list_is_dropped(tmp_path: Path, damage: object) -> None:
    store = open_store(OsFileSystem(), tmp_path / "store")
    parts = pieces(3)
    path = store.chunks.lists / put_listed(store, parts)
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    assert Splicer(store).missing(chunks_of(parts)) == chunks_of(parts)
    assert not path.exists()


def test_an_upload_that_is_no_pack_is_refused_whole(store: ContentStore) -> None:
    parts = pieces(2)
    good = encode_chunks(chunks_of(parts)) + b"".join(parts)
    for bad in (b"rubbish" * 1000, good[:-1], good + b"x", b""):
        name = replace(pack_name(b"whole", parts)[0], digest=digest(bad), size_bytes=len(bad))
        upload = begin(store, replace(name, uuid=str(uuid.uuid4())))
        upload.write(bad)
        with pytest.raises(InvalidInputError):
            upload.finish()
        assert leftovers(store) == []
        assert store.chunks.pack_bytes == 0


def test_a_bomb_of_one_chunk_many_times_is_refused_before_its_first_byte() -> None:
    fs = SimulatedFileSystem(capacity_bytes=1 << 20)
    store = open_store(fs, store_bytes=1 << 20)
    (part,) = pieces(1)
    put_listed(store, [part])
    before = fs.operation_count
    with pytest.raises(BusyError, match="no room"):
        Splicer(store).splice(digest(b"bomb"), len(part) * 30_000, chunks_of([part]) * 30_000)
    assert fs.operation_count == before
    assert leftovers(store) == []


def test_a_pack_is_refused_when_the_blob_would_not_fit() -> None:
    store = open_store(SimulatedFileSystem(), store_bytes=100_000)
    whole, parts = b"x" * 90_000, pieces(2)
    put_pack(store, whole[:80_000], parts)
    store = open_store(SimulatedFileSystem(), store_bytes=100_000)
    with pytest.raises(BusyError, match="no room"):
        store.begin(pack_name(whole, parts)[0])
    assert leftovers(store) == []


def test_the_sources_stay_while_room_is_made_and_others_go() -> None:
    old, bystander = pieces(4), pieces(5, seed=3)
    whole = b"".join(old[:3])
    store = open_store(SimulatedFileSystem(), store_bytes=66_000)
    source, other = put_listed(store, old), put_listed(store, bystander)
    store.touch({other})
    Splicer(store).splice(digest(whole), len(whole), chunks_of(old[:3]))
    assert content(store, digest(whole)) == whole
    assert store.size_of(source) is not None, "least recently used, but needed"
    assert store.size_of(other) is None


def test_missing_marks_the_sources_as_used() -> None:
    store = open_store(SimulatedFileSystem(), store_bytes=60_000)
    first, second = put_listed(store, pieces(4)), put_listed(store, pieces(4, seed=1))
    assert Splicer(store).missing(chunks_of(pieces(4)[:1])) == []
    put(store, b"z" * 25_000)
    assert (store.size_of(first) is not None, store.size_of(second)) == (True, None)


def test_packs_make_room_for_what_comes() -> None:
    store = open_store(SimulatedFileSystem(), store_bytes=40_000)
    put_pack(store, b"w" * 20_000, pieces(3))
    put(store, b"z" * 38_000)
    assert store.chunks.pack_bytes == 0
    assert store.fs.entries(store.chunks.packs) == []


def test_one_splice_of_a_blob_at_a_time(store: ContentStore) -> None:
    with (
        store.growing("0" * 64, 10, ()),
        pytest.raises(StateError, match="already"),
        store.growing("0" * 64, 10, ()),
    ):
        pass
    with store.growing("0" * 64, 10, ()):
        pass


def test_an_agent_that_goes_down_leaves_no_half_blob(store: ContentStore) -> None:
    part = random.Random(5).randbytes(9 << 20)
    whole = part * 2
    put_listed(store, [part])
    splicer = Splicer(store)
    splicer.stop()
    with pytest.raises(UnavailableError, match="going down"):
        splicer.splice(digest(whole), len(whole), chunks_of([part, part]))
    assert store.size_of(digest(whole)) is None
    assert leftovers(store) == []


def test_a_start_keeps_packs_that_wait_and_sweeps_what_is_of_no_use(store: ContentStore) -> None:
    parts, there = pieces(2), pieces(3, seed=4)
    whole = b"".join(parts)
    waiting = put_pack(store, whole, parts)
    name = put_listed(store, there)
    for path in (
        store.chunks.lists / ("1" * 64),
        store.chunks.lists / "x.tmp",
        store.chunks.packs / f"{name}.{'2' * 64}",
        store.chunks.packs / "stray",
        store.uploads / "half.tmp",
    ):
        store.fs.create(path).close()
    again = open_store(store.fs, store.root)
    assert [entry for entry, _ in store.fs.entries(store.chunks.lists)] == [name]
    assert len(store.fs.entries(store.chunks.packs)) == 1
    assert leftovers(store) == []
    assert again.status(waiting) == (waiting.size_bytes, True)
    Splicer(again).splice(digest(whole), len(whole), chunks_of(parts))
    assert content(again, digest(whole)) == whole


def test_a_pack_goes_on_where_it_broke_off(store: ContentStore) -> None:
    parts = pieces(3)
    whole = b"".join(parts)
    name, pack = pack_name(whole, parts)
    upload = begin(store, name)
    upload.write(pack[:7000])
    upload.suspend()
    again = open_store(store.fs, store.root)
    assert again.status(name) == (7000, False)
    resumed = begin(again, name)
    resumed.write(pack[7000:])
    resumed.finish()
    Splicer(again).splice(digest(whole), len(whole), chunks_of(parts))
    assert content(again, digest(whole)) == whole


def prepared(fs: SimulatedFileSystem) -> tuple[ContentStore, list[bytes], list[bytes]]:
    old, new = pieces(3), pieces(2, seed=1)
    store = open_store(fs)
    put_listed(store, old)
    return store, old, [old[0], new[0], old[2], new[1]]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_every_operation_of_a_splice_may_fail_and_nothing_wrong_is_visible(code: int) -> None:
    said: list[str] = []
    for number in range(100):
        fs = SimulatedFileSystem()
        store, old, parts = prepared(fs)
        whole = b"".join(parts)
        put_pack(store, whole, [parts[1], parts[3]])
        at = fs.operation_count + number
        fs.fail_at(at, OSError(code, "broken"))
        try:
            Splicer(store).splice(digest(whole), len(whole), chunks_of(parts))
        except EdgeloopError as error:
            said.append(str(error))
        if fs.operation_count <= at:
            break
        again = open_store(fs)
        assert content(again, digest(b"".join(old))) == b"".join(old)
        if again.size_of(digest(whole)) is None:
            Splicer(again).splice(digest(whole), len(whole), chunks_of(parts))
        assert content(again, digest(whole)) == whole
    assert 4 <= len(said) < number < 99
    assert all(("full" if code == errno.ENOSPC else "failed") in text for text in said)


def test_no_power_cut_at_any_step_shows_a_wrong_blob() -> None:
    states = spliced = step = 0
    while True:
        fs = SimulatedFileSystem()
        store, old, parts = prepared(fs)
        whole, new = b"".join(parts), [parts[1], parts[3]]
        fs.fail_at(fs.operation_count + step, PowerCut())
        try:
            put_pack(store, whole, new)
            Splicer(store).splice(digest(whole), len(whole), chunks_of(parts))
        except PowerCut:
            pass
        else:
            break
        for seed in range(6):
            states += 1
            again = open_store(fs.crash(seed))
            assert again.read_verified(digest(b"".join(old)), 1 << 20) == b"".join(old)
            if again.size_of(digest(whole)) is not None:
                spliced += 1
            else:
                # It goes on from there: what is missing is told truly, so that the splice works in the end.
                splicer = Splicer(again)
                if splicer.missing(chunks_of(parts)):
                    put_pack(again, whole, new)
                splicer.splice(digest(whole), len(whole), chunks_of(parts))
            assert again.read_verified(digest(whole), 1 << 20) == whole
            assert not [name for name in leftovers(again) if name.endswith(".tmp")]
        step += 1
    assert step > 20
    assert 0 < spliced < states


def test_a_blob_that_came_whole_drops_its_packs(store: ContentStore) -> None:
    parts = pieces(2)
    whole = b"".join(parts)
    put_pack(store, whole, parts)
    upload = begin(store, name_of(whole))
    upload.write(whole)
    upload.finish()
    assert store.fs.entries(store.chunks.packs) == []
