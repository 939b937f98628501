"""Which runtimes the device has, kept from one start of the agent to the next: telling takes importing all of them.

Beside the answer stands the digest of what it depends on. Where anything of that differs, or the file is not this
user's alone, it is as if there were none and the runner is asked. To have it asked in any case, delete the file
``runtimes`` in the state directory and start the agent again; a boot does the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import edgeloop_foundation
import edgeloop_protocol
from edgeloop_foundation.errors import CorruptDataError, InvalidInputError
from edgeloop_foundation.ports.fs import FileSystem, write_durably
from edgeloop_protocol.convert import from_json, to_json
from edgeloop_protocol.types.facts import RuntimeFacts

from edgeloop_agent import __version__
from edgeloop_agent.sealed import seal, unseal_object
from edgeloop_agent.system_paths import ACCELERATORS

__all__ = ["FILE", "Described", "dependencies", "keep_runtimes", "read_runtimes"]

FILE = "runtimes"
"""Name of the file in the state directory."""

_SCHEMA = 1
_BYTES_MAX = 1 << 20
# Metadata of what is installed, and links to what is installed elsewhere; pip makes all of them anew.
_INSTALLED = (".dist-info", ".egg-info", ".egg-link", ".pth")
_LIBRARIES = ("etc/ld.so.cache", "etc/OpenCL/vendors", "sys/module/nvidia/version")


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What the runner said of the runtimes."""

    runtimes: tuple[RuntimeFacts, ...]
    #: Whether it holds while nothing that it depends on changes; what failed may succeed the next time.
    lasting: bool = False


def dependencies(
    root: Path,
    boot_id: str,
    environment: Mapping[str, str],
    options: Sequence[str],
    paths: Sequence[str] | None = None,
) -> str:
    """Return the SHA-256 of everything that decides what the runner says; reads some hundred entries, imports nothing.

    Args:
        root: where ``/etc``, ``/dev`` and ``/sys`` are.
        boot_id: changes with the kernel, its modules and the hardware.
        environment: the runner's.
        options: how the runner is confined.
        paths: where Python looks for what is installed; this process's by default.
    """
    libraries = [entry for entry in environment.get("LD_LIBRARY_PATH", "").split(os.pathsep) if entry]
    facts = {
        "agent": [__version__, [_state(path) for package in _packages() for path in _sources(package)]],
        "python": [sys.executable, sys.version, sys.prefix, _state(Path(sys.executable).resolve())],
        "system": [*os.uname(), boot_id, os.geteuid(), sorted(os.getgroups())],
        "environment": sorted(environment.items()),
        "options": list(options),
        "installed": [_installed(path) for path in (sys.path if paths is None else paths)],
        "libraries": [_state(path) for path in (*map(root.joinpath, _LIBRARIES), *map(Path, libraries))],
        "accelerators": [
            str(path) for pattern in ACCELERATORS for path in sorted((root / "dev").glob(pattern))
        ],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def read_runtimes(state_directory: Path, depends_on: str) -> tuple[RuntimeFacts, ...] | None:
    """Return what was kept for exactly these dependencies; None when that is nothing, or not to be trusted."""
    try:
        tree = unseal_object(_read_own(state_directory))
        if tree.get("schema") != _SCHEMA or tree.get("depends_on") != depends_on:
            return None
        return tuple(from_json(entry, RuntimeFacts) for entry in tree["runtimes"])
    except (OSError, CorruptDataError, InvalidInputError, KeyError, TypeError):
        return None


def keep_runtimes(
    fs: FileSystem, state_directory: Path, depends_on: str, runtimes: tuple[RuntimeFacts, ...]
) -> None:
    """Keep an answer that lasts; a disk that refuses costs asking again."""
    entries = [to_json(runtime) for runtime in runtimes]
    body = json.dumps({"schema": _SCHEMA, "depends_on": depends_on, "runtimes": entries}, sort_keys=True)
    with contextlib.suppress(OSError):
        write_durably(fs, state_directory / FILE, seal(body.encode()))


def _read_own(directory: Path) -> bytes:
    """Return the content of the file if this user alone can have written it.

    Raises:
        OSError: it cannot be read, or others may write it or its directory.
    """
    descriptor = os.open(directory / FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        for status, kind in ((directory.stat(), stat.S_IFDIR), (os.fstat(descriptor), stat.S_IFREG)):
            others = status.st_uid != os.geteuid() or status.st_mode & 0o022
            if stat.S_IFMT(status.st_mode) != kind or others:
                raise PermissionError(f"others may have written {directory / FILE}")
        return file.read(_BYTES_MAX)


def _packages() -> tuple[Path, ...]:
    """Return the directories of the code that asks and answers."""
    files = (__file__, edgeloop_foundation.__file__, edgeloop_protocol.__file__)
    return tuple(Path(file).parent for file in files if file)


def _sources(directory: Path) -> Iterator[os.DirEntry[str]]:
    for entry in _entries(directory):
        if entry.is_dir(follow_symlinks=False):
            yield from _sources(Path(entry))
        elif entry.name.endswith(".py"):
            yield entry


def _entries(directory: str | Path) -> list[os.DirEntry[str]]:
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        return sorted(entries, key=lambda entry: entry.name)
    return []


def _installed(path: str) -> list[object]:
    """Return the metadata of everything that is installed in one directory, or archive, of Python's path."""
    entries = [_state(entry) for entry in _entries(path) if entry.name.endswith(_INSTALLED)]
    if not entries and Path(path).is_file():
        return [_state(Path(path))]
    return [path, *entries]


def _state(path: Path | os.DirEntry[str]) -> list[object]:
    """Return what changes with a file, or with the entries of a directory: also when its times are set back."""
    try:
        found = path.stat()
    except OSError:
        return [os.fspath(path)]
    return [os.fspath(path), found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino]
