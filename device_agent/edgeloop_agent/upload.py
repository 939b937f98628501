"""One upload: where it stands on the disk, how far it is safe, and how it becomes a blob.

The bytes go to ``UUID.DIGEST.SIZE.part``; beside it ``.committed`` states, one checked line a sync, how much
of them survives a power cut. The journal is synced after the data it speaks of, so it never claims too much.
"""

from __future__ import annotations

import errno
import hashlib
import re
import threading
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgeloop_foundation.errors import BusyError, CorruptDataError, InvalidInputError
from edgeloop_foundation.ports.fs import FileSystem, WritableFile

__all__ = [
    "COMMIT_BYTES",
    "DIGEST",
    "PART",
    "PAST_CACHE_BYTES",
    "UUID",
    "Upload",
    "UploadHome",
    "UploadName",
    "check_digest",
    "disk_error",
    "read_journal",
]

COMMIT_BYTES = 4 * 1024 * 1024
"""Data between two syncs; at most half of what a client runs ahead, 8 MiB or more, so that it need not wait for one."""

READ_BYTES = 1024 * 1024
"""Data read at once."""

PAST_CACHE_BYTES = 32 << 20
"""From this size on, blobs are written past the page cache. Smaller ones fit beside what else is cached, and the job
that they were sent for may well read them at once."""

DIGEST = re.compile(r"[0-9a-f]{64}")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
PART = re.compile(r"([0-9a-f-]{36})\.([0-9a-f]{64})\.([0-9]{1,19})\.part")


def check_digest(digest: str) -> str:
    """Return ``digest`` when it is 64 lower-case hexadecimal digits, the only names that become paths.

    Raises:
        InvalidInputError: it is anything else.
    """
    if not DIGEST.fullmatch(digest):
        raise InvalidInputError(
            f"a blob is named by the 64 hexadecimal digits of its SHA-256, not by {digest[:80]!r}."
        )
    return digest


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadName:
    """What one upload claims to be."""

    #: The client's UUID of this upload.
    uuid: str
    #: SHA-256 that the content must have.
    digest: str
    #: Size that the content must have.
    size_bytes: int
    #: Of a pack of chunks, the SHA-256 of the blob that is spliced from it; empty for a blob.
    chunks_of: str = ""
    #: Size of that blob.
    spliced_bytes: int = 0

    def __post_init__(self) -> None:
        check_digest(self.digest)
        if self.chunks_of:
            check_digest(self.chunks_of)
        if self.spliced_bytes < 0 or (self.spliced_bytes and not self.chunks_of):
            raise InvalidInputError(f"a pack is for a blob of 0 or more bytes, not of {self.spliced_bytes}.")
        if not UUID.fullmatch(self.uuid):
            raise InvalidInputError(f"an upload is named by a UUID, not by {self.uuid[:80]!r}.")
        if self.size_bytes < 0:
            raise InvalidInputError(f"the declared size {self.size_bytes} is negative.")

    @property
    def stem(self) -> str:
        """File name of the upload without its ending."""
        return f"{self.uuid}.{self.digest}.{self.size_bytes}"

    def is_same_upload(self, other: UploadName) -> bool:
        """Return whether both name the same content; the name of a file does not tell what a pack is for."""
        return self.stem == other.stem


def _journal_line(size: int) -> bytes:
    text = f"{size:020d}"
    return f"{text} {zlib.crc32(text.encode()):08x}\n".encode()


def read_journal(data: bytes) -> int:
    """Return the last size that a whole, intact line of the journal states."""
    committed = 0
    for line in data.split(b"\n")[:-1]:
        text, _, check = line.partition(b" ")
        if not text.isdigit() or check != f"{zlib.crc32(text):08x}".encode():
            break
        committed = int(text)
    return committed


class UploadHome(Protocol):
    """What an upload needs of the store it is for."""

    @property
    def fs(self) -> FileSystem:
        """File system of the store."""
        ...

    @property
    def root(self) -> Path:
        """Directory of the store."""
        ...

    @property
    def uploads(self) -> Path:
        """Directory of unfinished uploads."""
        ...

    def committed_on_disk(self, name: UploadName) -> int:
        """Return how much of an upload survived."""
        ...

    def adopt(self, path: Path, name: UploadName) -> None:
        """Make a verified file a blob, or a pack."""
        ...

    def let_go(self, name: UploadName) -> None:
        """Forget the writer of an upload."""
        ...


