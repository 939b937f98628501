"""What a disk holds when the power is cut: the model behind the simulated file system.

Every change is an operation. Data reach the disk with ``Sync`` of their file, names with ``SyncDirectory``
of their directory. Until then each operation alone may or may not have reached it, in any order, and a write
may have reached it in part or as zeros (the abstract persistence model of ALICE; Pillai et al., OSDI 2014).
A rename is one atomic operation of the directory it renames into.
"""

from __future__ import annotations

import enum
import itertools
import math
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from edgeloop_foundation.errors import InvalidInputError

__all__ = [
    "ROOT",
    "Disk",
    "Image",
    "Link",
    "Operation",
    "ReadOnly",
    "Rename",
    "Sync",
    "SyncDirectory",
    "SyncFailed",
    "Truncate",
    "Unlink",
    "Write",
]

ROOT = 0
"""Inode of the root directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """Bytes put into a file."""

    inode: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Truncate:
    """A file cut or extended with zeros."""

    inode: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOnly:
    """The right to write taken from everybody."""

    inode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A name given to a new file or directory."""

    directory: int
    name: str
    inode: int
    is_directory: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlink:
    """A name taken away."""

    directory: int
    name: str
    inode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rename:
    """A name moved, over whatever had the new name."""

    source: int
    source_name: str
    directory: int
    name: str
    inode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sync:
    """Data of a file made durable."""

    inode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncFailed:
    """A sync that failed: as on Linux, a later one will not save what this one lost."""

    inode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncDirectory:
    """Names in a directory made durable."""

    directory: int


_Change = Write | Truncate | ReadOnly | Link | Unlink | Rename
Operation = _Change | Sync | SyncFailed | SyncDirectory


class _Reached(enum.Enum):
    """How much of an operation reached the disk."""

    NOTHING = 0
    WHOLE = 1
    HALF = 2
    ZEROS = 3


@dataclass(slots=True, kw_only=True)
class Image:
    """The content of a disk: directories, files and their modes, by inode."""

    children: dict[int, dict[str, int]] = field(default_factory=lambda: {ROOT: {}})
    content: dict[int, bytearray] = field(default_factory=dict)
    read_only: set[int] = field(default_factory=set)

    def copy(self) -> Image:
        """Return an independent copy."""
        return Image(
            children={inode: dict(names) for inode, names in self.children.items()},
            content={inode: bytearray(data) for inode, data in self.content.items()},
            read_only=set(self.read_only),
        )

    def apply(self, change: _Change, reached: _Reached = _Reached.WHOLE) -> None:
        """Carry out a change as far as it reached the disk."""
        if reached is _Reached.NOTHING:
            return
        if isinstance(change, Write):
            self._write(change, reached)
        elif isinstance(change, Truncate):
            data = self.content.setdefault(change.inode, bytearray())
            del data[change.size :]
            data.extend(bytes(change.size - len(data)))
        elif isinstance(change, ReadOnly):
            self.read_only.add(change.inode)
        else:
            self._name(change)

    def _write(self, change: Write, reached: _Reached) -> None:
        put = change.data
        if reached is _Reached.HALF:
            put = put[: len(put) // 2]
        elif reached is _Reached.ZEROS:
            put = bytes(len(put))
        data = self.content.setdefault(change.inode, bytearray())
        data.extend(bytes(max(0, change.offset - len(data))))
        data[change.offset : change.offset + len(put)] = put

    def _name(self, change: Link | Unlink | Rename) -> None:
        names = self.children.setdefault(change.directory, {})
        if isinstance(change, Unlink):
            if names.get(change.name) == change.inode:
                del names[change.name]
            return
        if isinstance(change, Rename):
            source = self.children.setdefault(change.source, {})
            if source.get(change.source_name) == change.inode:
                del source[change.source_name]
        elif change.is_directory:
            self.children.setdefault(change.inode, {})
        names[change.name] = change.inode

    def tree(self, inode: int = ROOT, prefix: str = "") -> Iterator[tuple[str, bytes | None]]:
        """Yield path and content of everything with a name; None stands for a directory."""
        for name, child in sorted(self.children[inode].items()):
            path = f"{prefix}/{name}"
            if child in self.children:
                yield path, None
                yield from self.tree(child, path)
            else:
                yield path, bytes(self.content.get(child, b""))


class Disk:
    """What is durable, and what may or may not be."""

    def __init__(self, durable: Image) -> None:
        self.durable = durable
        self._pending: list[_Change] = []
        self._lost: set[int] = set()

    def feed(self, operation: Operation) -> None:
        """Take the next operation in."""
        if isinstance(operation, Sync):
            self._settle(lambda change: _touches_data(change, operation.inode))
        elif isinstance(operation, SyncFailed):
            self._lost.update(id(c) for c in self._pending if _touches_data(c, operation.inode))
        elif isinstance(operation, SyncDirectory):
            self._settle(lambda change: getattr(change, "directory", None) == operation.directory)
        else:
            self._pending.append(operation)

    def _settle(self, concerns: Callable[[_Change], bool]) -> None:
        waiting = []
        for change in self._pending:
            if id(change) not in self._lost and concerns(change):
                self.durable.apply(change)
            else:
                waiting.append(change)
        self._pending = waiting

    def crash(self, source: random.Random) -> Image:
        """Return one of the images that a power cut now may leave."""
        return self._image([source.choice(_outcomes(change)) for change in self._pending])

    def crash_images(self, limit: int) -> Iterator[Image]:
        """Yield every image that a power cut now may leave.

        Raises:
            InvalidInputError: there are more than ``limit``.
        """
        outcomes = [_outcomes(change) for change in self._pending]
        if math.prod(map(len, outcomes)) > limit:
            raise InvalidInputError(
                f"{len(outcomes)} operations without sync leave more than {limit} crash states.",
                next_step="Draw some with crash(seed), or sync or settle more often.",
            )
        for reached in itertools.product(*outcomes):
            yield self._image(reached)

    def _image(self, reached: Iterable[_Reached]) -> Image:
        image = self.durable.copy()
        for change, extent in zip(self._pending, reached, strict=True):
            image.apply(change, extent)
        return image


def _touches_data(change: _Change, inode: int) -> bool:
    return isinstance(change, Write | Truncate | ReadOnly) and change.inode == inode


def _outcomes(change: _Change) -> tuple[_Reached, ...]:
    if isinstance(change, Write):
        return tuple(_Reached)
    return (_Reached.NOTHING, _Reached.WHOLE)
