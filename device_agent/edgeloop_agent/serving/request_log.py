"""A line per request, on the device, within a budget of bytes: how long, what queue, what batch; never its inputs.

``NAME.new`` grows to half of the budget and becomes ``NAME.old`` then. Lines reach the disk every few seconds: a killed
process loses the last ones.
"""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path

__all__ = ["RequestLog"]

_BUFFER_BYTES = 64 << 10
_DIGITS = 6

_log = logging.getLogger(__name__)


class RequestLog:
    """The log of one deployment; a disk that refuses costs lines, never an answer.

    Args:
        directory: where it is.
        name: of the deployment.
        bytes_max: most that it takes; 0 keeps none and removes what an earlier process left.
    """

    def __init__(self, directory: Path, name: str, bytes_max: int) -> None:
        self._new, self._old = directory / f"{name}.new", directory / f"{name}.old"
        self._half = bytes_max // 2
        self._lines: list[bytes] = []
        self._buffered = 0
        self._written = 0
        self._lost = False
        self._lock = threading.Lock()
        if not self._half:
            self._new.unlink(missing_ok=True)
            self._old.unlink(missing_ok=True)
            return
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._written = self._new.stat().st_size if self._new.exists() else 0

    @property
    def on(self) -> bool:
        """Whether it keeps anything."""
        return self._half > 0

    def add(
        self,
        *,
        wall_s: float,
        latency_s: float,
        queue_s: float,
        rows: int,
        version: str,
        precision: str,
        protocol: str,
    ) -> None:
        """Take a line."""
        line = {
            "wall_s": round(wall_s, 3),
            "latency_s": round(latency_s, _DIGITS),
            "queue_s": round(queue_s, _DIGITS),
            "rows": rows,
            "version": version,
            "precision": precision,
            "protocol": protocol,
        }
        data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            self._lines.append(data)
            self._buffered += len(data)
            full = self._buffered >= min(_BUFFER_BYTES, self._half)
        if full:
            self.flush()

    def flush(self) -> None:
        """Write what is there, and begin another file when this one has its half."""
        with self._lock:
            data, self._lines, self._buffered = b"".join(self._lines), [], 0
            if not data:
                return
            try:
                self._write(data)
                self._lost = False
            except OSError as error:
                if not self._lost:
                    _log.warning("lines of the request log are lost: %s", error)
                self._lost = True

    def _write(self, data: bytes) -> None:
        if self._written and self._written + len(data) > self._half:
            self._new.replace(self._old)
            self._written = 0
        with self._new.open("ab") as file:
            file.write(data)
        self._written += len(data)
