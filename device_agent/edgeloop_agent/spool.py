"""Results, kept on the device until the controller says that it has stored them.

One file per record, named by its sequence number; written whole or not at all. Numbers start at 1, have no
holes and are never used again: the highest acknowledged one is kept when its file is gone. A new random epoch
marks a device that lost its state, so that its new numbers are not taken for old ones. A record that the disk
spoiled is set aside and counted.
"""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Iterator
from pathlib import Path

from edgeloop_foundation.errors import BusyError, CorruptDataError, InvalidInputError, StateError
from edgeloop_foundation.ports.fs import FileSystem, make_durable_directory, write_durably
from edgeloop_protocol.convert import from_json, to_canonical_json
from edgeloop_protocol.raw_samples import raw_samples
from edgeloop_protocol.types.run import Run, SpooledRun

from edgeloop_agent.epoch import new_epoch, read_epoch
from edgeloop_agent.sealed import seal, unseal

__all__ = ["Spool"]

_RECORD = re.compile(r"([0-9]{16})\.run")
_SPOILED = re.compile(r"([0-9]{16})\.corrupt")

_log = logging.getLogger(__name__)


class Spool:
    """The records of one device that nobody has acknowledged; methods block on the disk."""

    def __init__(self, fs: FileSystem, root: Path, *, reserve_bytes: int) -> None:
        self._fs = fs
        self._root = root
        self._reserve_bytes = reserve_bytes
        self._epoch = ""
        self._acknowledged = 0
        self._last = 0
        self._spoiled: set[int] = set()
        # Sequence number to the blobs of raw samples that the record names.
        self._records: dict[int, frozenset[str]] = {}
        self._lock = threading.RLock()

    def open(self) -> None:
        """Read what is there; set spoiled records aside."""
        make_durable_directory(self._fs, self._root)
        self._epoch = read_epoch(self._fs, self._root / "epoch") or self._new_epoch()
        self._acknowledged = self._read_acknowledged()
        self._last = self._acknowledged
        for name, _ in self._fs.entries(self._root):
            if name.endswith(".tmp"):
                self._fs.remove(self._root / name)
            elif match := _SPOILED.fullmatch(name):
                self._spoiled.add(int(match[1]))
            elif match := _RECORD.fullmatch(name):
                self._open_record(int(match[1]))
        self._last = max([self._last, *self._records, *self._spoiled])

    def _new_epoch(self) -> str:
        return new_epoch(self._fs, self._root / "epoch")

    def _read_acknowledged(self) -> int:
        path = self._root / "acknowledged"
        if not self._fs.exists(path):
            return 0
        try:
            tree = json.loads(unseal(self._fs.read(path)))
            # A number of another epoch says nothing about this one.
            return int(tree["up_to"]) if tree["epoch"] == self._epoch else 0
        except (CorruptDataError, ValueError, KeyError, TypeError):
            _log.error(
                "the acknowledged number is spoiled; a new epoch begins, so that no number is used twice"
            )
            self._epoch = self._new_epoch()
            return 0

    def _open_record(self, sequence: int) -> None:
        if sequence <= self._acknowledged:
            self._fs.remove(self._path(sequence))
            return
        run = self._load(sequence)
        if run is not None:
            self._records[sequence] = frozenset(raw_samples(run))

    def _path(self, sequence: int) -> Path:
        return self._root / f"{sequence:016d}.run"

    def _load(self, sequence: int) -> Run | None:
        """Return a record, or None after setting a spoiled one aside."""
        path = self._path(sequence)
        try:
            return from_json(unseal(self._fs.read(path)), Run)
        except (CorruptDataError, InvalidInputError) as error:
            _log.error("spool record %d is set aside: %s", sequence, error)
            self._fs.rename(path, path.with_suffix(".corrupt"))
            self._fs.sync_directory(self._root)
            self._spoiled.add(sequence)
            self._records.pop(sequence, None)
            return None

    @property
    def epoch(self) -> str:
        """Random identifier of this spool."""
        return self._epoch

    @property
    def next_sequence(self) -> int:
        """Number that the next record gets."""
        return self._last + 1

    @property
    def waiting_count(self) -> int:
        """Records that are not acknowledged."""
        return len(self._records)

    @property
    def spoiled_count(self) -> int:
        """Records that the disk spoiled and that were set aside."""
        return len(self._spoiled)

    def referenced_blobs(self) -> set[str]:
        """Return the blobs that waiting records name; they must not be evicted."""
        with self._lock:
            return {digest for digests in self._records.values() for digest in digests}

    def require_space(self) -> None:
        """Check that new measurements will find room.

        Raises:
            BusyError: less than the reserve is free.
        """
        free = self._fs.free_bytes(self._root)
        if free < self._reserve_bytes:
            raise BusyError(
                f"the device has {free} bytes free, less than the reserve of {self._reserve_bytes} "
                f"that results need; {self.waiting_count} of them wait to be fetched.",
                next_step="Fetch and acknowledge results, or free space on the device.",
            )

    def append(self, run: Run) -> int:
        """Keep a record durably and return its sequence number; a failure uses up no number.

        Raises:
            OSError: the disk refuses.
        """
        with self._lock:
            sequence = self._last + 1
            write_durably(self._fs, self._path(sequence), seal(to_canonical_json(run)))
            self._last = sequence
            self._records[sequence] = frozenset(raw_samples(run))
            return sequence

    def fetch(self, after_sequence: int) -> Iterator[SpooledRun]:
        """Yield the records beyond ``after_sequence``, oldest first."""
        with self._lock:
            wanted = sorted(sequence for sequence in self._records if sequence > after_sequence)
        for sequence in wanted:
            with self._lock:
                run = self._load(sequence) if sequence in self._records else None
            if run is not None:
                yield SpooledRun(epoch=self._epoch, sequence=sequence, run=run)

    def acknowledge(self, epoch: str, up_to_sequence: int) -> int:
        """Forget the records up to a number and return how many still wait.

        Raises:
            StateError: the epoch is another one.
            InvalidInputError: such a number was never given out.
        """
        with self._lock:
            if epoch != self._epoch:
                raise StateError(
                    f"the spool's epoch is {self._epoch}, not {epoch[:40]!r}.",
                    next_step="Fetch again and acknowledge what comes.",
                )
            if not 0 <= up_to_sequence <= self._last:
                raise InvalidInputError(
                    f"record {up_to_sequence} was never written; the last is {self._last}."
                )
            if up_to_sequence > self._acknowledged:
                body = json.dumps({"epoch": epoch, "up_to": up_to_sequence}).encode()
                write_durably(self._fs, self._root / "acknowledged", seal(body))
                self._acknowledged = up_to_sequence
            for sequence in [known for known in self._records if known <= up_to_sequence]:
                self._fs.remove(self._path(sequence))
                del self._records[sequence]
            return len(self._records)
