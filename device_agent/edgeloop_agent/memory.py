"""Keeps the daemon small: a board's memory belongs to the model that is measured."""

from __future__ import annotations

import ctypes
import gc
import logging
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

__all__ = [
    "give_back_memory",
    "give_back_memory_after_job",
    "give_back_memory_later",
    "keep_memory",
    "leave_out_ssl",
    "limit_heap",
    "settle_memory",
]

_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_MADV_DONTNEED = 4
_LARGE_BYTES = 1024 * 1024

_log = logging.getLogger(__name__)


def _libc(name: str) -> Any:
    """Return a function of the C library, or None where it has none of that name."""
    try:
        return getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError):
        return None


def leave_out_ssl() -> None:
    """Keep asyncio from loading the ``ssl`` module, 4 MB that the daemon never uses; TLS is grpcio's own.

    Call before asyncio is imported; where ``ssl`` is loaded already, nothing changes.
    """
    if "asyncio" not in sys.modules:
        # The documented way to make an import fail; asyncio takes it for a Python built without ssl.
        sys.modules.setdefault("ssl", None)  # type: ignore[arg-type]


def limit_heap() -> None:
    """Give all threads one heap; elsewhere than on glibc, do nothing.

    Without it, every thread that takes part in an upload keeps a heap of its own.
    """
    mallopt = _libc("mallopt")
    if mallopt is None:
        _log.info("this C library has no mallopt; memory is as it comes")
        return
    mallopt(_M_ARENA_MAX, 1)
    # Messages of 1 MiB come from the heap: mapping each anew halves the speed of an upload.
    mallopt(_M_MMAP_THRESHOLD, 4 * 1024 * 1024)
    # Not given back and asked for again with every message; ``give_back_memory`` does it once, at the end.
    mallopt(_M_TRIM_THRESHOLD, 16 * 1024 * 1024)
    mallopt(_M_TOP_PAD, 4 * 1024 * 1024)


_kept = False


def keep_memory() -> None:
    """Give nothing back from now on: a process of hundreds of boards needs it again at once.

    Looking through their heap would hold all of them up for a second after each job.
    """
    global _kept
    settle_memory()
    _kept = True


def give_back_memory() -> None:
    """Return the free pages of the heap and the code of things past to the system; for the end of something large."""
    if _kept:
        return
    gc.collect()
    _trim_heap()
    _let_go_of_code()


def settle_memory() -> None:
    """Do so at the end of the start; what lives then lives as long as the agent, and is not looked through again.

    The collector would take a good part of a second for it after every upload, on a small board.
    """
    give_back_memory()
    gc.freeze()


def _trim_heap() -> None:
    malloc_trim = _libc("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


_THOROUGH_S = 10.0
_thorough_at_s = -_THOROUGH_S


def give_back_memory_after_job() -> None:
    """Return the free pages of the heap; in the first call of any ten seconds, all that ``give_back_memory`` does.

    What is free lies between what is kept, and thousands of jobs would touch ever more of its pages.
    """
    global _thorough_at_s
    if _kept:
        return
    now_s = time.monotonic()
    if now_s - _thorough_at_s >= _THOROUGH_S:
        _thorough_at_s = now_s
        give_back_memory()
    else:
        _trim_heap()


_pending: set[float] = set()


def give_back_memory_later(loop: asyncio.AbstractEventLoop, delays_s: Iterable[float]) -> None:
    """Do so after each of these delays; one that is waited for already serves everybody who asks meanwhile."""

    def now(delay_s: float) -> None:
        _pending.discard(delay_s)
        give_back_memory()

    for delay_s in delays_s:
        if delay_s not in _pending:
            _pending.add(delay_s)
            loop.call_later(delay_s, now, delay_s)


def _let_go_of_code() -> None:
    """Unmap the pages of large libraries; those still needed come back from the page cache at their next use.

    Most of grpcio's code runs once, at start. The kernel would take these pages back under pressure; on a small board
    the model should not have to press first.
    """
    madvise = _libc("madvise")
    if madvise is None:
        return
    try:
        maps = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return
    for line in maps:
        span, rights, _offset, _device, inode, *_path = line.split(maxsplit=5)
        begin, end = _span(span)
        # Executable pages alone: read-only data may hold relocations, which no file would bring back.
        if inode != "0" and rights == "r-xp" and end - begin >= _LARGE_BYTES:
            madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), _MADV_DONTNEED)


def _span(text: str) -> tuple[int, int]:
    begin, _, end = text.partition("-")
    return int(begin, 16), int(end, 16)
