"""Files that are sent: whole or not at all."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest
from edgeloop.domain.queue import SubmittedFile
from edgeloop.store.uploads import UPLOAD_BYTES_MAX, UploadStore
from edgeloop_foundation.errors import BusyError, CorruptDataError, InvalidInputError, NotFoundError
from edgeloop_foundation.ports.fs import OsFileSystem

CONTENT = b"content" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def send(store: UploadStore, content: bytes = CONTENT, digest: str = DIGEST, size: int | None = None) -> None:
    with store.begin(digest, len(CONTENT) if size is None else size) as upload:
        for start in range(0, len(content), 1000):
            upload.write(content[start : start + 1000])
        upload.keep()


def left(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "serve" / "uploads").iterdir())


def test_a_file_is_laid_out_under_its_path(tmp_path: Path) -> None:
    store = UploadStore(tmp_path)
    assert store.missing([DIGEST, DIGEST]) == (DIGEST,)
    send(store)
    assert store.missing([DIGEST]) == ()
    place = tmp_path / "work"
    store.lay_out([SubmittedFile(path="model/m.onnx", digest=DIGEST)], place)
    written = place / "model" / "m.onnx"
    assert written.read_bytes() == CONTENT
    assert written.stat().st_nlink == 1, "readers of models refuse files of several names"


@pytest.mark.parametrize(
    ("content", "digest", "size", "says"),
    [
        (CONTENT[:-1], DIGEST, None, "6999 of 7000"),
        (CONTENT + b"x", DIGEST, None, "more than the announced"),
        (b"c" * len(CONTENT), DIGEST, None, "another|digest"),
    ],
)
def test_what_is_not_whole_leaves_nothing(
    tmp_path: Path, content: bytes, digest: str, size: int | None, says: str
) -> None:
    store = UploadStore(tmp_path)
    with pytest.raises(InvalidInputError, match=says):
        send(store, content, digest, size)
    assert left(tmp_path) == []


@pytest.mark.parametrize("digest", ["", "..", "../../etc/passwd", "A" * 64, "a" * 65, "a" * 63 + "/"])
def test_another_name_than_a_digest_is_refused(tmp_path: Path, digest: str) -> None:
    store = UploadStore(tmp_path)
    with pytest.raises(InvalidInputError):
        store.begin(digest, 1)
    with pytest.raises(InvalidInputError):
        store.missing([digest])


class _Full(OsFileSystem):
    def free_bytes(self, path: Path) -> int:
        return 1 << 20


def test_what_has_no_room_is_not_begun(tmp_path: Path) -> None:
    with pytest.raises(BusyError, match="stay free"):
        UploadStore(tmp_path, _Full()).begin(DIGEST, 10)
    with pytest.raises(InvalidInputError, match="at most"):
        UploadStore(tmp_path).begin(DIGEST, UPLOAD_BYTES_MAX + 1)
    assert left(tmp_path) == []


def test_a_damaged_or_missing_file_is_told(tmp_path: Path) -> None:
    store = UploadStore(tmp_path)
    file = SubmittedFile(path="m.onnx", digest=DIGEST)
    with pytest.raises(NotFoundError, match=r"m\.onnx"):
        store.lay_out([file], tmp_path / "one")
    send(store)
    kept = tmp_path / "serve" / "uploads" / DIGEST
    kept.chmod(0o600)
    kept.write_bytes(b"x")
    with pytest.raises(CorruptDataError, match="damaged"):
        store.lay_out([file], tmp_path / "two")


def test_only_old_files_that_nobody_waits_for_are_swept(tmp_path: Path) -> None:
    store = UploadStore(tmp_path)
    send(store)
    folder = tmp_path / "serve" / "uploads"
    part = folder / "0123.part"
    part.write_bytes(b"")
    store.sweep(())
    assert left(tmp_path) == sorted([DIGEST, part.name]), "both are young"
    store.sweep((), starting=True)
    assert left(tmp_path) == [DIGEST], "nobody sends at the start"
    old_s = time.time() - 25 * 3600
    os.utime(folder / DIGEST, (old_s, old_s))
    store.sweep({DIGEST})
    assert left(tmp_path) == [DIGEST]
    store.sweep(())
    assert left(tmp_path) == []
