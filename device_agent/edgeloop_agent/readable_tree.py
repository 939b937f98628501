"""Artifacts that a process of another account may read, for as long as it lives.

The agent's own directory stays closed to everybody. Where a unit shows parts of it to a process of another account,
exactly the artifact that is in use is opened there, and the way to it may be walked and not listed.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

__all__ = ["ReadableTree"]

_READ, _WALK = stat.S_IROTH, stat.S_IXOTH


class ReadableTree:
    """What is open below one directory, counted by who asked; methods block on the disk.

    Args:
        root: the agent's directory, which itself is left as it is.
    """

    def __init__(self, root: Path) -> None:
        self._root, self._users = root, Counter[Path]()
        self._lock = threading.Lock()

    def open(self, directories: Iterable[Path]) -> None:
        """Let others read these directories.

        Raises:
            ValueError: one does not lie below the root.
            OSError: the disk, or a file of another account.
        """
        with self._lock:
            for directory in directories:
                for part in directory.relative_to(self._root).parents:
                    if part != Path():
                        _change(self._root / part, _WALK, True)
                self._users[directory] += 1
                _change_tree(directory, True)

    def close(self, directories: Iterable[Path]) -> None:
        """Undo it, unless somebody else still reads there; what is gone meanwhile is no error."""
        with self._lock:
            for directory in directories:
                self._users[directory] -= 1
                if self._users[directory] <= 0:
                    del self._users[directory]
                    with contextlib.suppress(OSError):
                        _change_tree(directory, False)


def _change_tree(directory: Path, on: bool) -> None:
    for name, _, files in os.walk(directory):
        for file in files:
            _change(Path(name, file), _READ, on)
        _change(Path(name), _READ | _WALK, on)


def _change(path: Path, bits: int, on: bool) -> None:
    mode = stat.S_IMODE(path.lstat().st_mode)
    wanted = mode | bits if on else mode & ~bits
    if wanted != mode and not path.is_symlink():
        path.chmod(wanted)
