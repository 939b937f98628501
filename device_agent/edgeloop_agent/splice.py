"""Putting a blob together from content that the device has already.

Rules:
- The result appears only when its SHA-256 is the declared one, synced, by one rename; until then it is a ``.tmp`` file
  that the next start sweeps.
- Its whole size is reserved before the first byte, beside the blobs and packs that it is made from.
- A wrong result is looked into: the lists that lied are dropped, so that the same question gets a true answer.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from edgeloop_foundation.errors import EdgeloopError, InvalidInputError, NotFoundError, UnavailableError
from edgeloop_foundation.ports.fs import WritableFile
from edgeloop_protocol.chunk_list import Chunk, check_chunks

from edgeloop_agent.chunks import Place
from edgeloop_agent.store import ContentStore, Growth
from edgeloop_agent.upload import PAST_CACHE_BYTES, READ_BYTES, disk_error

__all__ = ["Splicer"]

_SYNC_BYTES = 16 << 20

_log = logging.getLogger(__name__)

_Places = Mapping[tuple[bytes, int], Place]


class Splicer:
    """Splices blobs of one store; methods block on the disk and may be called from several threads."""

    def __init__(self, store: ContentStore) -> None:
        self._store = store
        self._fs = store.fs
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Let splices that are under way end without a result."""
        self._stopped.set()

    def missing(self, chunks: Sequence[Chunk]) -> list[Chunk]:
        """Return those chunks that are nowhere here, and mark the blobs that have the others as used."""
        found = self._store.chunks.locate({(chunk.digest, chunk.size_bytes) for chunk in chunks})
        self._store.touch({place.blob for place in found.values()})
        return [chunk for chunk in chunks if (chunk.digest, chunk.size_bytes) not in found]

    def splice(self, digest: str, size_bytes: int, chunks: Sequence[Chunk]) -> None:
        """Make a blob of chunks and keep their list; of a blob that is here, keep the list alone.

        Raises:
            InvalidInputError: the chunks cannot be those of such a blob, or their content has another digest.
            NotFoundError: chunks are missing, or the content that was thought to be theirs was not.
            StateError: the same blob is being spliced already.
            BusyError: no room.
            UnavailableError: the agent is going down.
            CorruptDataError: the disk failed.
        """
        check_chunks(chunks, size_bytes)
        if self._store.size_of(digest) != size_bytes:
            self._make(digest, size_bytes, chunks)
        self._store.chunks.keep_list(digest, chunks)

    def _make(self, digest: str, size_bytes: int, chunks: Sequence[Chunk]) -> None:
        places = self._store.chunks.locate({(chunk.digest, chunk.size_bytes) for chunk in chunks})
        absent = sum((chunk.digest, chunk.size_bytes) not in places for chunk in chunks)
        if absent:
            raise NotFoundError(
                f"{absent} of the {len(chunks)} chunks of blob {digest} are not on the device.",
                next_step="Ask which ones are missing and send them, or send the blob whole.",
            )
        temporary = self._store.uploads / f"{secrets.token_hex(12)}.tmp"
        sources = {place.blob for place in places.values()}
        with self._store.growing(digest, size_bytes, sources) as growth:
            try:
                found = self._write(temporary, chunks, places, growth)
                if found == digest:
                    self._store.adopt_spliced(temporary, digest, size_bytes)
                    return
            except FileNotFoundError as error:
                raise NotFoundError(
                    f"chunks of blob {digest} were removed meanwhile.",
                    next_step="Ask which ones are missing and send them, or send the blob whole.",
                ) from error
            except EdgeloopError:
                raise  # some of ours are OSErrors, too
            except OSError as error:
                raise disk_error(error, self._store.root) from error
            finally:
                # What cannot be removed now goes at the next start.
                with contextlib.suppress(OSError):
                    self._fs.remove(temporary)
        self._drop_liars(places)
        raise InvalidInputError(
            f"the chunks make a blob with the SHA-256 {found}, not the declared {digest}.",
            next_step="Name it by its own digest and list its own chunks.",
        )

    def _write(self, path: Path, chunks: Sequence[Chunk], places: _Places, growth: Growth) -> str:
        """Write the chunks into a new file, synced, and return the digest of all."""
        hasher = hashlib.sha256()
        file = self._fs.create(path)
        try:
            if growth.size_bytes >= PAST_CACHE_BYTES:
                file.bypass_cache()
            unsynced = 0
            for data in self._content(_runs(chunks, places)):
                hasher.update(data)
                file.write(data)
                growth.written_bytes += len(data)
                unsynced += len(data)
                if unsynced >= _SYNC_BYTES:
                    self._settle(file)
                    unsynced = 0
            file.sync()
        finally:
            file.close()
        return hasher.hexdigest()

    def _settle(self, file: WritableFile) -> None:
        # Little by little: one sync of a gigabyte would hold up everything else on a memory card.
        file.sync()
        if self._stopped.is_set():
            raise UnavailableError("the agent is going down.", next_step="Try again when it is back.")

    def _content(self, runs: Iterator[Place]) -> Iterator[bytes]:
        for run in runs:
            left = run.size_bytes
            for data in self._fs.read_chunks(run.path, run.offset, min(left, READ_BYTES)):
                yield data[:left]
                left -= min(left, len(data))
                if left == 0:
                    break

    def _drop_liars(self, places: _Places) -> None:
        """Drop the lists of blobs and packs whose content is not what they say.

        Raises:
            NotFoundError: there were some.
        """
        lied = 0
        for (digest, _), place in places.items():
            hasher = hashlib.sha256()
            try:
                for data in self._content(iter((place,))):
                    hasher.update(data)
            except FileNotFoundError:
                pass
            if hasher.digest() != digest:
                lied += 1
                self._store.forget_source(place)
        if lied:
            _log.warning("%s chunks were not what a list said; those lists are dropped", lied)
            raise NotFoundError(
                f"{lied} chunks on the device are not what they were said to be.",
                next_step="Ask which ones are missing and send them, or send the blob whole.",
            )


def _runs(chunks: Sequence[Chunk], places: _Places) -> Iterator[Place]:
    """Yield the places of chunks in order, neighbours in one file joined."""
    path, blob, begin, end = Path(), "", 0, 0
    for chunk in chunks:
        place = places[chunk.digest, chunk.size_bytes]
        if place.path == path and place.offset == end:
            end += place.size_bytes
            continue
        if end > begin:
            yield Place(path=path, offset=begin, size_bytes=end - begin, blob=blob)
        path, blob, begin = place.path, place.blob, place.offset
        end = begin + place.size_bytes
    if end > begin:
        yield Place(path=path, offset=begin, size_bytes=end - begin, blob=blob)
