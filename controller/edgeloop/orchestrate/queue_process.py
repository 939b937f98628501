"""The process of one queued experiment, as the daemon sees it: started, heard, called off, and seen to its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from edgeloop_protocol.convert import to_canonical_json

from edgeloop.orchestrate.queue_worker import GRACE_S, Order

__all__ = ["End", "Happening", "QueueProcess"]

_LINE_BYTES_MAX = 1 << 20
_TAIL_BYTES = 2000
_TEXT_MAX = 2000

# Nothing is imported from the directory that the daemon happens to stand in.
_LAUNCH = (
    "import runpy, sys; sys.path = [entry for entry in sys.path if entry]; "
    "runpy.run_module('edgeloop.orchestrate.queue_worker', run_name='__main__', alter_sys=True)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """Something that happened in an experiment, as a listener hears it."""

    #: Rises from 1.
    number: int
    #: When, seconds since 1970.
    at_s: float
    #: "phase", "progress" or "note".
    kind: str
    text: str
    #: Of progress: so many of ``total`` pieces are finished; ``total`` 0 when unknown.
    done: int = 0
    total: int = 0
    #: What is counted.
    unit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a process ended."""

    #: Whether its experiment was recorded to the end.
    done: bool
    #: Why not, one sentence.
    reason: str = ""
    #: Class of the error; empty without one.
    error_kind: str = ""


class QueueProcess:
    """A running experiment."""

    def __init__(self, process: asyncio.subprocess.Process, heard: Callable[[Happening], None]) -> None:
        self._process, self._heard = process, heard
        self._count = 0
        self._end: End | None = None
        self._tail = b""
        self._killing: asyncio.Task[None] | None = None
        self._reading = asyncio.gather(self._read(), self._read_errors())
        #: The phase that it is in.
        self.phase = ""

    @classmethod
    async def start(cls, order: Order, heard: Callable[[Happening], None]) -> QueueProcess:
        """Start it, in a process group of its own."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _LAUNCH,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            cwd=order.directory, start_new_session=True, limit=_LINE_BYTES_MAX,
        )  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(to_canonical_json(order) + b"\n")
        return cls(process, heard)

    def call_off(self) -> None:
        """Have it give its devices back and end; after some time it is ended."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        if self._killing is None:
            self._killing = asyncio.create_task(self._kill())

    async def _kill(self) -> None:
        await asyncio.sleep(GRACE_S)
        # Only while it is there: later the number may be another's.
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._line(self._process.stdout):
            with contextlib.suppress(ValueError, TypeError, KeyError):
                self._take(json.loads(line))

    async def _line(self, reader: asyncio.StreamReader) -> bytes:
        try:
            return await reader.readline()
        except ValueError:  # longer than anything that a worker tells
            return b"\n"

    def _take(self, tree: dict[str, object]) -> None:
        kind, text = str(tree["kind"]), str(tree["text"])[:_TEXT_MAX]
        if kind == "end":
            self._end = End(
                done=tree["outcome"] == "done", reason=text, error_kind=str(tree.get("error", ""))
            )
            return
        if kind == "phase":
            self.phase = text
        self._count += 1
        self._heard(
            Happening(
                number=self._count, at_s=time.time(), kind=kind, text=text,
                done=int(str(tree.get("done", 0))), total=int(str(tree.get("total", 0))),
                unit=str(tree.get("unit", ""))[:40],
            )
        )  # fmt: skip

    async def _read_errors(self) -> None:
        assert self._process.stderr is not None
        while piece := await self._process.stderr.read(4096):
            sys.stderr.buffer.write(piece)
            sys.stderr.buffer.flush()
            self._tail = (self._tail + piece)[-_TAIL_BYTES:]

    async def ended(self) -> End:
        """Wait for its end and return how it came."""
        try:
            await self._process.wait()
            # What it started may hold its standard error for a moment.
            await asyncio.wait((self._reading,), timeout=GRACE_S)
        finally:
            self._reading.cancel()
            if self._killing is not None:
                self._killing.cancel()
        if self._end is not None:
            return self._end
        code = self._process.returncode or 0
        how = f"by signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"with exit status {code}"
        last = self._tail.decode("utf-8", "replace").strip().splitlines()[-1:]
        reason = f"the process of the experiment ended {how}. {' '.join(last)}".strip()
        return End(done=False, reason=reason, error_kind="InternalError")
