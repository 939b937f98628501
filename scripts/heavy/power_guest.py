"""What both programs inside the emulated machine use: the line to the outside, the signed releases, the agent."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgeloop_foundation.errors import StateError
from edgeloop_foundation.within import within
from edgeloop_protocol.convert import from_json, to_json
from edgeloop_protocol.types.artifact import Artifact
from edgeloop_protocol.types.deployment import ReleaseBundle
from edgeloop_protocol.types.trial import JobSpec

from scripts.heavy.kill_world import World, job_spec

__all__ = [
    "CONTROLLER",
    "DISK",
    "REST_S",
    "SOCKET",
    "STATE",
    "Daemon",
    "Line",
    "Release",
    "read_world",
    "slow_job",
    "write_world",
]

DISK = Path("/mnt")
STATE, CONTROLLER = DISK / "agent", DISK / "controller"
SOCKET = Path("/run/agent.s")
_GIVEN = Path("/srv")
REST_S = 300.0
"""How long a recovered agent may take here to come to rest."""

_READY_S = 180.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One version: what it is and that it may be installed."""

    digest: str
    #: Name of its slot.
    slot: str
    #: Directory of its files, below the world's.
    directory: str
    manifest: Artifact
    bundle: ReleaseBundle


def write_world(world: World, path: Path) -> None:
    """Write every version down for a machine that has no keys."""
    releases = [
        {
            "digest": digest,
            "slot": world.slots[version],
            "directory": f"model-{version}",
            "manifest": to_json(world.app.artifacts.manifest(digest)),
            "bundle": to_json(world.bundles[version]),
        }
        for version, digest in world.digests.items()
    ]
    path.write_text(json.dumps(releases))


def read_world() -> dict[int, Release]:
    """Return the versions, from 1."""
    trees = json.loads((_GIVEN / "world.json").read_text())
    return {
        number: Release(
            digest=tree["digest"],
            slot=tree["slot"],
            directory=str(_GIVEN / "world" / tree["directory"]),
            manifest=from_json(tree["manifest"], Artifact),
            bundle=from_json(tree["bundle"], ReleaseBundle),
        )
        for number, tree in enumerate(trees, 1)
    }


class Line:
    """The serial port, or the socket that is named on the command line."""

    def __init__(self) -> None:
        if sys.argv[1:]:
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.connect(sys.argv[1])
            self._file: Any = self._socket.makefile("rwb", buffering=0)
        else:
            self._file = next(Path("/dev").glob("vport*")).open("r+b", buffering=0)

    def ask(self, **said: Any) -> dict[str, Any]:
        """Say something and wait until it was heard; return the answer."""
        self._file.write(json.dumps(said).encode() + b"\n")
        heard = b""
        while not heard.endswith(b"\n"):
            more = self._file.read(1 << 16)
            if not more:
                # The outside is not there yet.
                time.sleep(0.01)
            heard += more or b""
        answer: dict[str, Any] = json.loads(heard)
        return answer


@dataclass(kw_only=True)
class Daemon:
    """The agent as its service manager starts it."""

    log: Path = Path("/run/agent.log")
    _process: asyncio.subprocess.Process | None = field(default=None, init=False)

    async def start(self) -> None:
        """Start it and wait until it is ready.

        Raises:
            StateError: it ended, or took too long.
        """
        words = [sys.executable, "-m", "edgeloop_agent", "serve", "--state", STATE, "--socket", SOCKET]
        words += ["--name", "board", "--reserve-bytes", str(4 << 20), "--telemetry-period", "2"]
        with self.log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *words,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        assert self._process.stdout is not None
        try:
            line = await within(self._process.stdout.readline(), _READY_S)
        except asyncio.TimeoutError as error:
            raise StateError(f"the agent is not ready after {_READY_S:.0f} s: {self.tail()}") from error
        if not line.startswith(b"ready"):
            raise StateError(f"the agent does not start: {self.tail()}")

    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.returncode is None

    async def stop(self) -> None:
        """Ask it to stop, and end all that it started."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        with contextlib.suppress(asyncio.TimeoutError):
            await within(self._process.wait(), 30.0)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()

    def tail(self) -> str:
        """Return the last lines that it wrote."""
        return " | ".join(self.log.read_text(errors="replace").splitlines()[-6:])


def slow_job(lease_id: str, token: int, digest: str) -> JobSpec:
    """Return a job of two short trials, with the patience that emulation needs."""
    return replace(job_spec(lease_id, token, digest), deadline_s=600.0, runner_deadline_s=180.0)
