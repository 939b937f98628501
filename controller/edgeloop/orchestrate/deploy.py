"""Releases: keys, signing, and bringing a signed artifact to devices and back."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_foundation.errors import (
    BusyError,
    CorruptDataError,
    EdgeloopError,
    InvalidInputError,
    MissingDependencyError,
    NotFoundError,
    StateError,
    UnavailableError,
)
from edgeloop_protocol.types.deployment import (
    OVER,
    DeploymentState,
    DeploymentStatus,
    ReleaseBundle,
    ReleaseTerms,
)

from edgeloop.domain.device import DeviceSpec
from edgeloop.orchestrate.fleet import open_each
from edgeloop.orchestrate.leasing import lease_wait_s, leased
from edgeloop.orchestrate.measure import OpenDevice

if TYPE_CHECKING:
    from edgeloop.app import App
    from edgeloop.release.repository import Repository
    from edgeloop.store.audit import AuditLog
    from edgeloop.transport.client import AgentClient
    from edgeloop.transport.rpc.lease import LeaseHandle

__all__ = [
    "Deployed",
    "Selectors",
    "audit_log",
    "bring",
    "cancel",
    "deploy",
    "note_in_audit",
    "repository",
    "roll_back",
    "sign",
    "signed_release",
    "statuses",
]

_PASSPHRASE = "EDGELOOP_RELEASE_PASSPHRASE"  # noqa: S105 - the name of a variable
_ASK_EVERY_S = 0.2
# What the steps before and after the trial may take on a slow board, by the device's own deadlines.
_BESIDE_TRIAL_S = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Selectors:
    """What a release is signed for, beside the artifact itself; empty admits every device."""

    #: Identifiers or names of devices.
    devices: tuple[str, ...] = ()
    #: Processor architectures.
    architectures: tuple[str, ...] = ()
    #: Runtime that opens it.
    runtime: str = "onnxruntime"
    #: Lowest version of the runtime.
    runtime_version_min: str = ""
    #: First version of the runtime that is too new.
    runtime_version_below: str = ""
    #: Most resident memory in bytes; 0 sets no limit.
    memory_bytes_max: int = 0
    #: Longest median latency in microseconds; 0 sets no limit.
    latency_us_max: int = 0
    #: Weakest tier of isolation; empty leaves it to the device.
    isolation: str = ""
    #: Most threads and processes; 0 leaves it to the device.
    process_count_max: int = 0
    #: Longest load or run in seconds; 0 leaves it to the device.
    step_s_max: int = 0

    @property
    def schema_version(self) -> int:
        """The oldest layout of terms that can say all of it."""
        return 2 if self.isolation or self.process_count_max or self.step_s_max else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """How one device stands after a verb."""

    #: The device.
    device: DeviceSpec
    #: Its deployments; empty when it could not be asked.
    statuses: tuple[DeploymentStatus, ...] = ()
    #: Why it could not be done; empty when it was.
    error: str = ""
    #: Whether the release root was pinned on first use.
    pinned_now: bool = False
    #: What a reader has to know besides, one sentence; empty as a rule.
    note: str = ""


def repository(home: Path, keys: Path | None = None) -> Repository:
    """Return the releases of this controller.

    Raises:
        MissingDependencyError: tuf is not installed.
    """
    try:
        from edgeloop.release.repository import Repository
    except ImportError as error:
        raise MissingDependencyError(
            f"releases are signed with the packages tuf and cryptography ({error}).",
            next_step="Install edgeloop[trust].",
        ) from error
    directory = home / "release"
    return Repository(directory, keys or directory / "keys", os.environ.get(_PASSPHRASE, ""), time.time)


def audit_log(home: Path) -> AuditLog:
    """Return the log of what was done to which device, unbroken: nothing is done that could not be written down.

    Raises:
        CorruptDataError: a line was changed, moved, taken out or cut off.
    """
    from edgeloop.store.audit import AuditLog

    log = AuditLog(home / "audit.jsonl", time.time)
    log.verify()
    return log


def note_in_audit(
    home: Path, action: str, subject: str, outcome: str, details: Mapping[str, Any] | None = None
) -> str:
    """Write down what was done; where the log is broken, into the log beside it.

    For what must not wait for a log, such as going back. Returns one sentence when the log beside was used.
    """
    from edgeloop.store.audit import AuditLog

    found = {**(details or {})}
    try:
        AuditLog(home / "audit.jsonl", time.time).append(action, subject, outcome, **found)
    except (CorruptDataError, OSError) as error:
        beside = home / "audit-beside.jsonl"
        AuditLog(beside, time.time).append(action, subject, outcome, **found, why_beside=str(error))
        return f"the audit log cannot be written to; this stands in {beside}."
    return ""


def signed_release(releases: Repository, name: str) -> tuple[str, ReleaseTerms]:
    """Return digest and terms of the release of a name.

    Raises:
        NotFoundError: nothing was signed under that name.
    """
    found = releases.find(name)
    if found is None:
        raise NotFoundError(
            f"no release is named {name!r}.",
            next_step=f"Sign one: edgeloop release sign ARTIFACT --name {name}.",
        )
    return found


def sign(app: App, artifact: str, name: str, selectors: Selectors, keys: Path | None = None) -> ReleaseTerms:
    """Let a name stand for a kept artifact from now on, and return what was signed.

    Raises:
        NotFoundError: no such artifact, no releases or no key.
        InvalidInputError: the artifact has no golden pack, or the name is not possible.
        CorruptDataError: the audit log is broken.
    """
    log = audit_log(app.state_directory)
    digest = app.artifacts.find(artifact)
    manifest = app.artifacts.manifest(digest)
    golden = next((entry.digest for entry in manifest.files if entry.name == manifest.golden_file), "")
    if not golden:
        raise InvalidInputError(
            f"artifact {digest[:12]} has no golden pack, so that no device could prove it.",
            next_step="Build it with --data.",
        )
    releases = repository(app.state_directory, keys)
    terms = ReleaseTerms(
        schema_version=selectors.schema_version,
        counter=releases.next_counter(name),
        devices=selectors.devices,
        architectures=selectors.architectures,
        runtime=selectors.runtime,
        runtime_version_min=selectors.runtime_version_min,
        runtime_version_below=selectors.runtime_version_below,
        format=manifest.format,
        files=manifest.files,
        inputs=manifest.inputs,
        outputs=manifest.outputs,
        golden_digest=golden,
        memory_bytes_max=selectors.memory_bytes_max,
        latency_us_max=selectors.latency_us_max,
        isolation=selectors.isolation,
        process_count_max=selectors.process_count_max,
        step_s_max=selectors.step_s_max,
    )
    releases.sign(name, digest, app.artifacts.blob(digest).stat().st_size, terms)
    log.append("sign", name, "signed", artifact=digest, counter=terms.counter)
    return terms


async def deploy(
    app: App, name: str, devices: Sequence[DeviceSpec], *, trial_s: float
) -> tuple[Deployed, ...]:
    """Bring the signed release of a name to every device and wait until it is committed or not.

    Raises:
        NotFoundError: nothing was signed under that name.
        CorruptDataError: the audit log is broken.
    """
    releases = repository(app.state_directory)
    digest, _ = signed_release(releases, name)
    bundle = await asyncio.to_thread(releases.bundle)

    async def one(device: OpenDevice) -> Deployed:
        status, pinned = await bring(app, device, name, digest, bundle, trial_s)
        error = status.reason if status.state is not DeploymentState.COMMITTED else ""
        return Deployed(device=device.spec, statuses=(status,), error=error, pinned_now=pinned)

    return await _on_each(app, devices, f"deploy {name}", one)


async def bring(
    app: App, device: OpenDevice, name: str, digest: str, bundle: ReleaseBundle, trial_s: float
) -> tuple[DeploymentStatus, bool]:
    """Bring a release to one open device, wait until it is committed or not, and say whether its root was pinned now.

    Raises:
        EdgeloopError: the device refused it, or did not answer.
    """
    client = device.client
    pinned = await client.deployments.pin_root(bundle.roots[0])
    async with leased(app, client, shared=True) as lease:
        await client.push_artifact(digest, app.artifacts)
        status = await _begin(client, name, bundle, lease, trial_s, lease_wait_s(app))
        ends = time.monotonic() + trial_s + _BESIDE_TRIAL_S
        while status.state not in OVER:
            if lease.lost.is_set():
                status = await client.deployments.cancel(name)
                raise StateError(
                    f"the lease was lost; the deployment was cancelled and is {status.state.value}."
                )
            if time.monotonic() > ends:
                raise UnavailableError(f"{device.spec.name}: {name} is {status.state.value} for too long.")
            await asyncio.sleep(_ASK_EVERY_S)
            status = next(one for one in await client.deployments.listing() if one.name == name)
    return status, pinned


async def _begin(
    client: AgentClient, name: str, bundle: ReleaseBundle, lease: LeaseHandle, trial_s: float, wait_s: float
) -> DeploymentStatus:
    """Begin an installation after the one that is under way; the device does one at a time."""
    ends = time.monotonic() + wait_s
    while True:
        try:
            return await client.deployments.deploy(name, bundle, lease, trial_s)
        except BusyError:  # noqa: PERF203 - trying again is the point
            waits = any(one.state not in OVER for one in await client.deployments.listing())
            if not waits or time.monotonic() > ends:
                raise
            await asyncio.sleep(_ASK_EVERY_S)


async def _on_each(
    app: App,
    devices: Sequence[DeviceSpec],
    action: str,
    work: Callable[[OpenDevice], Awaitable[Deployed]],
    *,
    going_back: bool = False,
) -> tuple[Deployed, ...]:
    """Do the same on every device at once, and write down how each went as it ends."""
    home = app.state_directory
    if action and not going_back:
        audit_log(home)

    async def one(spec: DeviceSpec, device: OpenDevice | EdgeloopError) -> Deployed:
        try:
            if isinstance(device, EdgeloopError):
                raise device
            done = await work(device)
        except EdgeloopError as error:
            done = Deployed(device=spec, error=str(error))
        if not action:
            return done
        outcome = done.error or (done.statuses[0].state.value if done.statuses else "done")
        details = {
            "counter": done.statuses[0].counter if done.statuses else 0,
            "pinned_now": done.pinned_now,
        }
        return replace(done, note=note_in_audit(home, action, spec.name, outcome, details))

    return await open_each(app, devices, 0, one)


async def statuses(app: App, devices: Sequence[DeviceSpec]) -> tuple[Deployed, ...]:
    """Ask every device how its deployments stand."""

    async def one(device: OpenDevice) -> Deployed:
        return Deployed(device=device.spec, statuses=await device.client.deployments.listing())

    return await _on_each(app, devices, "", one)


async def roll_back(app: App, name: str, devices: Sequence[DeviceSpec]) -> tuple[Deployed, ...]:
    """Go back to the version before the committed one on every device, also when the audit log is broken."""

    async def one(device: OpenDevice) -> Deployed:
        return Deployed(device=device.spec, statuses=(await device.client.deployments.rollback(name),))

    return await _on_each(app, devices, f"rollback {name}", one, going_back=True)


async def cancel(app: App, name: str, devices: Sequence[DeviceSpec]) -> tuple[Deployed, ...]:
    """End an installation under way on every device."""

    async def one(device: OpenDevice) -> Deployed:
        return Deployed(device=device.spec, statuses=(await device.client.deployments.cancel(name),))

    return await _on_each(app, devices, f"cancel {name}", one, going_back=True)
