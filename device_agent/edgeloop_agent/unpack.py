"""Makes the files of an artifact that do not travel, from those that do."""

from __future__ import annotations

import hashlib
from pathlib import Path

from edgeloop_foundation.errors import CorruptDataError
from edgeloop_foundation.packed import expand
from edgeloop_foundation.ports.fs import FileSystem
from edgeloop_protocol.types.artifact import Expansion

__all__ = ["make_expanded"]

_PIECE_BYTES = 1 << 18


def make_expanded(fs: FileSystem, expansion: Expansion, directory: Path, *, sync: bool) -> None:
    """Make one file beside the file that it is packed in, never longer than declared, and verify it.

    The packed file has been verified by who put it there. Blocks on the disk.

    Args:
        fs: holds the directory.
        expansion: what is made, and from what.
        directory: where both are.
        sync: whether the file's content is made durable; the directory's entry is the caller's.

    Raises:
        CorruptDataError: the packed file is none, or gives something else than the manifest says.
    """
    made = expansion.made
    hasher = hashlib.sha256()
    file = fs.create(directory / made.name)
    try:
        for content in expand(fs.read_chunks(directory / expansion.source, 0, _PIECE_BYTES), made.size_bytes):
            hasher.update(content)
            file.write(content)
        if sync:
            file.sync()
    finally:
        file.close()
    if hasher.hexdigest() != made.digest:
        raise CorruptDataError(
            f"{made.name} made from {expansion.source} has the digest {hasher.hexdigest()[:12]}, the manifest "
            f"says {made.digest[:12]}.",
            next_step="Build the artifact again.",
        )
    fs.set_read_only(directory / made.name)
