"""One experiment of the queue in a process of its own: ``python -m edgeloop.orchestrate.queue_worker``.

A model that brings its reader down, or takes all memory, ends this process and not the daemon. Its first line of input
is what to do; the end of its input, which also comes with the end of the daemon, has it give its devices back and end.
What happens is told on standard output, a JSON object a line.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from edgeloop_foundation.errors import BusyError, EdgeloopError
from edgeloop_foundation.locks import is_locked, try_lock
from edgeloop_protocol.convert import from_json

from edgeloop.domain.experiment import ExperimentRequest
from edgeloop.domain.turn import Turn

__all__ = ["GRACE_S", "Order", "hold", "is_held", "main"]

GRACE_S = 30.0
"""Within this, an experiment that was called off has given its devices back, or is ended."""

_PROGRESS_EVERY_S = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a daemon tells this process to do."""

    #: The controller's home.
    home: str
    #: Directory of this attempt, which this process holds as long as it lives.
    directory: str
    #: Identifier of the experiment.
    experiment_id: str
    request: ExperimentRequest
    priority: int = 0
    #: How long to wait for a busy device; None leaves it to the experiment.
    wait_s: float | None = None


def hold(directory: Path) -> None:
    """Hold the directory of an attempt until this process ends, whatever ends it.

    Raises:
        BusyError: another process holds it.
    """
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if not try_lock(descriptor):
        raise BusyError(f"another process works on the attempt in {directory}.")


def is_held(directory: Path) -> bool:
    """Return whether a process still works on the attempt of this directory."""
    return is_locked(directory / "lock")


class _Teller:
    """A listener that writes lines; a count of one piece of work at most a few times a second."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._writing = threading.Lock()
        self._told_s: dict[str, float] = {}

    def tell(self, tree: dict[str, Any]) -> None:
        """Write a line; nobody may be there to read it any more."""
        with self._writing:
            try:
                self._out.write(json.dumps(tree, ensure_ascii=True) + "\n")
                self._out.flush()
            except (OSError, ValueError):
                return

    def phase(self, name: str) -> None:
        """Tell that a phase begins."""
        self._told_s.clear()
        self.tell({"kind": "phase", "text": name})

    def progress(self, what: str, done: int, total: int, unit: str = "") -> None:
        """Tell how far a piece of work is."""
        now_s = time.monotonic()
        if done != total and now_s - self._told_s.get(what, 0.0) < _PROGRESS_EVERY_S:
            return
        self._told_s[what] = now_s
        self.tell({"kind": "progress", "text": what, "done": done, "total": total, "unit": unit})

    def note(self, text: str) -> None:
        """Tell something a person should read."""
        self.tell({"kind": "note", "text": text})


async def _work(order: Order, teller: _Teller, watch: Callable[[Callable[[], None]], None]) -> None:
    from edgeloop.app import App
    from edgeloop.orchestrate.experiment import run_experiment

    task = asyncio.current_task()
    loop = asyncio.get_running_loop()
    assert task is not None

    def cancel() -> None:
        loop.call_soon_threadsafe(task.cancel)

    watch(cancel)
    with App.open(Path(order.home)) as app:
        app.turn = Turn(priority=order.priority, wait_s=order.wait_s)
        await run_experiment(app, order.request, teller, experiment_id=order.experiment_id)


def _watching(source: int, cancel: Callable[[], None]) -> None:
    """Call the work off at the end of the input, and end this process if that takes too long."""

    def wait() -> None:
        # Not through the buffered file: a thread that waits in it would hold its lock at the interpreter's end.
        while os.read(source, 4096):
            pass
        try:
            cancel()
        except RuntimeError:
            return  # it has ended by itself
        time.sleep(GRACE_S)
        os._exit(1)

    threading.Thread(target=wait, name="daemon's end", daemon=True).start()


def main() -> int:
    """Do what the first line of standard input says; the last line of standard output tells how it ended."""
    # Standard output is for the daemon alone: what a library prints goes where errors go.
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    teller = _Teller(out)
    try:
        order = from_json(sys.stdin.readline(), Order)
        hold(Path(order.directory))
        asyncio.run(_work(order, teller, lambda cancel: _watching(sys.stdin.fileno(), cancel)))
    except (asyncio.CancelledError, KeyboardInterrupt):
        teller.tell({"kind": "end", "outcome": "cancelled", "text": ""})
        return 1
    except (EdgeloopError, OSError) as error:
        kind = type(error).__name__ if isinstance(error, EdgeloopError) else "UnavailableError"
        teller.tell({"kind": "end", "outcome": "failed", "text": str(error), "error": kind})
        return 1
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        teller.tell({"kind": "end", "outcome": "failed", "text": text, "error": "InternalError"})
        raise
    teller.tell({"kind": "end", "outcome": "done", "text": ""})
    return 0


if __name__ == "__main__":
    sys.exit(main())
