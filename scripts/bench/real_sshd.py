"""A real sshd on a free loopback port, for the length of a block, that lets in one key made for it."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeloop.domain.device import DeviceSpec


@dataclass(frozen=True, kw_only=True)
class RunningSshd:
    """A started sshd and what a client needs."""

    port: int
    user: str
    key: Path
    known_hosts: Path
    config: Path

    def device(self, name: str, agent_socket: Path, *, through_port: int | None = None) -> DeviceSpec:
        """Return the agent behind a socket, reached directly or through a relay on this port."""
        if through_port is not None:
            line = self.known_hosts.read_text().splitlines()[0].replace(f":{self.port} ", f":{through_port} ")
            self.known_hosts.write_text(f"{self.known_hosts.read_text()}{line}\n")
        options = {"key": str(self.key), "socket": str(agent_socket), "ssh_config": str(self.config)}
        return DeviceSpec(
            name=name,
            transport="ssh",
            address=f"{self.user}@127.0.0.1:{through_port or self.port}",
            options=tuple(sorted(options.items())),
        )

    @property
    def client_options(self) -> list[str]:
        """Options of ssh and scp that name key and trust; the port comes beside them."""
        return ["-q", "-F", str(self.config), "-i", str(self.key), "-o", "BatchMode=yes"]


def missing_for_sshd(program: str) -> str:
    """Return what this machine lacks to run sshd as this user, or an empty string."""
    if shutil.which("ssh-keygen") is None:
        return "ssh-keygen"
    return "" if shutil.which(program) else program


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def sshd(home: Path, program: str = "/usr/sbin/sshd") -> Iterator[RunningSshd]:
    """Run ``program`` with files of its own below ``home``; nothing of the system's sshd is touched."""
    home.mkdir(parents=True)
    for name in ("host_key", "id"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home / name], check=True)
    shutil.copy(home / "id.pub", home / "authorized_keys")
    (home / "authorized_keys").chmod(0o600)
    port, user = free_port(), pwd.getpwuid(os.getuid()).pw_name
    (home / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {home}/host_key\n"
        f"AuthorizedKeysFile {home}/authorized_keys\nUsePAM no\nPasswordAuthentication no\nStrictModes no\n"
        "PidFile none\nSubsystem sftp internal-sftp\nAllowStreamLocalForwarding yes\nMaxStartups 100\n"
    )
    host_key = (home / "host_key.pub").read_text().split()
    (home / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key[0]} {host_key[1]}\n")
    (home / "ssh_config").write_text(f"Host *\n  UserKnownHostsFile {home}/known_hosts\n")
    with (home / "sshd.log").open("wb") as log:
        server = subprocess.Popen([program, "-D", "-e", "-f", str(home / "sshd_config")], stderr=log)
    try:
        _wait_for(server, port, home / "sshd.log")
        yield RunningSshd(
            port=port,
            user=user,
            key=home / "id",
            known_hosts=home / "known_hosts",
            config=home / "ssh_config",
        )
    finally:
        server.terminate()
        server.wait()


def _wait_for(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    give_up = time.monotonic() + 15
    while time.monotonic() < give_up and server.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    server.kill()
    raise SystemExit(f"sshd did not start:\n{log.read_text(errors='replace')[-1500:]}")
