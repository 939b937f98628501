"""Who did what to which device: an append-only file whose lines name their digest and that of the line before.

``audit.jsonl``          the lines
``audit.head``           number and digest of the last line that was acknowledged; written once that line is durable
``audit-torn-N.jsonl``   what a crash left of a line N that was never acknowledged
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeloop_foundation.errors import CorruptDataError
from edgeloop_foundation.locks import held_alone
from edgeloop_foundation.ports.fs import FileSystem, OsFileSystem, make_durable_directory, write_durably

__all__ = ["AuditLog", "AuditState"]

_START = "0" * 64
#: Stands in every line that was written when there was a file of the head.
_ANCHORED = "anchored"

Head = tuple[int, str]
"""Number of a line, and its digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditState:
    """What an unbroken log holds."""

    #: Number of lines.
    count: int
    #: Digest of the last one.
    head: str
    #: Bytes behind it that a crash left of a line that was never acknowledged; the next line sets them aside.
    torn_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chain:
    """The lines as they were read."""

    #: Digests of the whole lines.
    digests: tuple[str, ...] = ()
    #: Size of the whole lines.
    size_bytes: int = 0
    #: Whether only the end of the last one is missing.
    open_ended: bool = False
    #: What stands behind them.
    torn: bytes = b""
    #: Whether a line was written when there was a file of the head.
    anchored: bool = False

    @property
    def last(self) -> Head:
        """The last line."""
        return len(self.digests), self.digests[-1] if self.digests else _START


