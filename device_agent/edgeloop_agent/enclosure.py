"""The tier "bubblewrap": a process that sees no file, process or network but its own, made by the program of that name.

The program is a helper that has to be installed (package ``bubblewrap``). It is tried once; where it is missing or the
kernel refuses it, the process starts without it and its record says why. Inside, a runner confines itself as ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from edgeloop_foundation.ports.process import ProcessPort
from edgeloop_foundation.within import within

from edgeloop_agent import inventory
from edgeloop_agent.system_paths import ACCELERATORS, LOOKED_UP
from edgeloop_agent.tried_once import TriedOnce

__all__ = ["Enclosure", "innermost", "outer_namespaces", "status_within"]

_NAMES = ("ipc", "mnt", "net", "pid", "user")
_SYSTEM = ("/usr", "/lib", "/lib64", "/lib32", "/bin", "/sbin", "/opt")
# Each takes time, as does each file system that others are mounted as below /sys.
_MACHINE = ("/sys/devices", "/sys/firmware/devicetree")
_LISTS_ACCELERATORS = ("/sys/bus", "/sys/class", "/sys/dev", "/sys/module")
_FILES = ("/etc/ld.so.cache", "/etc/localtime", "/etc/nv_tegra_release")
_SHELL_SIGNALS = 128
_TRY_S = 20.0
_LOG_CHARACTERS = 200


def outer_namespaces() -> str:
    """Return the namespaces of this process as a text, so that a child can tell whether it has left them."""
    return ",".join(str(Path("/proc/self/ns", name).readlink()) for name in _NAMES)


def innermost(root: Path, pid: int) -> int:
    """Return the last process of a chain of parents with one child each: what a helper program has started."""
    children: dict[int, list[int]] = {}
    for entry in (root / "proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError, ValueError, IndexError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    while len(found := children.get(pid, [])) == 1:
        pid = found[0]
    return pid


def status_within(status: int) -> int:
    """Return the status of the process inside, of which the helper tells a signal as shells do."""
    return _SHELL_SIGNALS - status if status > _SHELL_SIGNALS else status


class Enclosure:
    """Starts processes of one agent within bubblewrap."""

    def __init__(self, processes: ProcessPort) -> None:
        self._processes = processes
        self._program = ""
        self._tried = TriedOnce(self._try)

    async def refusal(self) -> str:
        """Return why it cannot be used here; empty when it can."""
        return await self._tried.refusal()

    async def _try(self) -> str:
        self._program = shutil.which("bwrap") or ""
        if not self._program:
            return "bubblewrap: the program bwrap is not installed"
        argv = self.wrap((sys.executable, "-I", "-c", ""), readable=(), writable=())
        try:
            child = await self._processes.spawn(argv, inventory.runner_environment(), "/")
        except OSError as error:
            return f"bubblewrap: {error.strerror}"
        try:
            status = await within(child.wait(), _TRY_S)
        except asyncio.TimeoutError:
            return f"bubblewrap: an empty program did not end within {_TRY_S:.0f} s"
        finally:
            child.kill()
        said = " ".join(child.log_tail().split())[:_LOG_CHARACTERS]
        return f"bubblewrap: {said or f'it ended with status {status}'}" if status else ""

    async def command(
        self,
        argv: Sequence[str],
        *,
        readable: Iterable[Path],
        writable: Iterable[Path],
        serves: bool = False,
        lacking: str = "",
    ) -> tuple[tuple[str, ...], bool]:
        """Return the command of a process that confines itself, told how it was started, and whether it is within.

        Args:
            argv: the command without that.
            readable: see ``wrap``.
            writable: see ``wrap``.
            serves: see ``wrap``.
            lacking: why it is not to be within, whatever the program can do; empty otherwise.
        """
        if reason := lacking or await self.refusal():
            return (*argv, "--lacking", reason), False
        told = (*argv, "--enclosed", "--outer-namespaces", outer_namespaces())
        return self.wrap(told, readable=readable, writable=writable, serves=serves), True

    def wrap(
        self,
        argv: Sequence[str],
        *,
        readable: Iterable[Path],
        writable: Iterable[Path],
        serves: bool = False,
    ) -> tuple[str, ...]:
        """Return the command that runs another one within.

        Args:
            argv: the command; its directory has to be among those that it may write.
            readable: what it may read beside the system's and Python's own files.
            writable: directories that it may change.
            serves: whether it stays in the machine's network, to listen there, and ends by itself after its parent.
        """
        words = [
            *(self._program, "--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-uts"),
            *(() if serves else ("--unshare-net", "--die-with-parent")),
            *("--unshare-cgroup-try", "--tmpfs", "/"),
        ]
        accelerators = [device for pattern in ACCELERATORS for device in sorted(Path("/dev").glob(pattern))]
        seen = (
            *(*_SYSTEM, *_MACHINE, *_FILES),
            *(_LISTS_ACCELERATORS if accelerators else ()),
            *(LOOKED_UP if serves else ()),
            *(sys.prefix, sys.base_prefix, *(path for path in sys.path if path)),
        )
        for path in _topmost(map(Path, seen)):
            words += _seen_as_it_is(path)
        words += ["--proc", "/proc", "--dev", "/dev"]
        for device in accelerators:
            words += ["--dev-bind", str(device), str(device)]
        for path in readable:
            words += ["--ro-bind", str(path), str(path)]
        cache = os.environ.get("EDGELOOP_ENGINE_CACHE")
        for path in (*writable, *((Path(cache),) if cache else ())):
            words += ["--bind", str(path), str(path)]
        return (*words, "--remount-ro", "/", "--", *argv)


def _topmost(paths: Iterable[Path]) -> list[Path]:
    """Return the paths without those that are below another directory of them, which shows them."""
    found = list(dict.fromkeys(paths))
    directories = {path for path in found if not path.is_symlink()}
    return [path for path in found if directories.isdisjoint(path.parents)]


def _seen_as_it_is(path: Path) -> list[str]:
    if path.is_symlink():
        # Links of the system, such as /lib, and the target that an environment's own point to.
        return ["--symlink", str(path.readlink()), str(path)]
    return ["--ro-bind", str(path), str(path)] if path.exists() else []
