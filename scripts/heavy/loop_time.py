"""Time for a simulation of whole processes: an event loop that jumps to what is due next, threads included.

Everything that waits, waits for this loop; what a thread would do happens a moment later, in an order that the seed
decides. A process is a name in a context variable; what it started ends with it.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
import secrets
import selectors
import time
import uuid
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from edgeloop_foundation.ports.simulated_fs import PowerCut

__all__ = ["OWNER", "Stuck", "VirtualClock", "VirtualLoop", "repeatable"]

OWNER: contextvars.ContextVar[str] = contextvars.ContextVar("owner", default="")
"""The simulated process that runs."""

_THREAD_S = 0.003


class Stuck(AssertionError):
    """Nothing is left that could happen, and yet somebody waits."""


class _JumpingSelector(selectors.DefaultSelector):  # type: ignore[misc,valid-type]
    """Waits for nothing: time goes on by as much as would have been waited."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise Stuck("everybody waits and nothing is due.")
        self.loop.now_s += max(0.0, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time, with processes that can be killed.

    Args:
        rng: decides how long what goes to a thread takes.
    """

    def __init__(self, rng: random.Random) -> None:
        selector = _JumpingSelector()
        selector.loop = self
        self.now_s = 0.0
        self._rng = rng
        self._dead: set[str] = set()
        # Dictionaries keep the order, which sets of tasks do not.
        self._tasks: dict[str, dict[asyncio.Task[Any], None]] = {}
        self._on_power_cut: dict[str, Callable[[], None]] = {}
        super().__init__(selector)
        self.set_task_factory(self._make)
        self.set_exception_handler(lambda loop, context: None)

    def time(self) -> float:
        """Return virtual seconds."""
        return self.now_s

    def _make(self, loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **options)
        context = options.get("context")
        owner = OWNER.get() if context is None else context.get(OWNER, "")
        if owner:
            self._tasks.setdefault(owner, {})[task] = None
            task.add_done_callback(lambda done: self._done(owner, done))
        return task

    def _done(self, owner: str, task: asyncio.Task[Any]) -> None:
        self._tasks.get(owner, {}).pop(task, None)
        if not task.cancelled() and isinstance(task.exception(), PowerCut):
            self._cut(owner)

    def _cut(self, owner: str) -> None:
        if owner not in self._dead:
            self._on_power_cut[owner]()

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """Do something a moment later, as a thread would."""
        future: asyncio.Future[Any] = self.create_future()
        self.call_later(self._rng.expovariate(1 / _THREAD_S), self._do, OWNER.get(), future, func, args)
        return future

    def _do(self, owner: str, future: asyncio.Future[Any], func: Callable[..., Any], args: Any) -> None:
        if owner in self._dead:
            return
        try:
            result = func(*args)
        except PowerCut:
            self._cut(owner)
        except BaseException as error:
            if not future.done():
                future.set_exception(error)
        else:
            if not future.done():
                future.set_result(result)

    def begin(self, owner: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run something as a part of a process."""
        context = contextvars.copy_context()
        context.run(OWNER.set, owner)
        return self.create_task(work, context=context)

    def on_power_cut(self, owner: str, callback: Callable[[], None]) -> None:
        """Call this when a disk of the process says that the power went."""
        self._on_power_cut[owner] = callback

    def is_dead(self, owner: str) -> bool:
        """Whether a process was killed."""
        return owner in self._dead

    def kill(self, owner: str) -> None:
        """End a process: nothing of it runs any more, and no thread of it does anything."""
        self._dead.add(owner)
        for task in list(self._tasks.get(owner, {})):
            task.cancel()

    def bury(self) -> None:
        """Let what is left of every process end; what holds on to a thread of a dead one is cancelled again."""
        for _ in range(20):
            left = [task for tasks in self._tasks.values() for task in tasks]
            left += [task for task in asyncio.all_tasks(self) if task not in left]
            if not left:
                return
            for task in left:
                task.cancel()
            self.run_until_complete(_turns(20))


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


class VirtualClock:
    """A ``Clock`` of one boot of one machine.

    Args:
        loop: its time.
        wall_s: seconds since 1970 at the loop's beginning.
    """

    def __init__(self, loop: VirtualLoop, wall_s: float) -> None:
        self._loop, self._wall_s, self._boot_s = loop, wall_s, loop.time()

    def boot(self) -> None:
        """Begin the monotonic time anew; the wall clock has a battery."""
        self._boot_s = self._loop.time()

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back."""
        self._wall_s += seconds

    def monotonic_ns(self) -> int:
        """Return nanoseconds since the boot."""
        return round((self._loop.time() - self._boot_s) * 1e9)

    def wall_s(self) -> float:
        """Return seconds since 1970."""
        return self._wall_s + self._loop.time()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(max(0.0, seconds))


@contextmanager
def repeatable(loop: VirtualLoop, rng: random.Random) -> Iterator[None]:
    """Let the process's monotonic time be the loop's, and identifiers come from a seed, as long as this lasts."""
    saved = (time.monotonic, uuid.uuid4, secrets.token_hex)
    time.monotonic = loop.time
    uuid.uuid4 = lambda: uuid.UUID(int=rng.getrandbits(128), version=4)
    secrets.token_hex = lambda count=32: rng.randbytes(count).hex()
    try:
        yield
    finally:
        time.monotonic, uuid.uuid4, secrets.token_hex = saved
