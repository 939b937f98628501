"""Who did what to which device: an append-only file whose lines name their digest and that of the line before."""

from __future__ import annotations

import fcntl
import getpass
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeloop_foundation.errors import CorruptDataError

__all__ = ["AuditLog"]

_START = "0" * 64


class AuditLog:
    """One file of JSON lines.

    A chain shows that a line was changed, moved or taken out of the middle. Lines cut off at the end, and a chain made
    anew from some line on, it shows only to somebody who wrote down an earlier head.
    """

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self._path, self._clock = path, clock

    def append(self, action: str, subject: str, outcome: str, **details: Any) -> str:
        """Add a line durably and return its digest, the new head.

        Raises:
            CorruptDataError: the last line is not whole.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "rb+", buffering=0) as file:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            count, head = self._verified(file.read())
            entry = {
                "number": count + 1,
                "before": head,
                "time_s": self._clock(),
                "who": _user(),
                "action": action,
                "subject": subject,
                "outcome": outcome,
                "details": details,
            }
            digest = hashlib.sha256(_line(entry)).hexdigest()
            file.write(_line({**entry, "digest": digest}) + b"\n")
            os.fsync(descriptor)
        return digest

    def verify(self) -> tuple[int, str]:
        """Return how many lines there are and the digest of the last one.

        Raises:
            CorruptDataError: a line was changed, moved or taken out.
        """
        return self._verified(self._path.read_bytes() if self._path.exists() else b"")

    def entries(self, *, limit: int, before: int | None = None) -> tuple[dict[str, Any], ...]:
        """Return a page of lines, the last one first, as they stand: only ``verify`` says whether they are unbroken.

        Args:
            limit: most lines.
            before: only lines with a lower number, for the next page.
        """
        found: list[dict[str, Any]] = []
        lines = self._path.read_bytes().splitlines() if self._path.exists() else []
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

    def _verified(self, data: bytes) -> tuple[int, str]:
        head, count = _START, 0
        if data and not data.endswith(b"\n"):
            raise self._broken(data.count(b"\n") + 1, "it is not whole")
        for count, line in enumerate(data.splitlines(), start=1):
            try:
                entry = json.loads(line)
            except ValueError:
                raise self._broken(count, "it is no JSON") from None
            if not isinstance(entry, dict) or entry.get("number") != count or entry.get("before") != head:
                raise self._broken(count, "it does not follow from the line before it")
            entry.pop("digest", None)
            head = hashlib.sha256(_line(entry)).hexdigest()
            if _line({**entry, "digest": head}) != line:
                raise self._broken(count, "it is not what was written")
        return count, head

    def _broken(self, number: int, why: str) -> CorruptDataError:
        return CorruptDataError(
            f"{self._path}, line {number}: {why}.",
            next_step="Move the file away and keep it as evidence; a new log begins.",
        )


def _line(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"
