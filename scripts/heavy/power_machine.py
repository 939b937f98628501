"""An emulated x86_64 machine with a kernel of Debian, this machine's files to read, and one disk of its own at /mnt.

What it runs speaks with the outside in lines of JSON over a serial port; each line is answered before it goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from scripts.heavy.power_disk import Disk, serve_disk

__all__ = ["TOOLS", "Machine", "build_kernel", "make_disk"]

TOOLS = ("qemu-system-x86_64", "busybox", "cpio", "depmod", "dpkg-deb", "apt-get", "mke2fs", "e2fsck")

Answer = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]

_DOWNLOAD_S_MAX = 600.0
_MODULES = (
    "virtio_pci", "virtio_blk", "virtio_console", "9pnet_virtio", "9p", "crc32c_generic", "ext4",
)  # fmt: skip
_INIT = """#!/bin/sh
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev; mount -t proc proc /proc; mount -t sysfs sys /sys
for path in $(cat /modules); do insmod /mod/$path || echo "no module $path"; done
mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=512000 host /newroot || exec sh
mount --bind /newroot /host
mount -t tmpfs run /newroot/run; mount -t tmpfs home /newroot/home
mount --bind /newroot$WORK /newroot/srv
mount -t tmpfs tmp /newroot/tmp; mount -t tmpfs media /newroot/media
for path in $SHOWN; do mkdir -p /newroot$path; mount --bind /host$path /newroot$path; done
mount --bind /dev /newroot/dev; mount --bind /proc /newroot/proc; mount --bind /sys /newroot/sys
mkdir -p /dev/shm; mount -t tmpfs shm /newroot/dev/shm
ip link set lo up
export HOME=/run TMPDIR=/tmp PATH=/usr/sbin:/usr/bin:/sbin:/bin PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$SOURCES
chroot /newroot $PYTHON $TREE/scripts/heavy/$ROLE
echo "ended with $?"
poweroff -f
"""


def build_kernel(keep: Path) -> None:
    """Leave ``vmlinuz`` and ``initrd.gz`` in a directory.

    Raises:
        CalledProcessError: a package cannot be had.
        TimeoutExpired: it does not come.
    """
    if (keep / "initrd.gz").exists():
        return
    work = keep / "kernel"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    shown = subprocess.run(
        ["apt-cache", "depends", "linux-image-amd64"], capture_output=True, text=True, check=True
    )
    package = next(line.split()[1] for line in shown.stdout.splitlines() if "Depends:" in line)
    subprocess.run(
        ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", package],
        cwd=work,
        check=True,
        timeout=_DOWNLOAD_S_MAX,
    )
    subprocess.run(["dpkg-deb", "-x", next(work.glob("*.deb")), work / "x"], check=True)
    version = next((work / "x/lib/modules").iterdir()).name
    subprocess.run(["depmod", "-b", work / "x", version], check=True)
    first = work / "initramfs"
    for name in ("bin", "dev", "proc", "sys", "newroot", "host", "mod"):
        (first / name).mkdir(parents=True)
    shutil.copy("/usr/bin/busybox", first / "bin/busybox")
    (first / "bin/sh").symlink_to("busybox")
    modules = work / "x/lib/modules" / version
    order = _in_order(modules / "modules.dep")
    for path in order:
        shutil.copy(modules / path, first / "mod")
    (first / "modules").write_text("\n".join(Path(path).name for path in order))
    (first / "init").write_text(_INIT)
    (first / "init").chmod(0o755)
    shutil.copy(next((work / "x/boot").glob("vmlinuz-*")), keep / "vmlinuz")
    pack = f"find . | cpio -o -H newc --quiet | gzip -1 > {keep / 'initrd.tmp'}"
    subprocess.run(["sh", "-c", pack], cwd=first, check=True)
    (keep / "initrd.tmp").replace(keep / "initrd.gz")
    shutil.rmtree(work)


def _in_order(listing: Path) -> list[str]:
    """Return the modules and what they need, the needed ones first."""
    needs = {}
    for line in listing.read_text().splitlines():
        path, _, rest = line.partition(":")
        needs[path] = rest.split()
    by_name = {Path(path).stem: path for path in needs}
    order: list[str] = []
    for name in _MODULES:
        path = by_name[name]
        order += [one for one in [*reversed(needs[path]), path] if one not in order]
    return order


def make_disk(size_mib: int, directory: Path) -> bytes:
    """Return an empty ext4 file system with the defaults of mke2fs."""
    path = directory / "disk.ext4"
    with path.open("wb") as file:
        file.truncate(size_mib << 20)
    subprocess.run(
        ["mke2fs", "-q", "-t", "ext4", "-E", "lazy_itable_init=0,lazy_journal_init=0", path], check=True
    )
    data = path.read_bytes()
    path.unlink()
    return data


class Machine:
    """One run of the emulated machine; its lines are answered by ``answer``."""

    def __init__(self, keep: Path, work: Path, disk: Disk, answer: Answer, *, name: str = "") -> None:
        self._keep, self._work, self._disk, self._answer = keep, work, disk, answer
        self._sockets = work / f"disk{name}.s", work / f"line{name}.s"
        self._console = work / f"serial{name}.log"
        self._process: asyncio.subprocess.Process | None = None
        self._servers: list[asyncio.Server] = []
        self._heard = asyncio.Event()
        self.failure = ""

    async def start(self, role: str, tree: Path, sources: str = "", *, memory_mib: int = 1536) -> None:
        """Boot it.

        Args:
            role: name of a script in ``scripts/heavy`` of the tree.
            tree: root of the tree, as the machine sees it.
            sources: what Python looks at before it looks at what is installed; as the machine sees it.
            memory_mib: its memory.
        """
        disk, line = self._sockets
        for path in self._sockets:
            path.unlink(missing_ok=True)
        self._servers = [
            await serve_disk(self._disk, disk),
            await asyncio.start_unix_server(self._talk, line, limit=1 << 24),
        ]
        # What the kernel does not know on its command line becomes the environment of the first process.
        values = {
            "WORK": str(self._work),
            "TREE": str(tree),
            "PYTHON": sys.executable,
            # They may well be below what is covered.
            "SHOWN": " ".join(map(str, dict.fromkeys((tree, sys.prefix, sys.base_prefix)))),
            "ROLE": role,
            "SOURCES": sources,
        }
        environment = " ".join(f'{name}="{value}"' for name, value in values.items() if value)
        # Guards against other tenants of a processor cost much here and guard nothing.
        command = (
            f"console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on rdinit=/init {environment}"
        )
        # One processor: two that wait for each other lose far more than they gain where the host has few.
        self._process = await asyncio.create_subprocess_exec(
            "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "1", "-m", str(memory_mib),
            "-nodefaults", "-no-reboot", "-display", "none", "-serial", f"file:{self._console}",
            "-kernel", str(self._keep / "vmlinuz"), "-initrd", str(self._keep / "initrd.gz"), "-append", command,
            "-drive", f"if=none,id=d,format=raw,cache=none,file=nbd+unix:///?socket={disk}",
            "-device", "virtio-blk-pci,drive=d",
            "-device", "virtio-serial-pci", "-chardev", f"socket,id=l,path={line}",
            "-device", "virtserialport,chardev=l,name=line",
            "-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap",
            "-device", "virtio-9p-pci,fsdev=host,mount_tag=host",
            stdin=asyncio.subprocess.DEVNULL,
        )  # fmt: skip

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                self._heard.set()
                answer = await self._answer(json.loads(line))
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except ConnectionError:
            pass
        except Exception as error:
            # Nobody awaits a server's connection.
            self.failure = repr(error)
            self.cut()
        finally:
            writer.close()

    async def ended(self, silent_s: float) -> None:
        """Wait until it is off; take its power when it says nothing for too long."""
        if self._process is None:
            return
        off = asyncio.create_task(self._process.wait())
        while not off.done():
            self._heard.clear()
            listening = asyncio.create_task(self._heard.wait())
            done, _ = await asyncio.wait(
                {off, listening}, timeout=silent_s, return_when=asyncio.FIRST_COMPLETED
            )
            listening.cancel()
            if not done:
                self.failure = self.failure or f"it said nothing for {silent_s:.0f} s"
                self.cut()

    def cut(self) -> None:
        """Take its power."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def close(self) -> None:
        """Take its power and its disk."""
        self.cut()
        if self._process is not None:
            await self._process.wait()
        for server in self._servers:
            server.close()
        for path in self._sockets:
            path.unlink(missing_ok=True)

    def tail(self) -> str:
        """Return the end of its console."""
        return self._console.read_text(errors="replace")[-1500:] if self._console.exists() else ""
