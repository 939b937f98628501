"""A filter of system calls: no sockets, processes, programs or hand on others, for the rest of the process's life."""

from __future__ import annotations

import ctypes
import errno
import struct

from edgeloop_agent.runner.sandbox.kernel import call
from edgeloop_agent.runner.sandbox.syscalls import Architecture

__all__ = ["Instruction", "build_filter", "install"]

Instruction = tuple[int, int, int, int]
"""Code, jump when true, jump when false, operand: ``struct sock_filter`` of <linux/filter.h>."""

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_KILL, _ERROR, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_CLONE_THREAD = 0x10000
_AF_UNIX = 1
_SET_MODE_FILTER, _ALL_THREADS, _SPEC_ALLOW = 1, 1, 4
_SECOND_ARGUMENT = _ARGUMENTS + 8
_PRIO_PROCESS = 0

# Their first argument decides; see _conditional.
_OWN_PROCESS_ONLY = ("kill", "tgkill")
_SOCKETS_OF_DRIVERS = ("bind", "listen", "socketpair")
# Answered as by an old kernel, so that the C library falls back to calls whose flags a filter can see.
_UNKNOWN = ("clone3",)
_OF_A_LISTENER = ("accept", "accept4")
_NOT_HARMFUL = ("landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self", "seccomp")


def build_filter(
    architecture: Architecture, pid: int, *, local_sockets: bool = False, listens: bool = False
) -> list[Instruction]:
    """Return the program.

    Args:
        architecture: whose numbers it compares.
        pid: the only process that may be signalled: its own.
        local_sockets: whether sockets within this machine may be made, which drivers of some accelerators need; none
            may be connected.
        listens: whether connections may be taken in on sockets that listen already, and threads of one's own be given
            a lower priority.
    """
    refuse, allow = (_RETURN, 0, 0, _ERROR | errno.EPERM), (_RETURN, 0, 0, _ALLOW)
    program: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, architecture.audit),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    if architecture.foreign_from:
        program += [(_AT_LEAST, 0, 1, architecture.foreign_from), refuse]
    conditional = _conditional(pid, local_sockets=local_sockets, listens=listens)
    for name, number in sorted(architecture.numbers.items(), key=lambda item: item[1]):
        if name in _NOT_HARMFUL or (local_sockets and name in _SOCKETS_OF_DRIVERS):
            continue
        if listens and name in _OF_A_LISTENER:
            continue
        if name in _UNKNOWN:
            program += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ERROR | errno.ENOSYS)]
        elif name in conditional:
            tests = conditional[name]
            body = [(_LOAD, 0, 0, _ARGUMENTS), *tests, refuse, allow]
            program += [(_EQUAL, 0, len(body), number), *body]
        else:
            program += [(_EQUAL, 0, 1, number), refuse]
    return [*program, allow]


def _conditional(pid: int, *, local_sockets: bool, listens: bool) -> dict[str, list[Instruction]]:
    """Return the tests of the arguments, each of which jumps over the refusal that follows the last one."""
    tests: dict[str, list[Instruction]] = {name: [(_EQUAL, 1, 0, pid)] for name in _OWN_PROCESS_ONLY}
    tests["clone"] = [(_ANY_BIT, 1, 0, _CLONE_THREAD)]
    tests["prlimit64"] = [(_EQUAL, 2, 0, 0), (_EQUAL, 1, 0, pid)]
    if listens:
        # The calling thread alone: PRIO_PROCESS, 0.
        of_itself: list[Instruction] = [(_EQUAL, 0, 2, _PRIO_PROCESS), (_LOAD, 0, 0, _SECOND_ARGUMENT)]
        tests["setpriority"] = [*of_itself, (_EQUAL, 1, 0, 0)]
    if local_sockets:
        tests["socket"] = [(_EQUAL, 1, 0, _AF_UNIX)]
    return tests


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def install(architecture: Architecture, program: list[Instruction]) -> None:
    """Put every thread of this process, and all that they start, under ``program``; no_new_privs has to be set.

    Raises:
        OSError: this kernel has no filters, refuses this one, or a thread has another one already.
    """
    data = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    whole = _Program(len(program), data)
    # Without the flag older kernels switch off speculation of stores, and every inference gets slower.
    flags = _SPEC_ALLOW | _ALL_THREADS
    thread = call(architecture.numbers["seccomp"], _SET_MODE_FILTER, flags, ctypes.byref(whole))
    if thread:
        raise OSError(errno.EBUSY, f"thread {thread} has a filter of its own")
