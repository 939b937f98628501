"""Random identifiers of what a device numbers: of one that lost its state, new numbers are not taken for old ones."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

from edgeloop_foundation.ports.fs import FileSystem, write_durably

__all__ = ["new_epoch", "read_epoch"]

_EPOCH = re.compile(r"[0-9a-f]{32}")


def read_epoch(fs: FileSystem, path: Path) -> str:
    """Return the epoch that a file holds; empty when there is none, or a spoiled one."""
    stored = fs.read(path).decode("ascii", "replace").strip() if fs.exists(path) else ""
    return stored if _EPOCH.fullmatch(stored) else ""


def new_epoch(fs: FileSystem, path: Path) -> str:
    """Begin an epoch: write it down durably and return it."""
    epoch = secrets.token_hex(16)
    write_durably(fs, path, epoch.encode() + b"\n")
    return epoch
