"""The ring of samples: numbered records in a few files, the oldest file given up when there is no room.

``epoch``       random identifier of the ring; another one marks a device that lost it
``NUMBER.seg``  records from that number on: length, CRC-32, number, compressed JSON; at most an eighth of the ring each

A sample that somebody was shown is on the disk for good: reading syncs first. So a power cut takes at most what nobody
has seen, and its numbers are used again; a kill takes nothing but a half-written record, which is counted. Every other
hole in the numbers is a sample that the disk refused or spoiled. Holes and what gave way are counted exactly, for every
reader from where it stands.
"""

from __future__ import annotations

import logging
import re
import struct
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_foundation.ports.fs import FileSystem, WritableFile, make_durable_directory
from edgeloop_protocol.convert import from_json, to_canonical_json
from edgeloop_protocol.types.telemetry import TelemetrySample, TelemetryStatus

from edgeloop_agent.epoch import new_epoch, read_epoch

__all__ = ["Ring"]

_SEGMENT = re.compile(r"([0-9]{16})\.seg")
_HEAD = struct.Struct("<II")
_NUMBER = struct.Struct("<q")
_SEGMENTS = 8
_SAMPLE_BYTES_MAX = 256 << 10
_TEXT_BYTES_MAX = 4 << 20
_CHUNK_BYTES = 64 << 10
_SYNC_EVERY = 6

_log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class _Segment:
    """One file."""

    path: Path
    #: Number that it begins at; there may be a hole first.
    first: int
    #: Runs of numbers without a hole, first and last of each.
    runs: list[tuple[int, int]] = field(default_factory=list)
    size_bytes: int = 0

    def add(self, number: int, end: int) -> None:
        """Take note of a record that ends at a byte of the file."""
        if self.runs and self.runs[-1][1] == number - 1:
            self.runs[-1] = (self.runs[-1][0], number)
        else:
            self.runs.append((number, number))
        self.size_bytes = end

    def kept_after(self, number: int) -> int:
        """Return how many samples there are beyond a number."""
        return sum(max(0, last - max(first - 1, number)) for first, last in self.runs)


