"""Lets the waiting interface be called where an event loop runs already: in a notebook, or in a coroutine."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

__all__ = ["works_beside_a_loop"]

T = TypeVar("T")


def works_beside_a_loop(kind: type[T]) -> type[T]:
    """Have every public method of a class run in a thread of its own where the caller's thread has a running loop.

    The caller waits all the same. Everything of one call happens in one thread, the stores that it opens included. An
    interrupt is heard when the call has ended; a lease whose process is gone runs out by itself.
    """
    for name, method in list(vars(kind).items()):
        if inspect.isfunction(method) and not name.startswith("_"):
            setattr(kind, name, _beside(method))
    return kind


def _beside(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def called(*arguments: Any, **named: Any) -> Any:
        if not _loop_runs():
            return method(*arguments, **named)
        with ThreadPoolExecutor(1, thread_name_prefix="edgeloop") as elsewhere:
            return elsewhere.submit(method, *arguments, **named).result()

    return called


def _loop_runs() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
