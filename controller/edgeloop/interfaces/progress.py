"""What happens, as it happens, on standard error."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["ProgressListener"]

_PLAIN_PERIOD_S = 5.0
"""A log of a CI job gets a line of progress at most this often for each piece of work."""


class ProgressListener:
    """A ``Listener`` that draws bars on a terminal and prints lines elsewhere.

    A context manager: the bars are gone when it ends. Counts come from the work itself; without a known
    total none is made up.
    """

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._console = Console(file=sys.stderr, highlight=False)
        self._bars: Progress | None = None
        if self._console.is_terminal:
            self._bars = Progress(
                TextColumn("  {task.description}"),
                BarColumn(bar_width=30),
                MofNCompleteColumn(),
                TextColumn("{task.fields[unit]}"),
                TimeElapsedColumn(),
                console=self._console,
                transient=True,
            )
        self._tasks: dict[str, TaskID] = {}
        self._printed_s: dict[str, float] = {}
        self._start_s = time.monotonic()

    def __enter__(self) -> ProgressListener:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def phase(self, name: str) -> None:
        """Begin a new phase; the bars of the last one go."""
        if self._bars is not None:
            for task in self._tasks.values():
                self._bars.remove_task(task)
        self._tasks.clear()
        self._printed_s.clear()
        self._console.print(
            f"[{time.monotonic() - self._start_s:6.1f} s] {name}", markup=False, soft_wrap=True
        )

    def progress(self, what: str, done: int, total: int, unit: str = "") -> None:
        """Show that ``done`` of ``total`` pieces are finished."""
        if self._bars is None:
            self._print_progress(what, done, total, unit)
            return
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what, unit=unit)
        self._bars.update(self._tasks[what], completed=done, total=total or None, unit=unit)

    def _print_progress(self, what: str, done: int, total: int, unit: str) -> None:
        now_s = time.monotonic()
        due = now_s - self._printed_s.get(what, -_PLAIN_PERIOD_S) >= _PLAIN_PERIOD_S
        if due or (total and done == total):
            self._printed_s[what] = now_s
            of_total = f" of {total}" if total else ""
            self._console.print(f"  {what}: {done}{of_total} {unit}".rstrip(), markup=False, soft_wrap=True)

    def note(self, text: str) -> None:
        """Print something a person should read."""
        self._console.print(f"  {text}", markup=False, soft_wrap=True)
