"""System calls and process flags that Python has no function for."""

from __future__ import annotations

import ctypes
import os

__all__ = ["call", "get_flag", "set_flag"]

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def call(number: int, *arguments: object) -> int:
    """Make a system call and return its result.

    Raises:
        OSError: the kernel refused it.
    """
    whole = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    result = int(_libc.syscall(ctypes.c_long(number), *whole))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def set_flag(option: int, *arguments: object) -> bool:
    """Set a process flag, see prctl(2); False when the kernel refused."""
    whole = [ctypes.c_ulong(value) if isinstance(value, int) else value for value in arguments]
    whole += [ctypes.c_ulong(0)] * (4 - len(whole))
    return int(_libc.prctl(option, *whole)) == 0


def get_flag(option: int) -> int:
    """Return a process flag that prctl(2) answers as its result."""
    return int(_libc.prctl(option, *[ctypes.c_ulong(0)] * 4))
