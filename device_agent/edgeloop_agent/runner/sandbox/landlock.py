"""Which files a runner may open: Landlock rules, see landlock(7)."""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
import struct
from collections.abc import Iterable
from pathlib import Path

from edgeloop_agent.runner.sandbox.kernel import call
from edgeloop_agent.runner.sandbox.syscalls import Architecture

__all__ = ["abi_version", "restrict"]

_EXECUTE, _WRITE, _READ, _LIST = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIRECTORY, _REMOVE_FILE, _MAKE_DIRECTORY, _MAKE_FILE = 1 << 4, 1 << 5, 1 << 7, 1 << 8
_REFER, _TRUNCATE, _DEVICE_CONTROL = 1 << 13, 1 << 14, 1 << 15
_FILE_ONLY = _EXECUTE | _WRITE | _READ | _TRUNCATE | _DEVICE_CONTROL
_READING = _READ | _LIST
_DEVICE = _READ | _WRITE | _LIST | _DEVICE_CONTROL
_OWN = (
    _READING | _WRITE | _TRUNCATE | _REFER | _REMOVE_DIRECTORY | _REMOVE_FILE | _MAKE_DIRECTORY | _MAKE_FILE
)  # fmt: skip
# Rights that a version knows; version 1 knows the first thirteen.
_FIRST_RIGHTS = (1 << 13) - 1
_LATER_RIGHTS = {2: _REFER, 3: _TRUNCATE, 5: _DEVICE_CONTROL}
_NETWORK_SINCE, _BIND, _CONNECT = 4, 1, 2
_SCOPES_SINCE, _ABSTRACT_SOCKETS_AND_SIGNALS = 6, 3
_VERSION_FLAG, _PATH_BENEATH = 1, 1


def abi_version(architecture: Architecture) -> int:
    """Return the version that this kernel offers.

    Raises:
        OSError: none: not built in, or switched off at boot.
    """
    return call(architecture.numbers["landlock_create_ruleset"], None, 0, _VERSION_FLAG)


def restrict(
    architecture: Architecture,
    *,
    readable: Iterable[Path],
    devices: Iterable[Path],
    writable: Iterable[Path],
    listens: bool = False,
) -> int:
    """Refuse every other file from now on, and return the version of the rules; no_new_privs has to be set.

    Args:
        architecture: numbers of the calls.
        readable: trees and files to read; absent ones are left out.
        devices: device files, and directories of them, to read, write and control.
        writable: directories to make, change and remove files in.
        listens: whether it has yet to bind its listeners.

    Raises:
        OSError: this kernel has no Landlock, or refuses.
    """
    version = abi_version(architecture)
    handled = _FIRST_RIGHTS
    for since, right in _LATER_RIGHTS.items():
        handled |= right if version >= since else 0
    network = (_CONNECT if listens else _BIND | _CONNECT) if version >= _NETWORK_SINCE else 0
    scopes = _ABSTRACT_SOCKETS_AND_SIGNALS if version >= _SCOPES_SINCE else 0
    attributes = ctypes.create_string_buffer(struct.pack("=QQQ", handled, network, scopes), 24)
    # An older kernel knows a shorter structure and refuses longer ones.
    size = 24 if scopes else 16 if network else 8
    rules = call(architecture.numbers["landlock_create_ruleset"], attributes, size, 0)
    try:
        for paths, rights in ((readable, _READING), (devices, _DEVICE), (writable, _OWN)):
            for path in paths:
                _allow(architecture, rules, path, rights & handled)
        call(architecture.numbers["landlock_restrict_self"], rules, 0)
    finally:
        os.close(rules)
    return version


def _allow(architecture: Architecture, rules: int, path: Path, rights: int) -> None:
    with contextlib.suppress(FileNotFoundError, PermissionError, NotADirectoryError):
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
                rights &= _FILE_ONLY
            beneath = ctypes.create_string_buffer(struct.pack("=Qi", rights, descriptor), 12)
            call(architecture.numbers["landlock_add_rule"], rules, _PATH_BENEATH, beneath, 0)
        finally:
            os.close(descriptor)
