"""Blobs named by their SHA-256, kept on the device's disk; uploads that survive a restart.

Rules:
- A blob is visible only whole and verified; from then on it is read-only.
- The declared size is reserved before the first byte: the disk never fills up in the middle of an upload.
- ``committed`` means synced: a journal beside the upload says how far, and is synced after the data it speaks
  of.
- A disk that failed to sync is not asked again: the upload is dropped, because the lost pages would pass
  unnoticed.
- The least recently used blobs make room for new ones; pinned ones stay.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import secrets
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeloop_foundation.errors import (
    AlreadyExistsError,
    BusyError,
    CorruptDataError,
    InvalidInputError,
    NotFoundError,
    StateError,
)
from edgeloop_foundation.ports.fs import FileSystem, make_durable_directory

from edgeloop_agent.chunks import ChunkHome, Place
from edgeloop_agent.upload import (
    DIGEST,
    PART,
    READ_BYTES,
    UUID,
    Upload,
    UploadName,
    check_digest,
    disk_error,
    read_journal,
)

__all__ = ["ContentStore", "Growth"]

_PARTIAL_UPLOADS_MAX = 32
# Raw samples of results that were fetched long ago: nobody asks for them, and each costs memory and a card's blocks.
_OWN_KEPT = 200

_log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Growth:
    """A blob that is being spliced: what is reserved for it, and from which blobs it is made."""

    size_bytes: int
    written_bytes: int = 0
    sources: frozenset[str]


class ContentStore:
    """The blobs of one device; methods block on the disk and may be called from several threads."""

    def __init__(self, fs: FileSystem, root: Path, *, store_bytes: int, reserve_bytes: int) -> None:
        self.fs = fs
        self.root = root
        self.blobs = root / "blobs"
        self.uploads = root / "uploads"
        self._recency_path = root / "recency.json"
        self._store_bytes = store_bytes
        self._reserve_bytes = reserve_bytes
        # Name to size, least recently used first.
        self._sizes: dict[str, int] = {}
        # Blobs that were made here, oldest first; the values mean nothing.
        self._own: dict[str, None] = {}
        self._open_uploads: dict[str, Upload] = {}
        self._splices: dict[str, Growth] = {}
        self._pin_sources: list[Callable[[], Collection[str]]] = [self._spliced_from]
        self._lock = threading.RLock()
        #: Content inside of blobs, and packs of it.
        self.chunks = ChunkHome(fs, root)

    def open(self) -> None:
        """Create the directories, sweep what an earlier process left half done, and list the blobs."""
        make_durable_directory(self.fs, self.blobs)
        make_durable_directory(self.fs, self.uploads)
        for directory in (self.root, self.blobs, self.uploads, self.chunks.lists):
            for name, _ in self.fs.entries(directory):
                if name.endswith(".tmp"):
                    self.fs.remove(directory / name)
        sizes = {n: size for n, size in self.fs.entries(self.blobs) if DIGEST.fullmatch(n) and size >= 0}
        known = [name for name in self._read_recency() if name in sizes]
        self._sizes = {name: sizes[name] for name in [*known, *(n for n in sizes if n not in set(known))]}
        self.chunks.open(sizes)
        self._sweep_uploads()

    def _read_recency(self) -> list[str]:
        if not self.fs.exists(self._recency_path):
            return []
        # A lost order costs nothing but a worse choice at the next eviction.
        with contextlib.suppress(ValueError):
            names = json.loads(self.fs.read(self._recency_path))
            return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
        return []

    def _sweep_uploads(self) -> None:
        partial = [name for name in self._partial_names() if name.digest not in self._sizes]
        keep = {name.stem for name in partial[:_PARTIAL_UPLOADS_MAX]}
        for file, _ in self.fs.entries(self.uploads):
            if file.rpartition(".")[0] not in keep:
                self.fs.remove(self.uploads / file)

    def close(self) -> None:
        """Keep the order of use for the next start."""
        with self._lock:
            temporary = self._recency_path.with_name(f"recency.{secrets.token_hex(6)}.tmp")
            file = self.fs.create(temporary)
            file.write(json.dumps(list(self._sizes)).encode())
            file.close()
            self.fs.rename(temporary, self._recency_path)

    def add_pin_source(self, source: Callable[[], Collection[str]]) -> None:
        """Ask ``source`` which blobs must stay whenever room is needed; any thread may call it."""
        self._pin_sources.append(source)

    def missing(self, wanted: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
        """Return those (digest, size) that are not here, and mark the others as used."""
        with self._lock:
            absent = []
            for digest, size in wanted:
                if self._sizes.get(check_digest(digest)) == size:
                    self._touch(digest)
                else:
                    absent.append((digest, size))
            return absent

    def size_of(self, digest: str) -> int | None:
        """Return the size of a blob, or None when it is not here."""
        with self._lock:
            return self._sizes.get(check_digest(digest))

    def read_chunks(self, digest: str, offset: int = 0, size: int = READ_BYTES) -> Iterator[bytes]:
        """Yield a blob's content from ``offset``.

        Raises:
            NotFoundError: it is not here.
        """
        with self._lock:
            if check_digest(digest) not in self._sizes:
                raise NotFoundError(f"blob {digest} is not in the store.", next_step="Upload it first.")
            self._touch(digest)
        return self.fs.read_chunks(self.blobs / digest, offset, size)

    def read_verified(self, digest: str, limit_bytes: int) -> bytes:
        """Return a blob whole, after checking its digest.

        Raises:
            NotFoundError: it is not here.
            InvalidInputError: it is larger than ``limit_bytes``.
            CorruptDataError: the disk changed it; it is removed, so that it can be sent again.
        """
        size = self.size_of(digest)
        if size is not None and size > limit_bytes:
            raise InvalidInputError(
                f"blob {digest} has {size} bytes, at most {limit_bytes} are read at once."
            )
        data = b"".join(self.read_chunks(digest))
        if hashlib.sha256(data).hexdigest() != digest:
            self.drop_corrupt(digest)
        return data

    def copy_verified(self, digest: str, fs: FileSystem, destination: Path) -> None:
        """Copy a blob into a new file of ``fs``, checking its digest on the way.

        Raises:
            NotFoundError: it is not here.
            CorruptDataError: the disk changed it; the copy is removed, and the blob too.
        """
        chunks = self.read_chunks(digest)
        hasher = hashlib.sha256()
        file = fs.create(destination)
        try:
            for chunk in chunks:
                hasher.update(chunk)
                file.write(chunk)
        except OSError as error:
            raise disk_error(error, destination.parent) from error
        finally:
            file.close()
        if hasher.hexdigest() != digest:
            fs.remove(destination)
            self.drop_corrupt(digest)

    def drop_corrupt(self, digest: str) -> None:
        """Remove a blob whose bytes changed on the disk.

        Raises:
            CorruptDataError: always.
        """
        with self._lock:
            self._remove_blob(digest)
        raise CorruptDataError(
            f"blob {digest} changed on the device's disk and was removed.", next_step="Send it again."
        )

    def put(self, data: bytes) -> str:
        """Keep bytes that were made on the device, durably, and return their SHA-256.

        Of such blobs the newest 200 stay, and every one that is pinned.

        Raises:
            BusyError: no room.
        """
        digest = hashlib.sha256(data).hexdigest()
        with self._lock:
            if digest in self._sizes:
                self._touch(digest)
                return digest
            self._make_room(len(data), keeps_reserve=False)
            temporary = self.blobs / f"{secrets.token_hex(12)}.tmp"
            file = self.fs.create(temporary)
            try:
                file.write(data)
                file.sync()
            except OSError as error:
                self.fs.remove(temporary)
                raise disk_error(error, self.root) from error
            finally:
                file.close()
            self._publish(temporary, digest, len(data))
            self._own[digest] = None
            self._forget_own()
        return digest

    def _forget_own(self) -> None:
        """Remove the oldest blobs that were made here beyond the number that is kept, unless they are needed."""
        surplus = len(self._own) - _OWN_KEPT
        if surplus <= 0:
            return
        pinned = {digest for source in self._pin_sources for digest in source()}
        for digest in [known for known in list(self._own)[:surplus] if known not in pinned]:
            self._remove_blob(digest)

    def begin(self, name: UploadName) -> Upload | None:
        """Open or resume an upload after reserving its declared size; None when it is here already.

        Raises:
            BusyError: no room.
            StateError: another writer has this upload open.
            AlreadyExistsError: the UUID was used for another blob.
        """
        with self._lock:
            if self._is_complete(name):
                self.touch({name.digest})
                return None
            self._check_uuid(name)
            upload = Upload(self, name)
            self._forget_partials(keep=_PARTIAL_UPLOADS_MAX - 1, sparing=name.uuid)
            # A pack is of use only if there is room for the blob as well: said now, not after it was sent.
            wanted = name.size_bytes - self.committed_on_disk(name) + name.spliced_bytes
            self._make_room(wanted, keeps_reserve=True, sparing=name.uuid, packs_of=name.chunks_of)
            self._open_uploads[name.uuid] = upload
        try:
            upload.open()
        except OSError as error:
            upload.close()
            raise disk_error(error, self.root) from error
        return upload

    def _is_complete(self, name: UploadName) -> bool:
        if name.chunks_of:
            return self.chunks.has_pack(name.chunks_of, name.digest)
        return self._sizes.get(name.digest) == name.size_bytes

    def _check_uuid(self, name: UploadName) -> None:
        if name.uuid in self._open_uploads:
            # Not BusyError: that says "no room", and a client is right not to try again then.
            raise StateError(
                f"upload {name.uuid} has a writer already.", next_step="Wait for it to end, then resume."
            )
        for known in self._partial_names():
            if known.uuid == name.uuid and not known.is_same_upload(name):
                raise AlreadyExistsError(
                    f"upload {name.uuid} is for blob {known.digest} of {known.size_bytes} bytes.",
                    next_step="Use a new UUID for another blob.",
                )

    def status(self, name: UploadName) -> tuple[int, bool]:
        """Return the committed size of an upload and whether its blob is complete.

        Raises:
            NotFoundError: neither the upload nor the blob is known.
        """
        with self._lock:
            if self._is_complete(name):
                return name.size_bytes, True
            if (committed := self.committed_while_open(name)) is not None:
                return committed, False
            if not self.fs.exists(self.uploads / f"{name.stem}.part"):
                raise NotFoundError(f"upload {name.uuid} is unknown.", next_step="Begin it at offset 0.")
            return self.committed_on_disk(name), False

    def committed_while_open(self, name: UploadName) -> int | None:
        """Return the committed size of an upload that is under way, None of any other; waits for nothing."""
        upload = self._open_uploads.get(name.uuid)
        return upload.committed_bytes if upload is not None and upload.name.is_same_upload(name) else None

    def committed_on_disk(self, name: UploadName) -> int:
        """Return how much of a closed upload is safe: what the journal states, if the data is there."""
        data, journal = (self.uploads / f"{name.stem}.{ending}" for ending in ("part", "committed"))
        if not self.fs.exists(data) or not self.fs.exists(journal):
            return 0
        return min(read_journal(self.fs.read(journal)), self.fs.size(data))

    def adopt(self, path: Path, name: UploadName) -> None:
        """Make a verified and synced file a blob, or a pack.

        Raises:
            InvalidInputError: it was to be a pack and is none.
        """
        with self._lock:
            if name.chunks_of:
                self.chunks.adopt_pack(path, name.chunks_of, name.digest, name.size_bytes)
            else:
                self._publish(path, name.digest, name.size_bytes)
            self.fs.sync_directory(self.uploads)

    @contextlib.contextmanager
    def growing(self, digest: str, size_bytes: int, sources: Collection[str]) -> Iterator[Growth]:
        """Reserve room for a blob that is spliced from others, which stay meanwhile.

        Raises:
            BusyError: no room.
            StateError: it is being spliced already.
        """
        growth = Growth(size_bytes=size_bytes, sources=frozenset(sources))
        with self._lock:
            if digest in self._splices:
                raise StateError(
                    f"blob {digest} is being spliced already.", next_step="Wait for it, then ask again."
                )
            self._splices[digest] = Growth(size_bytes=0, sources=growth.sources)
            try:
                self._make_room(size_bytes, keeps_reserve=True, packs_of=digest)
            except BaseException:
                del self._splices[digest]
                raise
            self._splices[digest] = growth
        try:
            yield growth
        finally:
            with self._lock:
                del self._splices[digest]

    def adopt_spliced(self, path: Path, digest: str, size_bytes: int) -> None:
        """Make a verified and synced file a blob; the packs for it go."""
        with self._lock:
            self._publish(path, digest, size_bytes)
            self.fs.sync_directory(self.uploads)

    def forget_source(self, place: Place) -> None:
        """Forget the list, or the pack, that named a chunk where there was other content."""
        with self._lock:
            if place.blob:
                self.chunks.drop_list(place.blob)
            else:
                self.chunks.forget_packs_of(place.path.name.partition(".")[0])

    def _spliced_from(self) -> set[str]:
        return {digest for growth in self._splices.values() for digest in growth.sources}

    def touch(self, digests: Collection[str]) -> None:
        """Mark those of these blobs that are here as used."""
        with self._lock:
            for digest in digests:
                if digest in self._sizes:
                    self._touch(digest)

    def let_go(self, name: UploadName) -> None:
        """Take back the reservation of an upload that is no longer open."""
        with self._lock:
            self._open_uploads.pop(name.uuid, None)

    def evict_for(self, size_bytes: int) -> None:
        """Remove unpinned blobs until ``size_bytes`` are free on the disk, as far as that goes."""
        with self._lock:
            for digest in self._evictable():
                if self.fs.free_bytes(self.root) >= size_bytes:
                    return
                self._remove_blob(digest)

    def _publish(self, path: Path, digest: str, size: int) -> None:
        self.fs.set_read_only(path)
        self.fs.rename(path, self.blobs / digest)
        self.fs.sync_directory(self.blobs)
        self._sizes.pop(digest, None)
        self._sizes[digest] = size
        self.chunks.forget_packs_of(digest)

    def _touch(self, digest: str) -> None:
        self._sizes[digest] = self._sizes.pop(digest)

    def _evictable(self) -> list[str]:
        pinned = {digest for source in self._pin_sources for digest in source()}
        return [digest for digest in self._sizes if digest not in pinned]

    def _remove_blob(self, digest: str) -> None:
        self.fs.remove(self.blobs / digest)
        self.chunks.drop_list(digest)
        self._sizes.pop(digest, None)
        self._own.pop(digest, None)

    def _partial_names(self) -> list[UploadName]:
        names = []
        for file, _ in self.fs.entries(self.uploads):
            if (match := PART.fullmatch(file)) and UUID.fullmatch(match[1]):
                names.append(UploadName(uuid=match[1], digest=match[2], size_bytes=int(match[3])))
        return names

    def _forget_partials(self, *, keep: int, sparing: str = "") -> None:
        """Remove broken-off uploads beyond the number to ``keep``; never the one of the UUID ``sparing``."""
        spared = {sparing, *self._open_uploads}
        closed = [name for name in self._partial_names() if name.uuid not in spared]
        for name in closed[: max(0, len(closed) - keep)]:
            self.fs.remove(self.uploads / f"{name.stem}.part")
            self.fs.remove(self.uploads / f"{name.stem}.committed")

    def _outstanding_bytes(self) -> int:
        """Return what open uploads and splices have reserved and not written yet."""
        uploads = sum(up.name.size_bytes - up.written_bytes for up in self._open_uploads.values())
        return uploads + sum(growth.size_bytes - growth.written_bytes for growth in self._splices.values())

    def _taken_bytes(self) -> int:
        """Return what counts against the store's limit: what is here and what has been declared."""
        declared = sum(upload.name.size_bytes for upload in self._open_uploads.values())
        spliced = sum(growth.size_bytes for growth in self._splices.values())
        return sum(self._sizes.values()) + self.chunks.pack_bytes + declared + spliced

    def _make_room(self, size: int, *, keeps_reserve: bool, sparing: str = "", packs_of: str = "") -> None:
        """Evict until ``size`` more bytes fit under both limits.

        Raises:
            BusyError: they do not fit.
        """
        reserve = self._reserve_bytes if keeps_reserve else 0

        def lacking() -> int:
            free = self.fs.free_bytes(self.root) - reserve - self._outstanding_bytes()
            return size - min(free, self._store_bytes - self._taken_bytes())

        short = lacking()
        if short <= 0:
            return
        evictable = self._evictable()
        spared = {packs_of, *self._splices}
        partial = self._partial_bytes(sparing) + self.chunks.removable_bytes(spared)
        if short > partial + sum(self._sizes[digest] for digest in evictable):
            raise BusyError(
                f"the device has no room for {size} bytes: {short} are lacking, and what may be removed does "
                f"not make up for them (store limit {self._store_bytes}, reserve {self._reserve_bytes}).",
                next_step="Free space on the device, or let its agent use more of it.",
            )
        self._forget_partials(keep=0, sparing=sparing)
        self.chunks.forget_packs(spared)
        for digest in evictable:
            if lacking() <= 0:
                return
            _log.info("evicting blob %s", digest)
            self._remove_blob(digest)
        if lacking() > 0:
            raise BusyError(f"the device has no room for {size} bytes.", next_step="Free space on it.")

    def _partial_bytes(self, sparing: str) -> int:
        spared = {sparing, *self._open_uploads}
        return sum(
            self.fs.size(self.uploads / f"{name.stem}.part")
            for name in self._partial_names()
            if name.uuid not in spared
        )