class Ring:
    """The samples of one device; methods block on the disk and may be called by any thread.

    Args:
        fs: where they are kept.
        root: a directory of its own.
        capacity_bytes: most that they take together.
    """

    def __init__(self, fs: FileSystem, root: Path, *, capacity_bytes: int) -> None:
        self._fs, self._root, self._capacity_bytes = fs, root, capacity_bytes
        self._epoch = ""
        self._segments: list[_Segment] = []
        self._next = 1
        self._file: WritableFile | None = None
        self._unsynced = 0
        self._trouble = ""
        self._lock = threading.RLock()

    def open(self) -> None:
        """Take up what is there; what cannot be read is counted and left out."""
        make_durable_directory(self._fs, self._root)
        path = self._root / "epoch"
        self._epoch = read_epoch(self._fs, path)
        names = [name for name, _ in self._fs.entries(self._root)]
        if not self._epoch:
            # Without its epoch nobody can tell whose numbers these are.
            for name in names:
                self._fs.remove(self._root / name)
            names = []
            self._epoch = new_epoch(self._fs, path)
        for name in names:
            if name.endswith(".tmp"):
                self._fs.remove(self._root / name)
            elif match := _SEGMENT.fullmatch(name):
                self._open_segment(int(match[1]))
        self._make_room()

    def _open_segment(self, first: int) -> None:
        segment = _Segment(path=self._root / f"{first:016d}.seg", first=first)
        data = self._fs.read(segment.path)
        for number, _, end in _records(data):
            if number < max(first, self._next):
                break
            segment.add(number, end)
            self._next = number + 1
        self._next = max(self._next, first)
        if len(data) > segment.size_bytes:
            # A record that was being written when the agent was killed, or one that the disk spoiled: its number is
            # not used again, so that it counts as dropped.
            _log.warning("%s: %d bytes hold no sample", segment.path.name, len(data) - segment.size_bytes)
            self._next += 1
        self._segments.append(segment)

    @property
    def epoch(self) -> str:
        """Random identifier of this ring."""
        return self._epoch

    def append(self, sample: TelemetrySample) -> int:
        """Keep a sample under the next number and return the number, also when the disk did not take it."""
        with self._lock:
            number = self._next
            self._next += 1
            try:
                self._write(number, zlib.compress(to_canonical_json(replace(sample, sequence=number)), 6))
                self._trouble = ""
            except OSError as error:
                self._give_up(f"the disk takes no samples: {error.strerror or error}.")
            return number

    def skip(self, reason: str) -> None:
        """Use up a number for a sample that could not be taken."""
        with self._lock:
            self._next += 1
            self._give_up(reason)

    def _give_up(self, reason: str) -> None:
        if reason != self._trouble:
            _log.warning("telemetry: %s", reason)
        self._trouble = reason
        # What the file holds now is uncertain: the next sample begins another one.
        self._close()

    def _write(self, number: int, payload: bytes) -> None:
        body = _NUMBER.pack(number) + payload
        record = _HEAD.pack(len(body), zlib.crc32(body)) + body
        if (
            self._file is None
            or self._segments[-1].size_bytes + len(record) > self._capacity_bytes // _SEGMENTS
        ):
            self._begin_segment(number)
        if self._file is None:
            raise OSError("no file is open")
        self._file.write(record)
        self._segments[-1].add(number, self._segments[-1].size_bytes + len(record))
        self._unsynced += 1
        if self._unsynced >= _SYNC_EVERY:
            self._sync()
        self._make_room()

    def _begin_segment(self, number: int) -> None:
        self._sync()
        self._close()
        # One that holds nothing may have the same name.
        for empty in [segment for segment in self._segments if not segment.runs]:
            self._fs.remove(empty.path)
            self._segments.remove(empty)
        path = self._root / f"{number:016d}.seg"
        self._file = self._fs.create(path)
        self._fs.sync_directory(self._root)
        self._segments.append(_Segment(path=path, first=number))

    def _sync(self) -> None:
        if self._file is not None and self._unsynced:
            self._file.sync()
        self._unsynced = 0

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file, self._unsynced = None, 0

    def _make_room(self) -> None:
        while len(self._segments) > 1 and sum(s.size_bytes for s in self._segments) > self._capacity_bytes:
            self._fs.remove(self._segments.pop(0).path)

    def status(self, *, period_s: float, wall_s: float, reason: str = "") -> TelemetryStatus:
        """Return how the ring stands.

        Args:
            period_s: time between two samples now.
            wall_s: of the device, now.
            reason: what else is to be told.
        """
        with self._lock:
            first = next((segment.runs[0][0] for segment in self._segments if segment.runs), self._next)
            kept = sum(segment.kept_after(0) for segment in self._segments)
            return TelemetryStatus(
                epoch=self._epoch,
                period_s=period_s,
                wall_s=wall_s,
                first_sequence=first,
                next_sequence=self._next,
                evicted_count=first - 1,
                spoiled_count=self._next - first - kept,
                kept_bytes=sum(segment.size_bytes for segment in self._segments),
                capacity_bytes=self._capacity_bytes,
                reason=" ".join(part for part in (self._trouble, reason) if part),
            )

    def read(self, epoch: str, after: int) -> tuple[int, Iterator[TelemetrySample]]:
        """Return how many samples after a number are lost to this reader, and those that are kept, oldest first.

        Args:
            epoch: what the number belongs to; another one than the ring's stands for nothing read yet.
            after: number of the last sample that was read.

        Raises:
            InvalidInputError: the number is negative.
        """
        if after < 0:
            raise InvalidInputError(f"a sequence number is not negative, found {after}.")
        with self._lock:
            after = after if epoch == self._epoch else 0
            try:
                self._sync()
            except OSError as error:
                self._give_up(f"the disk takes no samples: {error.strerror or error}.")
            wanted = [segment for segment in self._segments if segment.kept_after(after)]
            kept = sum(segment.kept_after(after) for segment in wanted)
            dropped = max(0, self._next - 1 - after - kept)
            # Opened now: a file that gives way while the reader is slow is still read to its end.
            opened = [(segment.size_bytes, self._opened(segment.path)) for segment in wanted]
        return dropped, (sample for size, parts in opened for sample in _samples(parts, size, after))

    def _opened(self, path: Path) -> Iterator[bytes]:
        parts = self._fs.read_chunks(path, 0, _CHUNK_BYTES)
        return chain((next(parts, b""),), parts)

    def close(self) -> None:
        """Make durable what is there."""
        with self._lock:
            try:
                self._sync()
            except OSError as error:
                _log.warning("telemetry: the last samples may be lost: %s", error)
            self._close()


def _records(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Yield number, payload and end of each record, up to the first that is not whole."""
    start = 0
    while start + _HEAD.size <= len(data):
        length, check = _HEAD.unpack_from(data, start)
        end = start + _HEAD.size + length
        body = data[start + _HEAD.size : end]
        if not _NUMBER.size < length <= _SAMPLE_BYTES_MAX or end > len(data) or zlib.crc32(body) != check:
            return
        yield _NUMBER.unpack_from(body)[0], body[_NUMBER.size :], end
        start = end


def _samples(parts: Iterator[bytes], size_bytes: int, after: int) -> Iterator[TelemetrySample]:
    """Yield the samples beyond a number from the first bytes of a file."""
    left, taken = bytearray(), 0
    for part in parts:
        left += part[: size_bytes - taken]
        taken += len(part)
        done = 0
        for number, payload, done in _records(bytes(left)):  # noqa: B007 - where the last one ended
            if number > after:
                # Bounded: a few bytes must not become gigabytes.
                text = zlib.decompressobj().decompress(payload, _TEXT_BYTES_MAX)
                yield from_json(text, TelemetrySample)
        del left[:done]
        if taken >= size_bytes:
            return
