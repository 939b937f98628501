"""Builds one version of the agent on the board from files that were sent, and switches to it.

Runs there with the board's own Python and its standard library: ``python3 -I - build|activate|back|tidy ROOT ...``.
Nothing that is in use is touched: a version is built beside the others and gets its name when it is whole and has
been tried; ``current`` and ``previous`` are links that are replaced, never edited.
"""

from __future__ import annotations

import compileall
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

__all__ = ["main"]

_TRIAL = "import grpc, google.protobuf, grpc_health.v1, numpy, onnxruntime, edgeloop_agent.daemon"
_TRIAL_S = 300
_LOCK = ".lock"

_LAUNCHER = """\
#!/bin/sh
# Follows the link once: an agent keeps its version, and its runners too, until it is started anew.
here=$(readlink -f "$(dirname "$0")/..")
export MALLOC_ARENA_MAX=1 MALLOC_TRIM_THRESHOLD_=65536 ORT_DISABLE_TELEMETRY=1 ORT_TELEMETRY_DISABLED=1
export PYTHONUNBUFFERED=1
exec "$here/bin/python" -I -m edgeloop_agent "$@"
"""


def fail(sentence: str) -> None:
    """Say why not, as the last line, and end."""
    sys.stderr.write(f"{sentence}\n")
    sys.exit(1)


def verified(path: Path, digest: str) -> Path:
    """Return the path of a file whose content is what it should be."""
    seen = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            seen.update(piece)
    if seen.hexdigest() != digest:
        path.unlink()
        fail(f"{path.name} has another content than was sent; it was removed, try again")
    return path


def unpack(path: Path, site: Path) -> None:
    """Unpack a wheel, or what looks like one, into the directory of packages."""
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            parts = Path(entry.filename).parts
            if entry.is_dir() or not parts:
                continue
            if ".." in parts or Path(entry.filename).is_absolute():
                fail(f"{path.name} names the path {entry.filename}")
            if parts[0].endswith(".data"):
                # Scripts and headers are of no use to the agent.
                if parts[1] not in ("purelib", "platlib"):
                    continue
                parts = parts[2:]
            target = site.joinpath(*parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(entry) as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
            target.chmod(0o644)


def build(root: Path, incoming: Path, digest: str) -> None:
    """Build a version unless it is there."""
    versions = root / "agent"
    whole, part = versions / digest, versions / f"{digest}.part"
    if whole.is_dir():
        return
    manifest = json.loads((incoming / f"{digest}.json").read_text())
    shutil.rmtree(part, ignore_errors=True)
    venv.EnvBuilder(system_site_packages=manifest["system_packages"], symlinks=True, with_pip=False).create(
        part
    )
    site = next((part / "lib").glob("python3*")) / "site-packages"
    for _, wanted in [*manifest["wheels"], ["agent", manifest["archive"]]]:
        unpack(verified(incoming / wanted, wanted), site)
    launcher = part / "bin" / "edgeloop-agent"
    launcher.write_text(_LAUNCHER)
    launcher.chmod(0o755)
    # The agent may not write here later on, and without this a small board compiles at every start.
    compileall.compile_dir(site, quiet=2, workers=0, maxlevels=30)
    tried = subprocess.run(
        [part / "bin" / "python", "-I", "-c", _TRIAL],
        capture_output=True,
        text=True,
        timeout=_TRIAL_S,
        env={**os.environ, "ORT_DISABLE_TELEMETRY": "1", "ORT_TELEMETRY_DISABLED": "1"},
    )
    if tried.returncode:
        lines = tried.stderr.strip().splitlines() or [f"status {tried.returncode}"]
        shutil.rmtree(part, ignore_errors=True)
        fail(f"what was built does not run on this board: {lines[-1]}")
    os.sync()
    part.rename(whole)


def link(root: Path, name: str, to: str) -> None:
    """Point a link to a version, in one step."""
    temporary = root / "agent" / f".{name}.{os.getpid()}"
    temporary.symlink_to(to)
    temporary.replace(root / "agent" / name)


def target(root: Path, name: str) -> str:
    """Return what a link points to; empty when there is none."""
    try:
        return str((root / "agent" / name).readlink())
    except FileNotFoundError:
        return ""


def activate(root: Path, digest: str) -> None:
    """Make a version the current one and keep the way back."""
    now = target(root, "current")
    if now == digest:
        return
    if now:
        link(root, "previous", now)
    link(root, "current", digest)
    os.sync()


def back(root: Path) -> None:
    """Return to the previous version."""
    previous = target(root, "previous")
    if not previous:
        fail("there is no previous agent")
    link(root, "current", previous)
    os.sync()


def tidy(root: Path, incoming: Path) -> None:
    """Remove what was sent, and every version that is neither current nor previous."""
    shutil.rmtree(incoming, ignore_errors=True)
    kept = {_LOCK, "current", "previous", target(root, "current"), target(root, "previous")}
    for path in (root / "agent").iterdir():
        if path.name not in kept:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def alone(root: Path) -> int:
    """Wait for an installer whose controller is gone but which still works; the system drops the lock with us."""
    (root / "agent").mkdir(parents=True, exist_ok=True)
    lock = os.open(root / "agent" / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def main() -> None:
    """Do what the command line says."""
    # root is not bound by the umask of whoever calls: everybody may read the agent's code, nobody else write it.
    os.umask(0o022)
    what, root, *rest = sys.argv[1:]
    try:
        alone(Path(root))
        if what == "build":
            build(Path(root), Path(rest[0]), rest[1])
        elif what == "activate":
            activate(Path(root), rest[0])
        elif what == "back":
            back(Path(root))
        else:
            tidy(Path(root), Path(rest[0]))
    except (OSError, subprocess.SubprocessError, zipfile.BadZipFile) as error:
        fail(str(error))


if __name__ == "__main__":
    main()