class Upload:
    """One open upload; its methods block on the disk and belong in a thread.

    One at a time, but for ``commit`` and ``hash_all``, each of which may run beside ``append_all``.
    """

    def __init__(self, store: UploadHome, name: UploadName) -> None:
        self.name = name
        self._store = store
        self._fs = store.fs
        self._committed = 0
        self._written = 0
        self._hash = hashlib.sha256()
        self._file: WritableFile | None = None
        self._journal: WritableFile | None = None
        self._writing, self._syncing = threading.Lock(), threading.Lock()

    @property
    def committed_bytes(self) -> int:
        """Bytes that survive a power cut."""
        return self._committed

    @property
    def written_bytes(self) -> int:
        """Bytes received, the next offset."""
        return self._written

    @property
    def _data_path(self) -> Path:
        return self._store.uploads / f"{self.name.stem}.part"

    @property
    def _journal_path(self) -> Path:
        return self._store.uploads / f"{self.name.stem}.committed"

    def open(self) -> None:
        """Create the files, or go back to what was committed and hash it anew."""
        if not self._fs.exists(self._data_path):
            self._fs.remove(self._journal_path)
            self._file = self._fs.create(self._data_path)
            self._journal = self._fs.create(self._journal_path)
            self._fs.sync_directory(self._store.uploads)
            self._spare_cache(self._file)
            return
        committed = self._store.committed_on_disk(self.name)
        self._file = self._fs.append(self._data_path)
        self._file.truncate(committed)
        for chunk in self._fs.read_chunks(self._data_path, 0, READ_BYTES):
            self._hash.update(chunk)
        self._spare_cache(self._file)
        self._committed = self._written = committed
        self._journal = self._open_journal(committed)

    def _spare_cache(self, file: WritableFile) -> None:
        if self.name.size_bytes >= PAST_CACHE_BYTES:
            file.bypass_cache()

    def _open_journal(self, committed: int) -> WritableFile:
        # Rewritten whole: a torn last line must not stand in the middle of the lines to come.
        self._fs.remove(self._journal_path)
        journal = self._fs.create(self._journal_path)
        journal.write(_journal_line(committed))
        journal.sync()
        self._fs.sync_directory(self._store.uploads)
        return journal

    def write(self, data: bytes | memoryview) -> None:
        """Append ``data``; sync whenever 4 MiB have come since the last time.

        Raises:
            InvalidInputError: more bytes than declared; the upload is dropped.
            BusyError: the disk is full; what was committed stays.
        """
        self.append_all((data,))
        self.hash_all((data,))
        if self.commit_due:
            self.commit()

    @property
    def commit_due(self) -> bool:
        """Whether 4 MiB have come since the last sync."""
        return self._written - self._committed >= COMMIT_BYTES

    def append_all(self, pieces: Iterable[bytes | memoryview]) -> None:
        """Append one piece after the other, for a caller that hashes and syncs them beside it.

        Raises what ``write`` raises.
        """
        for data in pieces:
            self._append(data)

    def hash_all(self, pieces: Iterable[bytes | memoryview]) -> None:
        """Hash what ``append_all`` is given, in the same order: meanwhile the disk is waited for."""
        for data in pieces:
            self._hash.update(data)

    def _append(self, data: bytes | memoryview) -> None:
        if self._written + len(data) > self.name.size_bytes:
            self.discard()
            raise InvalidInputError(
                f"upload of {self.name.digest} declared {self.name.size_bytes} bytes and brought more."
            )
        try:
            with self._writing:
                self._require_open(self._file).write(data)
        except OSError as error:
            self.close()
            raise disk_error(error, self._store.root) from error
        self._written += len(data)

    def commit(self) -> int:
        """Sync what was written and return how much that is; more may be appended meanwhile, and is not counted."""
        written = self._written
        if written == self._committed:
            return self._committed
        try:
            with self._syncing:
                file, journal = self._require_open(self._file), self._require_open(self._journal)
                file.sync()
                journal.write(_journal_line(written))
                journal.sync()
        except OSError as error:
            self.discard()
            raise disk_error(error, self._store.root) from error
        self._committed = written
        return self._committed

    def finish(self) -> int:
        """Verify the whole, make it a blob or a pack and return its size.

        Raises:
            InvalidInputError: bytes are missing (what came stays), the digest is another one, or it is no pack (all
            is dropped).
            BusyError: the disk is full.
            CorruptDataError: the disk failed.
        """
        self.commit()
        if self._written != self.name.size_bytes:
            raise InvalidInputError(
                f"upload of {self.name.digest} ended at {self._written} of {self.name.size_bytes} bytes.",
                next_step="Ask for the committed size and go on from there.",
            )
        found = self._hash.hexdigest()
        if found != self.name.digest:
            self.discard()
            raise InvalidInputError(
                f"the uploaded bytes have the SHA-256 {found}, not the declared {self.name.digest}.",
                next_step="Do not send the same bytes again; name them by their own digest.",
            )
        if self._written == 0 and self._file is not None:
            self._file.sync()
        self._close_files()
        try:
            self._store.adopt(self._data_path, self.name)
            self._fs.remove(self._journal_path)
        except InvalidInputError:
            self.discard()
            raise
        except OSError as error:
            raise disk_error(error, self._store.root) from error
        finally:
            # In any case: an upload that is closed but not let go would have a writer for ever.
            self.close()
        return self.name.size_bytes

    def discard(self) -> None:
        """Drop the upload with all its bytes."""
        self._close_files()
        try:
            self._fs.remove(self._data_path)
            self._fs.remove(self._journal_path)
        finally:
            self.close()

    def suspend(self) -> None:
        """Commit what came and stop here, without a word when the upload is over already."""
        if self._file is not None:
            self.commit()
            self.close()

    def close(self) -> None:
        """Stop here; what is committed can be resumed."""
        self._close_files()
        self._store.let_go(self.name)

    def _close_files(self) -> None:
        # Both: a descriptor that is closed under a write or a sync may by then belong to another file.
        with self._writing, self._syncing:
            self._close_both()

    def _close_both(self) -> None:
        for file in (self._file, self._journal):
            if file is not None:
                file.close()
        self._file = self._journal = None

    def _require_open(self, file: WritableFile | None) -> WritableFile:
        if file is None:
            raise BusyError(
                f"upload {self.name.uuid} is closed.", next_step="Ask for the committed size and resume."
            )
        return file


def disk_error(error: OSError, path: Path) -> BusyError | CorruptDataError:
    """Return what a failed disk operation means to the caller."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return BusyError(f"the disk that holds {path} is full.", next_step="Free space on the device.")
    return CorruptDataError(
        f"the disk that holds {path} failed: {error}.", next_step="Check the device's storage."
    )
