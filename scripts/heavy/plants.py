"""Faults that somebody could have made here, each as one change of one file, and the test that has to find it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PLANTS", "Plant"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """One fault."""

    #: What was done wrong.
    name: str
    #: File below the root.
    file: str
    #: Text that is there once.
    old: str
    #: What stands there instead.
    new: str
    #: Tests, one of which has to fail.
    tests: tuple[str, ...]
    #: Further changes of the same file, old and new.
    more: tuple[tuple[str, str], ...] = ()

    @property
    def changes(self) -> tuple[tuple[str, str], ...]:
        """Every change."""
        return ((self.old, self.new), *self.more)


_FS = "protos/edgeloop_foundation/ports/fs.py"
_AGENT = "device_agent/edgeloop_agent"
_HOST = "controller/edgeloop"

PLANTS = (
    Plant(
        name="no fsync of the content",
        file=_FS,
        old="            file.write(data)\n            file.sync()\n",
        new="            file.write(data)\n",
        tests=("tests/protos/foundation/ports/test_fs.py",),
    ),
    Plant(
        name="rename before fsync",
        file=_FS,
        old="            file.write(data)\n            file.sync()\n",
        new="            file.write(data)\n            fs.rename(temporary, path)\n"
        "            file.sync()\n            return\n",
        tests=("tests/protos/foundation/ports/test_fs.py",),
    ),
    Plant(
        name="no fsync of the directory after a rename",
        file=_FS,
        old="        raise\n    fs.sync_directory(path.parent)\n",
        new="        raise\n",
        tests=("tests/protos/foundation/ports/test_fs.py",),
    ),
    Plant(
        name="a new directory whose entry is not synced",
        file=f"{_HOST}/store/rollouts.py",
        old="make_durable_directory(self._fs, directory)",
        new="self._fs.make_directory(directory)",
        tests=("tests/controller/store/test_rollouts.py",),
    ),
    Plant(
        name="acknowledged before it is committed",
        file=f"{_HOST}/transport/collect.py",
        old="            await ingest(spooled)\n",
        new="            await _acknowledge(client, spooled.epoch, {spooled.sequence})\n"
        "            await ingest(spooled)\n",
        tests=("tests/controller/transport/test_collect.py",),
    ),
    Plant(
        name="records forgotten before their number is kept",
        file=f"{_AGENT}/spool.py",
        old='                write_durably(self._fs, self._root / "acknowledged", seal(body))\n',
        new="                for known in [n for n in self._records if n <= up_to_sequence]:\n"
        "                    self._fs.remove(self._path(known))\n"
        "                self._fs.sync_directory(self._root)\n"
        '                write_durably(self._fs, self._root / "acknowledged", seal(body))\n',
        tests=("tests/device_agent/test_spool.py",),
    ),
    Plant(
        name="an acknowledgement of another epoch is taken",
        file=f"{_AGENT}/spool.py",
        old="            if epoch != self._epoch:\n",
        new="            if not epoch:\n",
        tests=("tests/device_agent/test_spool.py",),
    ),
    Plant(
        name="a record that came again is stored twice or refused",
        file=f"{_HOST}/store/records.py",
        old="            return _append_run(connection, row)\n",
        new="            connection.execute(schema.runs.insert().values(row))\n            return True\n",
        tests=("tests/controller/store/test_records.py",),
    ),
    Plant(
        name="the database does not sync",
        file=f"{_HOST}/store/database.py",
        old='        f"synchronous = {synchronous}",\n',
        new='        "synchronous = OFF",\n',
        tests=("tests/controller/store/test_database.py",),
    ),
    Plant(
        name="a blob is visible before it is checked",
        file=f"{_AGENT}/upload.py",
        old="        found = self._hash.hexdigest()\n        if found != self.name.digest:\n",
        new="        found = self._hash.hexdigest()\n        if found == self.name.digest * 2:\n",
        tests=("tests/device_agent/test_store.py",),
    ),
    Plant(
        name="the digest is not checked after a resume",
        file=f"{_AGENT}/upload.py",
        old="        found = self._hash.hexdigest()\n",
        new="        found = self.name.digest if self._resumed else self._hash.hexdigest()\n",
        more=(
            ("        self._committed = 0\n", "        self._committed = 0\n        self._resumed = False\n"),
            (
                "        self._committed = self._written = committed\n",
                "        self._committed = self._written = committed\n        self._resumed = committed > 0\n",
            ),
        ),
        tests=("tests/device_agent/test_store.py",),
    ),
    Plant(
        name="a resume goes on behind bytes that were not committed",
        file=f"{_AGENT}/upload.py",
        old="        self._file.truncate(committed)\n",
        new="",
        tests=("tests/device_agent/test_store.py",),
    ),
    Plant(
        name="an unknown host key is taken in silence",
        file=f"{_HOST}/transport/ssh_link/streamlocal.py",
        old="        raise UnknownHostKeyError(hostname, key)\n",
        new="        return\n",
        tests=("tests/controller/transport/ssh_link/test_connection.py",),
    ),
    Plant(
        name="a lease without fencing",
        file=f"{_AGENT}/leases.py",
        old="        if entry.token != fencing_token:\n",
        new="        if fencing_token < 0:\n",
        tests=(
            "tests/device_agent/test_leases.py",
            "tests/device_agent/test_server.py",
            "tests/device_agent/test_jobs.py",
        ),
    ),
    Plant(
        name="a lease is told before its token is kept",
        file=f"{_AGENT}/leases.py",
        old="        await asyncio.to_thread(self._store, [*self._held, entry])\n",
        new="",
        tests=("tests/device_agent/test_leases.py",),
    ),
    Plant(
        name="a lease that ran out still counts",
        file=f"{_AGENT}/leases.py",
        old="        if entry.until_ns <= self._clock.monotonic_ns():\n            self._wake.set()\n",
        new="        if entry.until_ns <= 0:\n            self._wake.set()\n",
        tests=("tests/device_agent/test_leases.py",),
    ),
    Plant(
        name="a job begins before it is on the disk",
        file=f"{_AGENT}/jobs.py",
        old="        await asyncio.to_thread(self._journal.write, record)\n        return record\n",
        new="        return record\n",
        tests=("tests/device_agent/test_jobs.py",),
    ),
    Plant(
        name="the same request is a second job",
        file=f"{_AGENT}/jobs.py",
        old="            if (known := self._by_request(spec.request_id)) is not None:\n",
        new="            if (known := self._by_request(spec.request_id)) is not None and self._active is not None:\n",
        tests=("tests/device_agent/test_jobs.py",),
    ),
    Plant(
        name="after a restart every trial is recorded again",
        file=f"{_AGENT}/jobs.py",
        old="        for trial in trials[kept_count:]:\n",
        new="        for trial in trials:\n",
        tests=("tests/device_agent/test_jobs.py",),
    ),
    Plant(
        name="the pointer moves before the slot is durable",
        file=f"{_AGENT}/slots.py",
        old="                file.write(chunk)\n            file.sync()\n",
        new="                file.write(chunk)\n",
        tests=("tests/device_agent/test_deployments.py",),
    ),
    Plant(
        name="a slot is served without a look at its bytes",
        file=f"{_AGENT}/slots.py",
        old='        if hasher.hexdigest() != digest:\n            raise CorruptDataError(f"{path} is not what was '
        'signed."',
        new='        if not digest:\n            raise CorruptDataError(f"{path} is not what was signed."',
        tests=("tests/device_agent/test_slots.py",),
    ),
    Plant(
        name="the counter is not persisted",
        file=f"{_AGENT}/trust/__main__.py",
        old="    files.write(verified.state)\n",
        new="",
        tests=("tests/device_agent/trust/test_program.py",),
    ),
    Plant(
        name="the trust state is kept the wrong way round",
        file=f"{_AGENT}/trust_files.py",
        old="        write_durably(self._fs, self._floor, seal(to_canonical_json(state.floor)))\n"
        "        write_durably(self._fs, self._metadata, seal(to_canonical_json(state.metadata)))\n",
        new="        write_durably(self._fs, self._metadata, seal(to_canonical_json(state.metadata)))\n"
        "        write_durably(self._fs, self._floor, seal(to_canonical_json(state.floor)))\n",
        tests=("tests/device_agent/test_deployments.py",),
    ),
    Plant(
        name="a lower counter is accepted",
        file=f"{_AGENT}/trust/verify.py",
        old="    if known is not None and entry.counter < known.counter:\n",
        new="    if known is not None and entry.counter < 0:\n",
        tests=("tests/device_agent/trust/test_table.py",),
    ),
    Plant(
        name="a lost cache counts as a first use",
        file=f"{_AGENT}/trust/verify.py",
        old="        if entry is not None and entry.keys == keys and version < entry.version:\n",
        new="        if entry is not None and entry.keys == keys and version < 0:\n",
        tests=("tests/device_agent/trust/test_table.py",),
    ),
    Plant(
        name="expiry is not held against the device's clock",
        file=f"{_AGENT}/trust/verify.py",
        old="        if signed.is_expired(now):\n",
        new="        if signed.is_expired(now) and now.year < 2000:\n",
        tests=("tests/device_agent/trust/test_table.py",),
    ),
    Plant(
        name="a clock that was set back is believed",
        file=f"{_AGENT}/trust/verify.py",
        old="    if now_s + _CLOCK_SLACK_S < signed_s:\n",
        new="    if now_s + _CLOCK_SLACK_S < 0:\n",
        tests=("tests/device_agent/trust/test_table.py",),
    ),
    Plant(
        name="a release for another device is installed",
        file=f"{_AGENT}/deployments.py",
        old="        check_device(accepted.terms, await self._facts())\n",
        new="",
        tests=("tests/device_agent/test_deployments.py",),
    ),
    Plant(
        name="a trial that fails is committed all the same",
        file=f"{_AGENT}/deployments.py",
        old='            await asyncio.to_thread(self._end, record, f"on trial: {error}")\n            return\n'
        "        await asyncio.to_thread(self._commit, replace(record, measured=measured))\n",
        new="            measured = str(error)\n"
        "        await asyncio.to_thread(self._commit, replace(record, measured=measured))\n",
        tests=("tests/device_agent/test_deployments.py",),
    ),
    Plant(
        name="a rollout is acted upon before it is saved",
        file=f"{_HOST}/orchestrate/rollout_device.py",
        old="                    await keep(device)\n",
        new="                    pass\n",
        tests=("tests/controller/orchestrate/test_rollout_device.py",),
    ),
    Plant(
        name="a line of the audit log is acknowledged before it is durable",
        file=f"{_HOST}/store/audit.py",
        old="            file.write(data)\n            file.sync()\n",
        new="            self._acknowledge((count + 1, digest))\n"
        "            file.write(data)\n            file.sync()\n",
        tests=("tests/controller/store/test_audit.py",),
    ),
    Plant(
        name="a torn line of the audit log is thrown away",
        file=f"{_HOST}/store/audit.py",
        old="                write_durably(self._fs, aside, kept)\n",
        new="",
        tests=("tests/controller/store/test_audit.py",),
    ),
    Plant(
        name="lines cut off the end of the audit log pass",
        file=f"{_HOST}/store/audit.py",
        old="        elif count < anchor[0]:\n",
        new="        elif count < 0:\n",
        tests=("tests/controller/store/test_audit.py",),
    ),
)
"""Every ``old`` is there once; the script says so when it is not."""
