"""A Debian with a systemd of its own as a machine: own processes, mounts, host name and network, at native speed.

It is booted as process 1 of new namespaces with the root pivoted (a chroot would forbid user namespaces to its units),
in control groups of its own of version 1; there is no virtual machine, so its kernel is this machine's.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from debian_root import LET_IN, join, unpack

PACKAGES = "systemd,systemd-sysv,dbus,libpam-systemd,python3,python3-venv,openssh-server,sudo,iproute2,procps"
HERE, THERE = "10.79.42.1", "10.79.42.2"
TOOLS = ("ip", "unshare", "mmdebstrap", "ssh-keygen", "nsenter", "pivot_root")
CONTROL_GROUPS = Path("/sys/fs/cgroup")
HIERARCHIES = ("systemd", "memory", "pids", "cpu", "devices")

_BOOT = """
set -e
R={root}
mount --make-rprivate /
mount --bind $R $R
mount -t proc proc $R/proc
mount --rbind /sys $R/sys
mount -t tmpfs tmpfs $R/run
mount -t tmpfs -o mode=755 tmpfs $R/dev
for d in null zero full random urandom tty; do touch $R/dev/$d; mount --bind /dev/$d $R/dev/$d; done
mkdir -p $R/dev/pts $R/dev/shm $R/old
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts $R/dev/pts
ln -s pts/ptmx $R/dev/ptmx; ln -s /proc/self/fd $R/dev/fd
mount -t tmpfs tmpfs $R/dev/shm
hostname nuc
for h in {hierarchies}; do
    if [ -d {groups}/$h ]; then mkdir -p {groups}/$h/{name}; echo 1 > {groups}/$h/{name}/cgroup.procs; fi
done
cd $R; pivot_root . old; umount -l /old; cd /
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb /lib/systemd/systemd \
    --log-target=console --log-level=warning \
    systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=1
"""


def can_boot() -> str:
    """Return why this machine cannot boot one; empty when it can."""
    if os.geteuid() != 0:
        return "this needs root"
    if not (CONTROL_GROUPS / "systemd").is_dir():
        return "this needs control groups of version 1 with the hierarchy of systemd"
    return ""


class SystemdBoard:
    """One machine; ``start`` boots it."""

    address = f"pi@{THERE}"

    def __init__(self, work: Path, archive: Path, public_key: str) -> None:
        self.name = f"edgeloop-{os.getpid()}"
        self.root, self.log = work / "root", work / "boot.log"
        self.fingerprint = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._public_key = public_key
        unpack(archive, self.root)

    def start(self) -> None:
        """Give it a network of its own, boot it, and let a user in.

        Raises:
            TimeoutError: its systemd or its sshd did not come up.
        """
        join(self.name, f"es{os.getpid() % 100000}", HERE, THERE)
        boot = _BOOT.format(
            root=self.root, groups=CONTROL_GROUPS, name=self.name, hierarchies=" ".join(HIERARCHIES)
        )
        # Not "ip netns exec", whose new /sys has no control groups.
        argv = [
            "nsenter",
            f"--net=/run/netns/{self.name}",
            "unshare",
            "-mpfui",
            "--kill-child",
            "sh",
            "-c",
            boot,
        ]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._await("systemctl is-system-running 2>/dev/null | grep -Eq 'running|degraded'")
        self.shell(LET_IN.format(key=self._public_key))
        self.shell(
            "rm -f /etc/ssh/ssh_host_*; ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key; "
            "systemctl restart ssh"
        )
        self._await("ss -ltn | grep -q ':22 '")
        self.fingerprint = self.shell("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub").split()[1]

    def _await(self, condition: str, within_s: float = 60.0) -> None:
        end = time.monotonic() + within_s
        while subprocess.run(
            [*self.enter(), "sh", "-c", condition], stderr=subprocess.DEVNULL, check=False
        ).returncode:
            if time.monotonic() > end:
                raise TimeoutError(f"{condition}: not within {within_s:g} s\n{self.log.read_text()[-2000:]}")
            time.sleep(0.2)

    @property
    def pid(self) -> int:
        """Its process 1, as this machine numbers it."""
        assert self._process is not None
        said = subprocess.run(
            ["pgrep", "-P", str(self._process.pid)], capture_output=True, text=True, check=False
        )
        return int((said.stdout.split() or ["0"])[0])

    @property
    def files(self) -> Path:
        """Its root directory as this machine sees it, mounts included."""
        return Path("/proc", str(self.pid), "root")

    def enter(self) -> list[str]:
        """Return the command that runs another one as root inside."""
        inside = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8"]
        return ["nsenter", "-t", str(self.pid), "-m", "-p", "-u", "-i", "-n", "--wd=/", *inside]

    def shell(self, command: str) -> str:
        """Run a command as root inside and return what it printed."""
        done = subprocess.run(
            [*self.enter(), "sh", "-c", command], capture_output=True, text=True, check=False, cwd="/"
        )
        return done.stdout

    def stop(self) -> None:
        """Cut its power, and take its network and its control groups away."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        subprocess.run(["ip", "netns", "del", self.name], check=False)
        for hierarchy in HIERARCHIES:
            groups = CONTROL_GROUPS / hierarchy / self.name
            for directory, _, _ in sorted(os.walk(groups), reverse=True):
                for _ in range(20):
                    with contextlib.suppress(OSError):
                        Path(directory).rmdir()
                        break
                    time.sleep(0.05)


@contextlib.contextmanager
def running(work: Path, archive: Path, public_key: str) -> Iterator[SystemdBoard]:
    """Boot one, and cut its power at the end."""
    board = SystemdBoard(work, archive, public_key)
    try:
        board.start()
        yield board
    finally:
        board.stop()
