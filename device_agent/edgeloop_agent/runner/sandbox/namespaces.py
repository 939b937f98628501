"""A user, a network and inter-process communication of a runner's own, and no capability over any of them."""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path

from edgeloop_agent.runner.sandbox.kernel import call
from edgeloop_agent.runner.sandbox.syscalls import Architecture

__all__ = ["drop_capabilities", "enter_namespaces"]

_NEW_USER, _NEW_NETWORK, _NEW_IPC = 0x10000000, 0x40000000, 0x08000000
_CAPABILITY_VERSION = 0x20080522


def enter_namespaces(architecture: Architecture, *, own_network: bool = True) -> None:
    """Leave the network and the shared memory of the machine; this process must have one thread.

    Args:
        architecture: numbers of the calls.
        own_network: False keeps the machine's network, for who has yet to listen there.

    Raises:
        OSError: this kernel, or a policy of its distribution, refuses.
    """
    user, group = os.geteuid(), os.getegid()
    call(architecture.numbers["unshare"], _NEW_USER | _NEW_IPC | (_NEW_NETWORK if own_network else 0))
    # Its own files keep their owner; nobody else exists inside.
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {user} 1"),
        ("gid_map", f"{group} {group} 1"),
    ):
        Path("/proc/self", name).write_text(text)


def drop_capabilities(architecture: Architecture) -> None:
    """Give up every capability for good; root becomes a user like others.

    Raises:
        OSError: the kernel refuses.
    """
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION, 0), 8)
    call(architecture.numbers["capset"], header, ctypes.create_string_buffer(bytes(24), 24))
