"""Artifacts in a directory, named by the SHA-256 of their manifest.

Layout below the root::

    blobs/SHA256            content of a file or of a manifest, read-only
    chunks-1/SHA256         the list of that content's chunks
    index/SHA256            written last: from then on the artifact exists; holds the time it came
    artifacts/SHA256/NAME   the files under their names and manifest.json, made when somebody first asks
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from edgeloop_foundation.errors import (
    AlreadyExistsError,
    BusyError,
    CorruptDataError,
    InvalidInputError,
    NotFoundError,
)
from edgeloop_foundation.packed import expand
from edgeloop_foundation.ports.clock import Clock, SystemClock
from edgeloop_foundation.ports.fs import FileSystem, OsFileSystem, make_durable_directory, write_durably
from edgeloop_protocol.chunk_list import CHUNKED_BYTES_MIN, Chunk, decode_chunks, encode_chunks
from edgeloop_protocol.convert import from_json, to_canonical_json
from edgeloop_protocol.types.artifact import Artifact, Expansion

__all__ = ["MANIFEST_NAME", "ArtifactDirectory", "disk_errors"]

MANIFEST_NAME = "manifest.json"
"""Name of the manifest among an artifact's files."""

# The number stands for the way of cutting: with another one, old lists would match nothing.
_CHUNKS = "chunks-1"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_CHUNK_BYTES = 1 << 20


@contextlib.contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Turn a full disk into a ``BusyError`` that names what could not be stored.

    Raises:
        BusyError: no space or quota left.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise BusyError(
            f"no space left to store {what}.", next_step="Free some disk space and run it again."
        ) from error


