"""Keeps the daemon small: a board's memory belongs to the model that is measured."""

from __future__ import annotations

import ctypes
import logging

__all__ = ["limit_heap"]

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8

_log = logging.getLogger(__name__)


def limit_heap() -> None:
    """Make the C library use one arena and give large blocks back at once; elsewhere than on glibc, do nothing.

    Without it, every thread that takes part in an upload keeps a heap of its own.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        _log.info("this C library has no mallopt; memory is as it comes")
        return
    mallopt(_M_ARENA_MAX, 1)
    mallopt(_M_TRIM_THRESHOLD, 64 * 1024)
    mallopt(_M_MMAP_THRESHOLD, 64 * 1024)
