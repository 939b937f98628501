"""Lays an artifact out as plain files for one job, and takes it away afterwards.

The manifest is a blob that somebody sent: it is parsed as hostile text, every name is checked by the value it
becomes, every file is copied (a link would let a runner reach the store) and verified against its digest. What
the manifest has made from another file is made here, never longer than declared, and verified as well.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from edgeloop_foundation.errors import (
    BusyError,
    EdgeloopError,
    InvalidInputError,
    StateError,
)
from edgeloop_foundation.ports.fs import FileSystem
from edgeloop_protocol.convert import from_json
from edgeloop_protocol.types.artifact import Artifact

from edgeloop_agent.store import ContentStore
from edgeloop_agent.unpack import make_expanded

__all__ = ["MANIFEST_NAME", "Workspace"]

MANIFEST_NAME = "manifest.json"
"""Name of the manifest inside an artifact's directory."""

_MANIFEST_BYTES_MAX = 16 * 1024 * 1024
_FILES_MAX = 1000

_log = logging.getLogger(__name__)


class Workspace:
    """The directories of running jobs; methods block on the disk.

    Args:
        fs: holds the directories.
        root: where they are.
        store: has the blobs.
        reserve_bytes: stays free for results, whatever is copied.
    """

    def __init__(self, fs: FileSystem, root: Path, store: ContentStore, *, reserve_bytes: int = 0) -> None:
        self._fs = fs
        self._root = root
        self._store = store
        self._reserve_bytes = reserve_bytes

    def open(self) -> None:
        """Remove what an earlier process left."""
        for name, _ in self._fs.entries(self._root):
            self._fs.remove_tree(self._root / name)
        self._fs.make_directory(self._root)

    def require(self, digests: Iterable[str]) -> None:
        """Check that manifests and every file they name are in the store.

        Raises:
            InvalidInputError: a digest or a manifest cannot be used.
            StateError: blobs are missing.
        """
        for digest in digests:
            if self._store.size_of(digest) is None:
                raise StateError(
                    f"the manifest {digest} is not on the device.", next_step="Upload it, then submit again."
                )
            artifact = self.read_manifest(digest)
            absent = self._store.missing((entry.digest, entry.size_bytes) for entry in artifact.files)
            if absent:
                raise StateError(
                    f"{len(absent)} of {len(artifact.files)} files of artifact {digest} are not on the "
                    f"device, among them {absent[0][0]} with {absent[0][1]} bytes.",
                    next_step="Upload what FindMissingBlobs names, then submit again.",
                )

    def blobs_of(self, digests: Iterable[str]) -> set[str]:
        """Return every blob that these artifacts need; a manifest that cannot be read counts for itself."""
        found: set[str] = set()
        for digest in digests:
            found.add(digest)
            try:
                found.update(entry.digest for entry in self.read_manifest(digest).files)
            except EdgeloopError as error:
                _log.warning("artifact %s is not pinned: %s", digest, error)
        return found

    def read_manifest(self, digest: str) -> Artifact:
        """Return a verified and checked manifest.

        Raises:
            NotFoundError: it is not in the store.
            InvalidInputError: it is not a manifest.
            CorruptDataError: the disk changed it.
        """
        data = self._store.read_verified(digest, _MANIFEST_BYTES_MAX)
        artifact = from_json(data, Artifact)
        entries = [*artifact.files, *(expansion.made for expansion in artifact.expansions)]
        if len(entries) > _FILES_MAX:
            raise InvalidInputError(
                f"artifact {digest} has {len(entries)} files, at most {_FILES_MAX} are taken."
            )
        if any(entry.name == MANIFEST_NAME for entry in entries):
            raise InvalidInputError(f"artifact {digest} names a file {MANIFEST_NAME}, which is its own.")
        return artifact

    def materialise(self, job_id: str, digest: str) -> Path:
        """Copy an artifact into a fresh directory of its own and return it.

        Raises:
            NotFoundError: a blob is missing.
            InvalidInputError: the manifest cannot be used.
            CorruptDataError: a blob does not match its digest.
            BusyError: no room for the copies.
        """
        artifact = self.read_manifest(digest)
        size = sum(entry.size_bytes for entry in artifact.files) + artifact.expanded_bytes
        if size + self._reserve_bytes > self._fs.free_bytes(self._root):
            raise BusyError(
                f"artifact {digest} needs {size} bytes beside the store and the reserve of "
                f"{self._reserve_bytes} for results.",
                next_step="Free space on the device.",
            )
        directory = self._root / job_id / digest
        self._fs.make_directory(directory)
        self._store.copy_verified(digest, self._fs, directory / MANIFEST_NAME)
        for entry in artifact.files:
            self._store.copy_verified(entry.digest, self._fs, directory / entry.name)
            self._fs.set_read_only(directory / entry.name)
        for expansion in artifact.expansions:
            make_expanded(self._fs, expansion, directory, sync=False)
        return directory

    def remove(self, job_id: str) -> None:
        """Remove the directories of a job."""
        self._fs.remove_tree(self._root / job_id)
