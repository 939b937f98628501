"""User-Mode Linux in place of the emulated machine: a Linux of its own that runs as a program, many times as fast.

Its kernel, caches and file system are its own, as is its disk: virtio over vhost-user, which a storage daemon hands on
to the network block device that writes everything down. It stands in for a ``Machine``.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path

from scripts.heavy.power_disk import Disk, serve_disk
from scripts.heavy.power_machine import Answer, Machine

__all__ = ["UML_TOOLS", "UserMode"]

UML_TOOLS = ("unshare", "linux.uml", "qemu-storage-daemon", "insmod", "stty", "mke2fs", "e2fsck")

# What the kernel does not know on its command line becomes the environment of the first process.
_SCRIPT = """
qemu-storage-daemon --blockdev driver=nbd,node-name=d,server.type=unix,server.path="$DISK" \\
  --export type=vhost-user-blk,id=e,node-name=d,addr.type=unix,addr.path="$PORT",writable=on &
until [ -S "$PORT" ]; do sleep 0.1; done
exec linux.uml mem="$MEMORY" root=/dev/root rootflags=/ rootfstype=hostfs ro quiet init="$INIT" \\
  con=null con0=null,fd:1 ssl=null ssl0="fd:$LINE" virtio_uml.device="$PORT:2" \\
  "SHARED=$WORK" "PYTHON=$PYTHON" "PROGRAM=$PROGRAM" "SOURCES=$PYTHONPATH"
"""
# Without the word to the disk's cache the kernel takes it for one that has none, and flushes nothing.
_INIT = """#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/run TMPDIR=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONPATH="$SOURCES"
mount -t proc proc /proc; mount -t sysfs sys /sys; mkdir -p /dev/shm
for place in /run /tmp /home /media /dev/shm; do mount -t tmpfs none $place; done
mount -t hostfs none /srv -o "$SHARED,ro"
insmod "$(find /usr/lib/uml/modules -name virtio_blk.ko)"
until [ -b /dev/vda ]; do sleep 0.1; done
echo "write back" > /sys/block/vda/cache_type
ip link set lo up
stty raw -echo < /dev/ttyS0
"$PYTHON" "$PROGRAM" /dev/ttyS0
echo "ended with $?"
poweroff -f
"""


class UserMode(Machine):
    """One run of the program under a kernel of its own; its line is the first serial port."""

    def __init__(self, keep: Path, work: Path, disk: Disk, answer: Answer, *, name: str = "") -> None:
        super().__init__(keep, work, disk, answer, name=name)
        self._port, self._first = work / f"port{name}.s", work / f"init{name}"
        self._talking: asyncio.Task[None] | None = None

    async def start(self, role: str, tree: Path, sources: str = "", *, memory_mib: int = 1536) -> None:
        """Boot it."""
        disk, _ = self._sockets
        for path in (disk, self._port):
            path.unlink(missing_ok=True)
        self._servers = [await serve_disk(self._disk, disk)]
        self._first.write_text(_INIT)
        self._first.chmod(0o755)
        ours, theirs = socket.socketpair()
        self._talking = asyncio.create_task(
            self._talk(*await asyncio.open_unix_connection(sock=ours, limit=1 << 24))
        )
        values = {
            "DISK": str(disk),
            "PORT": str(self._port),
            "MEMORY": f"{memory_mib}M",
            "INIT": str(self._first),
            "LINE": str(theirs.fileno()),
            "WORK": str(self._work),
            "PYTHON": sys.executable,
            "PROGRAM": str(tree / "scripts/heavy" / role),
            "PYTHONPATH": sources,
            "HOME": "/run",
        }
        with theirs, self._console.open("wb") as console:
            # What is begun in its namespace of processes ends with it.
            self._process = await asyncio.create_subprocess_exec(
                "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-ec", _SCRIPT,
                stdin=asyncio.subprocess.DEVNULL, stdout=console, stderr=console,
                env={**os.environ, **values}, pass_fds=(theirs.fileno(),),
            )  # fmt: skip

    async def close(self) -> None:
        """Take its power and its disk."""
        await super().close()
        if self._talking is not None:
            self._talking.cancel()
            await asyncio.wait({self._talking})
        for path in (self._port, self._first):
            path.unlink(missing_ok=True)
