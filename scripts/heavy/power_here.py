"""What runs in the emulated machine, on this machine instead: some ten times as fast.

It has mounts and processes of its own, and the kernel here mounts the disk: while it works, the network block device
behind a file (FUSE, a loop device), so that every write and flush is written down as it is in the emulated machine;
while it checks, a file with what a cut left. It stands in for a ``Machine``.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from scripts.heavy.power_disk import Disk, serve_disk
from scripts.heavy.power_machine import Answer, Machine

__all__ = ["HERE_TOOLS", "Here"]

HERE_TOOLS = ("unshare", "losetup", "qemu-storage-daemon", "mke2fs", "e2fsck")

_SCRIPT = """
mount -t tmpfs run /run; mount --bind "$WORK" /srv; mkdir -p /mnt
if [ -S "$DISK" ]; then
  : > "$IMAGE"
  qemu-storage-daemon --blockdev driver=nbd,node-name=d,server.type=unix,server.path="$DISK" \\
    --export type=fuse,id=e,node-name=d,mountpoint="$IMAGE",writable=on &
  until [ -s "$IMAGE" ]; do sleep 0.1; done
fi
exec "$PYTHON" "$PROGRAM" "$LINE" "$IMAGE"
"""


class Here(Machine):
    """One run of the program; its lines are answered as a machine's are, with the disk as a file beside."""

    def __init__(self, keep: Path, work: Path, disk: Disk, answer: Answer, *, name: str = "") -> None:
        self._image = image = work / f"disk{name}.img"

        async def with_disk(said: dict[str, Any]) -> dict[str, Any]:
            given = await answer(said)
            if "told" in given:
                # Another file each time: nothing that the system remembers of the one before can be read.
                image.unlink(missing_ok=True)
                image.write_bytes(disk.content)
                given["disk"] = str(image)
            return given

        super().__init__(keep, work, disk, with_disk, name=name)

    async def start(self, role: str, tree: Path, sources: str = "", *, memory_mib: int = 0) -> None:
        """Start the program; its memory is not limited."""
        disk, line = self._sockets
        for path in self._sockets:
            path.unlink(missing_ok=True)
        self._servers = [await asyncio.start_unix_server(self._talk, line, limit=1 << 24)]
        if role == "power_work.py":
            self._servers.append(await serve_disk(self._disk, disk))
        values = {
            "WORK": str(self._work),
            "PYTHON": sys.executable,
            "PROGRAM": str(tree / "scripts/heavy" / role),
            "LINE": str(line),
            "DISK": str(disk),
            "IMAGE": str(self._image),
            "PYTHONPATH": sources,
            "HOME": "/run",
        }
        with self._console.open("wb") as console:
            # What is begun in its namespace of processes ends with it, its mounts too.
            self._process = await asyncio.create_subprocess_exec(
                "unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc",
                "sh", "-ec", _SCRIPT,
                stdin=asyncio.subprocess.DEVNULL, stdout=console, stderr=console, env={**os.environ, **values},
            )  # fmt: skip

    async def close(self) -> None:
        """End it and what it began."""
        await super().close()
        self._image.unlink(missing_ok=True)