class ArtifactDirectory:
    """Artifacts in a local directory; several processes may use it at once."""

    def __init__(self, root: Path, fs: FileSystem | None = None, clock: Clock | None = None) -> None:
        self._root = root.absolute()
        self._fs = fs or OsFileSystem()
        self._clock = clock or SystemClock()
        # Content checked once by this process; blobs are read-only and named by their content.
        self._verified: set[str] = set()
        self._swept = False

    def put(self, manifest: Artifact, files: Mapping[str, Path]) -> str:
        """Store an artifact whole or not at all and return its digest; storing it again is no error.

        Args:
            manifest: names every file with its digest and size.
            files: file name -> path of its content.

        Raises:
            InvalidInputError: the files are not those that the manifest names.
            CorruptDataError: a file's content is not what the manifest says.
            BusyError: the disk is full; nothing is left behind.
        """
        named = {entry.name for entry in manifest.files}
        if named != set(files):
            raise InvalidInputError(
                f"artifact {manifest.label!r} names the files {sorted(named)} but got {sorted(files)}."
            )
        content = to_canonical_json(manifest)
        digest = hashlib.sha256(content).hexdigest()
        with disk_errors(f"artifact {manifest.label!r}"):
            self._prepare()
            if not self._complete(manifest, digest):
                self._publish(manifest, files, digest, content)
                # Now, while the content is in memory, and not when somebody waits for a push.
                for entry in manifest.files:
                    if entry.size_bytes >= CHUNKED_BYTES_MIN:
                        self.chunks(entry.digest)
        return digest

    def manifest(self, digest: str) -> Artifact:
        """Return a manifest.

        Raises:
            NotFoundError: no such artifact.
            CorruptDataError: what is stored does not match the digest.
        """
        self._require(digest)
        return from_json(self._fs.read(self.blob(digest)), Artifact)

    def copy_to(self, digest: str, directory: Path) -> None:
        """Copy an artifact's files and manifest into a new directory, which belongs to the user.

        Raises:
            AlreadyExistsError: the directory is there already.
            NotFoundError: no such artifact.
        """
        if directory.exists():
            raise AlreadyExistsError(f"{directory} exists already.", next_step="Name another with --output.")
        shutil.copytree(self.directory(digest), directory)
        for file in directory.iterdir():
            # The store's files are read-only because they never change.
            file.chmod(0o644)

    def directory(self, digest: str) -> Path:
        """Return the directory that holds the artifact's files under their names, and "manifest.json".

        Raises:
            NotFoundError: no such artifact.
            CorruptDataError: what is stored does not match its digest.
            BusyError: the disk is full.
        """
        manifest = self.manifest(digest)
        content = {entry.name: self.blob(entry.digest) for entry in manifest.files}
        content[MANIFEST_NAME] = self.blob(digest)
        path = self._root / "artifacts" / digest
        if not self._fs.exists(path):
            with disk_errors(f"artifact {manifest.label!r}"):
                self._materialise(path, content, manifest.expansions)
        return path

    def blob(self, digest: str) -> Path:
        """Return the path of one file's content, the manifest's included, by its SHA-256.

        Raises:
            NotFoundError: no such content.
            CorruptDataError: what is stored does not match the digest.
        """
        path = self._blob(digest)
        if not _DIGEST.fullmatch(digest) or not self._fs.exists(path):
            raise NotFoundError(f"no content {digest[:12]!r} in {self._root}.")
        if digest not in self._verified:
            self._verify(path, digest)
        return path

    def chunks(self, digest: str) -> tuple[Chunk, ...]:
        """Return the chunks that one file's content is cut into, in order; they are kept from the first time on.

        Raises:
            NotFoundError: no such content.
            CorruptDataError: what is stored does not match the digest.
        """
        blob, path = self.blob(digest), self._root / _CHUNKS / digest
        if self._fs.exists(path):
            with contextlib.suppress(CorruptDataError):
                return decode_chunks(self._fs.read(path))
        # It brings numpy along.
        from edgeloop.store.chunking import chunk_stream, mean_bytes

        pieces = self._fs.read_chunks(blob, 0, _CHUNK_BYTES)
        found = tuple(chunk_stream(lambda _size: next(pieces, b""), mean_bytes(self._fs.size(blob))))
        with contextlib.suppress(OSError):
            # A list that is not kept is made again the next time.
            make_durable_directory(self._fs, path.parent)
            write_durably(self._fs, path, encode_chunks(found))
        return found

    def digests(self) -> tuple[str, ...]:
        """Return the digests of all artifacts, oldest first."""
        index = self._root / "index"
        names = [name for name, _ in self._fs.entries(index) if _DIGEST.fullmatch(name)]
        return tuple(sorted(names, key=lambda name: (self._fs.read(index / name), name)))

    def find(self, text: str) -> str:
        """Return the one digest that begins with ``text``.

        Raises:
            NotFoundError: none does, or several do.
        """
        known = self.digests()
        found = [digest for digest in known if text and digest.startswith(text)]
        if len(found) != 1:
            listed = ", ".join(digest[:12] for digest in (found or known)[-10:]) or "none"
            raise NotFoundError(
                f"{len(found) or 'no'} artifacts begin with {text!r}.", next_step=f"There are: {listed}."
            )
        return found[0]

    def _blob(self, digest: str) -> Path:
        return self._root / "blobs" / digest

    def _index(self, digest: str) -> Path:
        return self._root / "index" / digest

    def _require(self, digest: str) -> None:
        if not _DIGEST.fullmatch(digest) or not self._fs.exists(self._index(digest)):
            listed = ", ".join(known[:12] for known in self.digests()[-10:]) or "none"
            raise NotFoundError(
                f"no artifact {digest[:12]!r} in {self._root}.", next_step=f"There are: {listed}."
            )

    def _complete(self, manifest: Artifact, digest: str) -> bool:
        """Whether all of it is there; content that somebody removed because it was corrupt is stored anew."""
        content = [digest, *(entry.digest for entry in manifest.files)]
        return self._fs.exists(self._index(digest)) and all(self._fs.exists(self._blob(d)) for d in content)

    def _prepare(self) -> None:
        for name in ("blobs", "index", "artifacts"):
            make_durable_directory(self._fs, self._root / name)
        if not self._swept:
            self._sweep()
            self._swept = True

    def _sweep(self) -> None:
        """Remove what processes that are gone left half-made."""
        for folder in ("blobs", "artifacts"):
            for name, size in self._fs.entries(self._root / folder):
                owner = re.fullmatch(r"\..+\.(\d+)\.[0-9a-f]+\.tmp", name)
                if owner and not _alive(int(owner[1])):
                    path = self._root / folder / name
                    self._fs.remove_tree(path) if size < 0 else self._fs.remove(path)

    def _publish(self, manifest: Artifact, files: Mapping[str, Path], digest: str, content: bytes) -> None:
        staged: dict[str, Path] = {}
        try:
            for entry in manifest.files:
                if entry.digest not in staged and not self._fs.exists(self._blob(entry.digest)):
                    staged[entry.digest] = self._stage(files[entry.name], entry.digest, entry.name)
            for name, temporary in staged.items():
                self._fs.rename(temporary, self._blob(name))
                self._verified.add(name)
            if not self._fs.exists(self._blob(digest)):
                write_durably(self._fs, self._blob(digest), content)
            self._fs.sync_directory(self._root / "blobs")
            arrived = f"{int(self._clock.wall_s() * 1e9):020d}"
            write_durably(self._fs, self._index(digest), arrived.encode())
        finally:
            for temporary in staged.values():
                self._fs.remove(temporary)

    def _stage(self, source: Path, digest: str, name: str) -> Path:
        """Copy a file beside its later place, synced and read-only; verify it on the way."""
        temporary = _temporary(self._blob(digest))
        hasher = hashlib.sha256()
        file = self._fs.create(temporary)
        try:
            with source.open("rb") as content:
                while chunk := content.read(_CHUNK_BYTES):
                    hasher.update(chunk)
                    file.write(chunk)
            if hasher.hexdigest() != digest:
                raise CorruptDataError(
                    f"{name} has the digest {hasher.hexdigest()[:12]}, the manifest says {digest[:12]}."
                )
            file.sync()
        except (OSError, CorruptDataError):
            file.close()
            self._fs.remove(temporary)
            raise
        file.close()
        self._fs.set_read_only(temporary)
        return temporary

    def _materialise(
        self, path: Path, content: Mapping[str, Path], expansions: tuple[Expansion, ...]
    ) -> None:
        temporary = _temporary(path)
        self._fs.make_directory(temporary)
        try:
            for name, blob in content.items():
                self._link(blob, temporary / name)
            for expansion in expansions:
                self._expand(expansion, temporary)
            self._fs.rename(temporary, path)
        except OSError:
            # Another process may have been faster: then the directory is there, with the same content.
            if not self._fs.exists(path):
                raise
        finally:
            self._fs.remove_tree(temporary)

    def _link(self, blob: Path, path: Path) -> None:
        """Give a blob a second name; a copy where the file system has no links."""
        if isinstance(self._fs, OsFileSystem):
            with contextlib.suppress(OSError):
                path.hardlink_to(blob)
                return
        file = self._fs.create(path)
        try:
            for chunk in self._fs.read_chunks(blob, 0, _CHUNK_BYTES):
                file.write(chunk)
        finally:
            file.close()
        self._fs.set_read_only(path)

    def _expand(self, expansion: Expansion, directory: Path) -> None:
        hasher = hashlib.sha256()
        pieces = self._fs.read_chunks(directory / expansion.source, 0, _CHUNK_BYTES)
        file = self._fs.create(directory / expansion.made.name)
        try:
            for content in expand(pieces, expansion.made.size_bytes):
                hasher.update(content)
                file.write(content)
        finally:
            file.close()
        if hasher.hexdigest() != expansion.made.digest:
            raise CorruptDataError(
                f"{expansion.made.name} made from {expansion.source} has the digest {hasher.hexdigest()[:12]}, "
                f"the manifest says {expansion.made.digest[:12]}.",
                next_step="Build the artifact again.",
            )
        self._fs.set_read_only(directory / expansion.made.name)

    def _verify(self, path: Path, digest: str) -> None:
        hasher = hashlib.sha256()
        for chunk in self._fs.read_chunks(path, 0, _CHUNK_BYTES):
            hasher.update(chunk)
        if hasher.hexdigest() != digest:
            raise CorruptDataError(
                f"{path} holds {hasher.hexdigest()[:12]}, not {digest[:12]}.",
                next_step="Remove that file and build the artifact again.",
            )
        self._verified.add(digest)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(6)}.tmp")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
