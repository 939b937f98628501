"""The packages that one board can have, fetched on this machine and kept by what they are."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeloop_foundation.errors import MissingDependencyError, UnavailableError, UnsupportedError

from edgeloop.transport.bootstrap.board_facts import BoardFacts, BoardPython

__all__ = ["Wheel", "board_wheels", "platforms"]

_REQUIREMENTS = (
    "grpcio>=1.70,<2",
    "protobuf>=5.29,<8",
    "grpcio-health-checking>=1.70,<2",
    "grpcio-reflection>=1.70,<2",
    "numpy>=1.24,<3",
    "onnxruntime>=1.19,<2",
    "cryptography>=44",
    "tuf>=7",
)
"""What the agent, its runner and the programs that enrol and verify releases import, as pyproject.toml has it."""

# ONNX Runtime names it for its tools that work on models; a session never imports it. 75 MB on a board.
_LEFT_OUT = ("sympy", "mpmath")
_FETCH_S = 900.0
_GLIBC_OLDEST_MINOR = 17


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """One package as a file."""

    #: File name, as the index has it.
    name: str
    #: SHA-256 of the file.
    digest: str
    size_bytes: int
    #: Where it is kept on this machine.
    path: Path


def platforms(facts: BoardFacts) -> tuple[str, ...]:
    """Return the platform tags of wheels that run on a board, the newest first.

    Raises:
        UnsupportedError: no wheels are made for its C library or architecture.
    """
    if facts.glibc is None:
        raise UnsupportedError(
            f"{facts.os_name or 'the board'} has another C library than glibc, and ONNX Runtime is not built for it.",
            next_step="Use a Debian, Ubuntu or Raspberry Pi OS image of 64 bits.",
        )
    if facts.architecture == "armv7l":
        raise UnsupportedError(
            "the board runs a 32-bit system (armv7l), for which there is no wheel of numpy and onnxruntime.",
            next_step="Its processor may well be of 64 bits: install the 64-bit Raspberry Pi OS.",
        )
    newest = facts.glibc[1] if facts.glibc[0] == 2 else _GLIBC_OLDEST_MINOR
    return (
        *(
            f"manylinux_2_{minor}_{facts.architecture}"
            for minor in range(newest, _GLIBC_OLDEST_MINOR - 1, -1)
        ),
        f"manylinux2014_{facts.architecture}",
    )


def board_wheels(facts: BoardFacts, python: BoardPython, cache: Path) -> tuple[Wheel, ...]:
    """Return the wheels for a board, fetched with pip when they are not kept yet.

    Raises:
        UnsupportedError: the index has no wheel for this board.
        UnavailableError: the index cannot be reached.
        MissingDependencyError: this Python has no pip.
    """
    tags = platforms(facts)
    key = hashlib.sha256(json.dumps([_REQUIREMENTS, _LEFT_OUT, python.tag, tags]).encode()).hexdigest()[:16]
    kept = cache / key
    if not kept.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as work:
            fetched = Path(work) / "wheels"
            _download(python.tag, tags, fetched)
            for path in fetched.iterdir():
                if path.name.partition("-")[0].lower() in _LEFT_OUT:
                    path.unlink()
            if not kept.is_dir():
                fetched.replace(kept)
    return tuple(_wheel(path) for path in sorted(kept.glob("*.whl")))


def _wheel(path: Path) -> Wheel:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Wheel(name=path.name, digest=digest, size_bytes=path.stat().st_size, path=path)


def _download(version: str, tags: Sequence[str], to: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
    ]
    command += [
        "--only-binary=:all:",
        "--implementation",
        "cp",
        "--python-version",
        version,
        "--dest",
        str(to),
    ]
    for tag in tags:
        command += ["--platform", tag]
    try:
        done = subprocess.run(
            [*command, *_REQUIREMENTS],
            capture_output=True,
            text=True,
            timeout=_FETCH_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(
            f"fetching packages took more than {_FETCH_S:g} s.", next_step="Try again."
        ) from error
    if done.returncode:
        shutil.rmtree(to, ignore_errors=True)
        raise _fault(done.stderr, version, tags)


def _fault(said: str, version: str, tags: Sequence[str]) -> Exception:
    if "No module named pip" in said:
        return MissingDependencyError(
            "the packages for the board are fetched with pip, which this Python lacks.",
            next_step=f"Install it: {sys.executable} -m ensurepip",
        )
    none = re.search(r"No matching distribution found for (\S+)", said)
    unreachable = (
        "Could not fetch URL" in said or "Failed to establish" in said or "NewConnectionError" in said
    )
    if none and not unreachable:
        return UnsupportedError(
            f"there is no wheel of {none[1]} for Python {version} on {tags[0]}.",
            next_step="What would work: Python 3.10 to 3.13 on a 64-bit system with glibc 2.28 or newer.",
        )
    last = next((line for line in reversed(said.splitlines()) if line.strip()), "no reason given")
    return UnavailableError(
        f"the packages for the board could not be fetched: {last.removeprefix('ERROR: ')}.",
        next_step="This machine needs its package index for that, once per kind of board; the board needs none.",
    )
