"""An agent and a controller at work on one disk, in the emulated machine or beside it, and what the outside is told."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from edgeloop.app import App
from edgeloop.orchestrate.deploy import bring
from edgeloop.orchestrate.measure import OpenDevice
from edgeloop.store.audit import AuditLog
from edgeloop.transport.collect import drain_spool
from edgeloop_foundation.errors import StateError
from edgeloop_protocol.types.job import TERMINAL
from edgeloop_protocol.types.run import SpooledRun

from scripts.heavy.kill_world import NAME, at_rest, opened
from scripts.heavy.power_guest import (
    CONTROLLER,
    DISK,
    REST_S,
    SOCKET,
    Daemon,
    Line,
    Release,
    read_world,
    slow_job,
)


class Work:
    """What is done, and what the outside is told at each step that it may rely on."""

    def __init__(self, line: Line, app: App, device: OpenDevice, releases: dict[int, Release]) -> None:
        self._line, self._app, self._device, self._releases = line, app, device, releases
        self._audit = AuditLog(app.state_directory / "audit.jsonl", time.time)
        self._serving = 0

    def _note(self, action: str) -> None:
        head = self._audit.append(action, "board", "done")
        self._line.ask(audit=head)

    def _begin(self, act: str, goal: int) -> None:
        allowed = [self._releases[n].slot for n in (self._serving, goal) if n]
        if not self._serving:
            allowed.append("")
        self._line.ask(begins=act, goal=goal, allowed=allowed)

    def _ended(self, version: int) -> None:
        self._serving = version
        self._line.ask(serves=self._releases[version].slot, version=version)

    async def deploy(self, version: int) -> None:
        """Store an artifact, bring it to the device, and wait until it is committed."""
        release = self._releases[version]
        files = {entry.name: Path(release.directory) / entry.name for entry in release.manifest.files}
        self._app.artifacts.put(release.manifest, files)
        self._line.ask(artifact=release.digest)
        self._begin("deploy", version)
        status, _ = await bring(self._app, self._device, NAME, release.digest, release.bundle, 0.0)
        if status.state.value != "committed":
            raise StateError(f"version {version} is {status.state.value}: {status.reason}")
        self._ended(version)
        self._note("deploy")

    async def roll_back(self, version: int) -> None:
        """Go back to the version before."""
        self._begin("rollback", version)
        await self._device.client.deployments.rollback(NAME)
        if await at_rest(self._device, REST_S) != self._releases[version].digest:
            raise StateError(f"version {version} does not serve after the rollback.")
        self._ended(version)
        self._note("rollback")

    async def measure(self) -> None:
        """Run a job and bring its records home."""
        client = self._device.client
        async with client.lease("power") as lease:
            self._line.ask(token=lease.fencing_token)
            spec = slow_job(lease.lease_id, lease.fencing_token, self._releases[self._serving].digest)
            job = await client.submit(spec)
            self._line.ask(job=job.job_id)
            async for event in client.watch(job.job_id):
                if event.state in TERMINAL:
                    break
            self._line.ask(finished=spec.request_id, count=len(spec.trials))
        async for spooled in client.fetch():
            self._line.ask(seen=spooled.run.run_id)
        await drain_spool(client, self._ingest)

    async def _ingest(self, spooled: SpooledRun) -> bool:
        new = await asyncio.to_thread(self._app.records.ingest, spooled, "board")
        self._line.ask(stored=spooled.run.run_id)
        return new


async def work(line: Line) -> None:
    """Install every version; go back from every third one; a job after each."""
    releases, daemon = read_world(), Daemon()
    with App.open(CONTROLLER) as app:
        await daemon.start()
        try:
            async with opened(SOCKET, Path("/run")) as device:
                line.ask(ready=True)
                doing = Work(line, app, device, releases)
                for version in releases:
                    await doing.deploy(version)
                    await doing.measure()
                    if version % 3 == 0:
                        await doing.roll_back(version - 1)
        except Exception as error:
            line.ask(failed=f"{error!r} {daemon.tail()}")
            raise
        finally:
            await daemon.stop()
    line.ask(over=True)


def main() -> None:
    logging.disable(logging.WARNING)
    line = Line()
    # In the emulated machine its disk, outside a file that stands for it.
    disk, loop = (sys.argv[2], ",loop") if sys.argv[2:] else ("/dev/vda", "")
    subprocess.run(["mount", "-t", "ext4", "-o", f"noatime{loop}", disk, DISK], check=True)
    asyncio.run(work(line))
    if loop:
        subprocess.run(["umount", DISK], check=True)


if __name__ == "__main__":
    main()
