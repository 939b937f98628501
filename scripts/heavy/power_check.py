"""Inside the emulated machine, or beside it: one disk after the other that a cut left, recovered and looked at."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from edgeloop.app import App
from edgeloop.orchestrate.deploy import bring
from edgeloop.orchestrate.measure import OpenDevice
from edgeloop.store.audit import AuditLog
from edgeloop.transport.collect import drain_spool
from edgeloop_agent.slots import SlotFiles
from edgeloop_agent.trust_files import DIRECTORY, TrustFiles
from edgeloop_foundation.errors import EdgeloopError, StateError
from edgeloop_foundation.ports.fs import OsFileSystem
from edgeloop_protocol.types.run import SpooledRun

from scripts.heavy.kill_world import NAME, at_rest, opened
from scripts.heavy.power_disk import SECTOR_BYTES
from scripts.heavy.power_guest import (
    CONTROLLER,
    DISK,
    REST_S,
    SOCKET,
    STATE,
    Daemon,
    Line,
    Release,
    read_world,
)

_DEVICE = "/dev/vda"
_LEASE_WAIT_S = 120.0


class Check:
    """One disk and what the outside had been told before it lost power."""

    def __init__(self, releases: dict[int, Release], told: dict[str, Any], disk: str) -> None:
        self._releases, self._told, self._disk = releases, told, disk
        self.complaints: list[str] = []
        #: How long each part took.
        self.stages_s: dict[str, float] = {}
        self._since = time.monotonic()
        self._before: list[str] = []
        self._daemon = Daemon()

    def _complain(self, text: str) -> None:
        self.complaints.append(text)

    def _took(self, stage: str) -> None:
        now = time.monotonic()
        self.stages_s[stage], self._since = round(now - self._since, 1), now

    async def run(self) -> None:
        """Recover it and write down what does not hold."""
        self._before = _kernel_said()[-1:]
        loop = "" if self._disk == _DEVICE else ",loop"
        mounted = _said(["mount", "-t", "ext4", "-o", f"noatime{loop}", self._disk, DISK])
        if mounted:
            self._complain(f"corrupt: it cannot be mounted: {mounted}")
            return
        try:
            self._look()
            self._took("look")
            with App.open(CONTROLLER) as app:
                self._stores(app)
                self._took("stores")
                await self._agent(app)
            self._database()
        except (EdgeloopError, OSError, sqlite3.Error, TimeoutError) as error:
            self._complain(
                f"it needs a hand: {error} [{self._daemon.tail() if self._daemon.log.exists() else ''}]"
            )
        finally:
            await self._daemon.stop()
            if still := _said(["umount", DISK]):
                self._complain(f"it needs a hand: {still}")
        self._took("stop")
        self._file_system()
        self._took("fsck")

    def _look(self) -> None:
        """Look at what serves, before anything recovers it."""
        files = SlotFiles(OsFileSystem(), STATE / "deployments")
        try:
            current = files.pointer(NAME).current
            if current:
                files.verify(NAME, current)
        except (EdgeloopError, OSError) as error:
            self._complain(f"half-installed: {error}")
            return
        if current not in self._told["allowed"]:
            self._complain(f"half-installed: {current!r} serves, told was {self._told['allowed']}")
        if floor := self._told["counter"]:
            state = TrustFiles(OsFileSystem(), STATE / DIRECTORY).read()
            kept = {one.name: one.counter for one in state.floor.counters} if state else {}
            if kept.get(NAME, 0) < floor:
                self._complain(f"lost: the counter is {kept.get(NAME, 0)}, told was {floor}")

    def _stores(self, app: App) -> None:
        """Look at what the controller keeps, as it opens it."""
        self._database()
        kept = _rows()
        if lost := set(self._told["stored"]) - set(kept):
            self._complain(f"lost: {len(lost)} records that were stored")
        path = app.state_directory / "audit.jsonl"
        try:
            log = AuditLog(path, time.time)
            log.verify(next(reversed(self._told["audit"]), ""))
            log.append("look", "board", "done")
        except EdgeloopError as error:
            self._complain(f"corrupt: {error}")
        lines = path.read_text(errors="replace") if path.exists() else ""
        if lost := [head for head in self._told["audit"] if head not in lines]:
            self._complain(f"lost: {len(lost)} lines of the audit log")
        for digest in self._told["artifact"]:
            self._artifact(app, digest)

    def _artifact(self, app: App, digest: str) -> None:
        try:
            app.artifacts.directory(digest)
        except EdgeloopError as error:
            self._complain(f"lost: artifact {digest[:12]}: {error}")

    def _database(self) -> None:
        with closing(sqlite3.connect(CONTROLLER / "records.sqlite")) as connection:
            found = [row[0] for row in connection.execute("PRAGMA integrity_check")]
        if found != ["ok"]:
            self._complain(f"corrupt: the records: {found[:3]}")

    async def _agent(self, app: App) -> None:
        """Let the agent start by itself, go on with what was begun, and bring its records home."""
        await self._daemon.start()
        self._took("start")
        async with opened(SOCKET, Path("/run")) as device:
            await self._serves(app, device)
            self._took("end of what was begun")
            for job in self._told["job"]:
                await device.client.get_job(job)
            # A lease from before the cut holds for one whole time to live after another boot.
            async with device.client.lease("power", wait_timeout_s=_LEASE_WAIT_S) as lease:
                if lease.fencing_token <= self._told["token"]:
                    self._complain(f"lost: token {lease.fencing_token} again, told was {self._told['token']}")
            self._took("lease")

            async def ingest(spooled: SpooledRun) -> bool:
                return await asyncio.to_thread(app.records.ingest, spooled, "board")

            await drain_spool(device.client, ingest)
            self._took("records")
        kept = _rows()
        if lost := set(self._told["seen"]) - set(kept):
            self._complain(f"lost: {len(lost)} records that were seen on the device")
        requests = list(kept.values())
        for request, count in self._told["finished"]:
            if requests.count(request) != count:
                self._complain(f"lost: a finished job has {requests.count(request)} of {count} records")
        if not self._daemon.alive():
            self._complain(f"it needs a hand: the agent ended [{self._daemon.tail()}]")

    async def _serves(self, app: App, device: OpenDevice) -> None:
        """See that an allowed version serves once the agent is at rest, and that what was begun can be ended."""
        digest = await at_rest(device, REST_S)
        self._took("rest")
        allowed = {slot.partition("-")[2] for slot in self._told["allowed"]}
        if digest not in allowed:
            self._complain(f"half-installed: {digest[:12]!r} serves at rest")
        act, goal = self._told["begun"]
        if not act or digest == self._releases[goal].digest:
            return
        release = self._releases[goal]
        if act == "rollback":
            await device.client.deployments.rollback(NAME)
        else:
            await bring(app, device, NAME, release.digest, release.bundle, 0.0)
        if await at_rest(device, REST_S) != release.digest:
            raise StateError(f"{act} of version {goal} did not end well after the cut.")

    def _file_system(self) -> None:
        """See that the file system is sound after all that."""
        done = subprocess.run(["e2fsck", "-fn", self._disk], capture_output=True, text=True)
        if done.returncode != 0:
            self._complain(f"corrupt: e2fsck says {done.stdout[-300:]}")
        said = _kernel_said()
        new = said[said.index(self._before[0]) + 1 :] if self._before and self._before[0] in said else said
        if errors := [line for line in new if "EXT4-fs error" in line]:
            self._complain(f"corrupt: {errors[0]}")


def _said(words: list[str | Path]) -> str:
    """Run a program; return what it says when it fails."""
    done = subprocess.run(words, capture_output=True, text=True)
    return "" if done.returncode == 0 else (done.stderr.strip() or f"status {done.returncode}")


def _kernel_said() -> list[str]:
    return subprocess.run(["dmesg"], capture_output=True, text=True, check=True).stdout.splitlines()


def _rows() -> dict[str, str]:
    """Return the records that the controller has: run to request."""
    with closing(sqlite3.connect(CONTROLLER / "records.sqlite")) as connection:
        rows = connection.execute("SELECT run_id, record FROM runs").fetchall()
    return {run: json.loads(record)["request_id"] for run, record in rows}


def forget_disk(sample: dict[str, Any]) -> None:
    """Let the system read the disk anew, which is another one now; the rest of what it keeps in memory stays.

    Raises:
        StateError: what it reads is not what stands there.
    """
    subprocess.run(["blockdev", "--flushbufs", _DEVICE], check=True)
    found = hashlib.sha256()
    with Path(_DEVICE).open("rb") as disk:
        for offset in sample["offsets"]:
            disk.seek(offset)
            found.update(disk.read(SECTOR_BYTES))
    if found.hexdigest() != sample["sha256"]:
        raise StateError("the machine reads a disk that is not there any more.")
    subprocess.run(["blockdev", "--flushbufs", _DEVICE], check=True)


async def check(line: Line) -> None:
    """Check disk after disk until there is none left."""
    releases = read_world()
    answer = line.ask(next=True)
    while "told" in answer:
        disk = answer.get("disk", _DEVICE)
        if disk == _DEVICE:
            forget_disk(answer["sample"])
        begun = time.monotonic()
        one = Check(releases, answer["told"], disk)
        await one.run()
        took_s = time.monotonic() - begun
        answer = line.ask(next=True, complaints=one.complaints, took_s=took_s, stages_s=one.stages_s)


def main() -> None:
    logging.disable(logging.WARNING)
    asyncio.run(check(Line()))


if __name__ == "__main__":
    main()
