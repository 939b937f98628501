"""A Debian below a directory, made once, and the network and the user of a machine that runs in it."""

from __future__ import annotations

import subprocess
from pathlib import Path

__all__ = ["LET_IN", "build_root", "join", "unpack"]

LET_IN = (
    "useradd -m -s /bin/bash -p '*' pi; mkdir -p /home/pi/.ssh; rmdir /home/pi/.cache 2>/dev/null; "
    "echo '{key}' > /home/pi/.ssh/authorized_keys; chown -R pi: /home/pi; "
    "chmod 700 /home/pi/.ssh; chmod 600 /home/pi/.ssh/authorized_keys; "
    "echo 'pi ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/pi"
)
"""Makes the user pi, whom a key lets in by SSH and sudo lets do everything."""


def build_root(archive: Path, variant: str, packages: str) -> None:
    """Leave the packed system, with these packages, where it is not there yet; takes some minutes.

    Raises:
        CalledProcessError: a package cannot be had.
    """
    if archive.exists():
        return
    print(f"building {archive.name}, a Debian (a minute or more, once)", flush=True)
    archive.parent.mkdir(parents=True, exist_ok=True)
    part = archive.with_suffix(".part.tar")
    subprocess.run(
        ["mmdebstrap", "--quiet", f"--variant={variant}", f"--include={packages}", "bookworm", str(part)],
        check=True,
    )
    part.replace(archive)


def unpack(archive: Path, root: Path) -> None:
    """Make a directory of the packed system, without its device files."""
    root.mkdir()
    subprocess.run(["tar", "-C", root, "-xf", archive, "--exclude=./dev/*"], check=True)


def join(namespace: str, link: str, here: str, there: str) -> None:
    """Make a network namespace that one link joins to this machine: two addresses of a network of four."""
    for words in (
        f"netns add {namespace}", f"link add {link} type veth peer name eth0 netns {namespace}",
        f"addr add {here}/30 dev {link}", f"link set {link} up",
        f"-n {namespace} link set lo up", f"-n {namespace} addr add {there}/30 dev eth0",
        f"-n {namespace} link set eth0 up",
    ):  # fmt: skip
        subprocess.run(["ip", *words.split()], check=True)