class AuditLog:
    """One file of JSON lines.

    A chain shows that a line was changed, moved or taken out of the middle, and the file of the head that lines at the
    end were. Whoever may write both can make both anew: that shows only to somebody who wrote down an earlier head.
    """

    def __init__(self, path: Path, clock: Callable[[], float], fs: FileSystem | None = None) -> None:
        self._path, self._clock, self._fs = path, clock, fs or OsFileSystem()
        self._anchor = path.with_suffix(".head")

    def append(self, action: str, subject: str, outcome: str, **details: Any) -> str:
        """Add a line durably and return its digest, the new head; what a crash left of another one is set aside.

        Raises:
            CorruptDataError: the log is broken.
            OSError: it cannot be written; the line is not there.
        """
        make_durable_directory(self._fs, self._path.parent)
        with held_alone(self._path):
            if not self._fs.exists(self._path):
                self._fs.create(self._path).close()
            chain, anchor = self._read()
            if anchor != chain.last:
                # A crash came between a line and its acknowledgement, or the log is new or of an earlier version.
                self._acknowledge(chain.last)
            chain = self._set_aside(chain)
            return self._add(chain, action, subject, outcome, details).last[1]

    def verify(self, known: str = "") -> AuditState:
        """Return what the log holds.

        Args:
            known: a head that was written down earlier; it must be among the lines.

        Raises:
            CorruptDataError: a line was changed, moved, taken out or cut off.
        """
        chain, _ = self._read()
        if known and known not in (_START, *chain.digests):
            raise CorruptDataError(
                f"{self._path}: no line has the digest {known[:80]}.",
                next_step="Lines were cut off or made anew since that head was written down, or it is of another log.",
            )
        count, head = chain.last
        return AuditState(count=count, head=head, torn_bytes=len(chain.torn))

    def entries(self, *, limit: int, before: int | None = None) -> tuple[dict[str, Any], ...]:
        """Return a page of lines, the last one first, as they stand: only ``verify`` says whether they are unbroken.

        Args:
            limit: most lines.
            before: only lines with a lower number, for the next page.
        """
        found: list[dict[str, Any]] = []
        lines = self._content().splitlines()
        for line in reversed(lines if before is None else lines[: max(0, before - 1)]):
            if len(found) == limit:
                break
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict):
                found.append(entry)
        return tuple(found)

    def _content(self) -> bytes:
        return self._fs.read(self._path) if self._fs.exists(self._path) else b""

    def _read(self) -> tuple[_Chain, Head | None]:
        """Return the lines and the head that was acknowledged; None for a log of an earlier version."""
        # In this order: a line that is added meanwhile makes the log longer than the head, never shorter.
        anchor = self._acknowledged()
        chain = self._chain(self._content())
        if anchor is None and chain.anchored:
            # The first lines may have come meanwhile.
            anchor = self._acknowledged()
        count = len(chain.digests)
        if anchor is None:
            if chain.anchored:
                raise self._incomplete(
                    f"{self._anchor} is missing, which says up to where it was acknowledged"
                )
        elif count < anchor[0]:
            raise self._incomplete(
                f"line {anchor[0]} was acknowledged and it ends with line {count}: what follows was cut off"
            )
        elif anchor[1] != (chain.digests[anchor[0] - 1] if anchor[0] else _START):
            raise self._broken(anchor[0], f"it is not the one that {self._anchor.name} says was acknowledged")
        return chain, anchor

    def _chain(self, data: bytes) -> _Chain:
        digests: list[str] = []
        at, ended, anchored = 0, True, False
        while at < len(data):
            end = data.find(b"\n", at)
            line = data[at:] if end < 0 else data[at:end]
            try:
                entry = self._entry(line, len(digests) + 1, digests[-1] if digests else _START)
            except CorruptDataError:
                if _may_be_torn(data[at:]):
                    break
                raise
            anchored = anchored or bool(entry.get(_ANCHORED))
            digests.append(entry["digest"])
            at, ended = (len(data), False) if end < 0 else (end + 1, True)
        return _Chain(
            digests=tuple(digests), size_bytes=at, open_ended=not ended, torn=data[at:], anchored=anchored
        )

    def _entry(self, line: bytes, number: int, before: str) -> dict[str, Any]:
        try:
            entry = json.loads(line)
        except ValueError:
            raise self._broken(number, "it is no JSON") from None
        if not isinstance(entry, dict) or entry.get("number") != number or entry.get("before") != before:
            raise self._broken(number, "it does not follow from the line before it")
        entry.pop("digest", None)
        whole = {**entry, "digest": hashlib.sha256(_line(entry)).hexdigest()}
        if _line(whole) != line:
            raise self._broken(number, "it is not what was written")
        return whole

    def _acknowledged(self) -> Head | None:
        if not self._fs.exists(self._anchor):
            return None
        try:
            tree = json.loads(self._fs.read(self._anchor))
            number, digest = tree["number"], tree["digest"]
        except (ValueError, KeyError, TypeError):
            number, digest = None, ""
        if not isinstance(number, int) or number < 0 or not isinstance(digest, str):
            raise self._incomplete(f"{self._anchor} does not say up to where it was acknowledged")
        return number, digest

    def _acknowledge(self, head: Head) -> None:
        write_durably(self._fs, self._anchor, _line({"number": head[0], "digest": head[1]}) + b"\n")

    def _set_aside(self, chain: _Chain) -> _Chain:
        """Take away what a crash left behind the last whole line, keep it in a file, and say so in a line."""
        name = f"{self._path.stem}-torn-{len(chain.digests) + 1}{self._path.suffix}"
        aside = self._path.with_name(name)
        # It is there already when a crash came before the line that speaks of it.
        kept = self._fs.read(aside) if self._fs.exists(aside) else b""
        if chain.torn:
            if not kept.endswith(chain.torn):
                kept += chain.torn
                write_durably(self._fs, aside, kept)
            file = self._fs.append(self._path)
            try:
                file.truncate(chain.size_bytes)
                # Before anything else stands there: two lines that a power cut mixes are no torn one any more.
                file.sync()
            finally:
                file.close()
        if not kept:
            return chain
        details = {"size_bytes": len(kept), "sha256": hashlib.sha256(kept).hexdigest()}
        return self._add(chain, "set aside a torn line", name, "never acknowledged", details)

    def _add(self, chain: _Chain, action: str, subject: str, outcome: str, details: dict[str, Any]) -> _Chain:
        count, before = chain.last
        entry = {
            "number": count + 1,
            "before": before,
            "time_s": self._clock(),
            "who": _user(),
            "action": action,
            "subject": subject,
            "outcome": outcome,
            "details": details,
            _ANCHORED: True,
        }
        digest = hashlib.sha256(_line(entry)).hexdigest()
        data = (b"\n" if chain.open_ended else b"") + _line({**entry, "digest": digest}) + b"\n"
        file = self._fs.append(self._path)
        try:
            file.write(data)
            file.sync()
        except OSError:
            # What is not acknowledged is not left behind where that can be helped.
            with contextlib.suppress(OSError):
                file.truncate(chain.size_bytes)
                file.sync()
            raise
        finally:
            file.close()
        self._acknowledge((count + 1, digest))
        return _Chain(
            digests=(*chain.digests, digest), size_bytes=chain.size_bytes + len(data), anchored=True
        )

    def _broken(self, number: int, why: str) -> CorruptDataError:
        return self._incomplete(f"line {number}: {why}", between=", ")

    def _incomplete(self, why: str, *, between: str = ": ") -> CorruptDataError:
        return CorruptDataError(
            f"{self._path}{between}{why}.",
            next_step=f"Move it and {self._anchor.name} away together and keep them as evidence; a new log begins.",
        )


def _may_be_torn(rest: bytes) -> bool:
    """Whether a crash while one line was written may have left this: no end, or blocks that never reached the disk."""
    return b"\n" not in rest or (b"\0" in rest and rest.find(b"\n") == len(rest) - 1)


def _line(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"
