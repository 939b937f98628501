"""Work on models in processes of their own, within limits: a model is somebody else's program.

A hostile or broken model can loop for ever, ask for all memory or bring the process down; in a worker that costs one
candidate, in the controller it would cost the experiment.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from typing import TYPE_CHECKING, ParamSpec, TypeVar, cast

from edgeloop_foundation.errors import InvalidInputError

if TYPE_CHECKING:
    from edgeloop.app import App

__all__ = ["DEADLINE_S", "in_worker", "in_worker_within"]

P = ParamSpec("P")
T = TypeVar("T")

DEADLINE_S = 900.0
"""Longest that one piece of work on the host may take."""

_MEMORY_SHARE = 0.8
"""Of the machine's memory; a worker that wants more gets an error instead of the machine's last page."""


async def in_worker(app: App, what: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a module-level function in a worker process and return what it returns.

    Raises:
        InvalidInputError: the worker died (native crash, memory) or was over its deadline; names ``what``.
    """
    return await in_worker_within(app, what, DEADLINE_S, function, *args, **kwargs)


async def in_worker_within(
    app: App, what: str, deadline_s: float, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Do what :func:`in_worker` does, with a deadline of its own; raises the same."""
    loop = asyncio.get_running_loop()
    try:
        return cast("T", await loop.run_in_executor(app.pool(), _Limited(function, args, kwargs, deadline_s)))
    except BrokenExecutor as error:
        app.drop_pool()
        raise InvalidInputError(
            f"{what}: the worker process died: it crashed, wanted too much memory or took over {deadline_s:.0f} s."
        ) from error
    except MemoryError as error:
        raise InvalidInputError(f"{what}: it wants more memory than this host has.") from error


class _Limited:
    """A call with a deadline and a memory limit; picklable."""

    def __init__(
        self,
        function: Callable[..., object],
        args: tuple[object, ...],
        kwargs: dict[str, object],
        deadline_s: float | None = None,
    ) -> None:
        self._call = (function, args, kwargs)
        self._deadline_s = deadline_s

    def __call__(self) -> object:
        function, args, kwargs = self._call
        total = resource.getpagesize() * os.sysconf("SC_PHYS_PAGES")
        soft, hard = int(total * _MEMORY_SHARE), resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(
            resource.RLIMIT_AS, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard)
        )
        # The default action of SIGALRM ends the process wherever it hangs, native code included.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, DEADLINE_S if self._deadline_s is None else self._deadline_s)
        try:
            return function(*args, **kwargs)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
