"""Questions about devices that need no model: facts and a health check with a next step for each finding."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import EdgeloopError, UnsupportedError
from edgeloop_protocol.types.facts import Facts
from edgeloop_protocol.types.lease import Availability, CoolDown, LeaseState, holder_text, is_shared
from edgeloop_protocol.types.quarantine import QuarantinedArtifact

from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.inventory import age_words
from edgeloop.orchestrate.deploy import audit_log
from edgeloop.orchestrate.findings import (
    DoctorFinding,
    accelerator_findings,
    availability_findings,
    identity_findings,
    isolation_findings,
    version_findings,
    vital_findings,
)
from edgeloop.orchestrate.fleet import open_each, open_one
from edgeloop.orchestrate.inventory import keep_availability_quietly
from edgeloop.orchestrate.leasing import holder_name
from edgeloop.orchestrate.measure import OpenDevice
from edgeloop.store.known_facts import KnownFactsStore

if TYPE_CHECKING:
    from edgeloop.app import App

__all__ = [
    "DoctorFinding",
    "Standing",
    "availability",
    "clear_quarantine",
    "doctor",
    "drain",
    "facts",
    "quarantine",
    "sensor_findings",
    "set_cool_down",
    "standings",
    "undrain",
]

_DISK_FREE_MIN_BYTES = 512 * 1024 * 1024
_MEMORY_MIN_BYTES = 400 * 1024 * 1024
_ABSENT = "absent"
_EXPECTED = ("temperature", "frequency", "events")
"""What a device should tell besides power: without it, a throttled run looks like a slow one."""


async def facts(app: App, specs: Sequence[DeviceSpec]) -> tuple[tuple[DeviceSpec, Facts | None, str], ...]:
    """Return each device with its facts, or with the reason why there are none."""

    async def one(
        spec: DeviceSpec, device: OpenDevice | EdgeloopError
    ) -> tuple[DeviceSpec, Facts | None, str]:
        return (spec, None, str(device)) if isinstance(device, EdgeloopError) else (spec, device.facts, "")

    return await open_each(app, specs, 0, one)


async def set_cool_down(app: App, spec: DeviceSpec, rule: CoolDown | None) -> Availability:
    """Let a device rest so before each job from now on, whoever submits it; None for no rest.

    Raises:
        EdgeloopError: the device does not answer, shows no temperature to wait for, or refuses.
    """
    async with open_one(app, spec) as device:
        return _noted(app, spec, await device.client.set_cool_down(rule))


async def availability(app: App, spec: DeviceSpec) -> Availability:
    """Ask a device whether it gives out leases, and how it rests.

    Raises:
        EdgeloopError: the device does not answer.
    """
    async with open_one(app, spec) as device:
        return _noted(app, spec, await device.client.availability())


def _noted(app: App, spec: DeviceSpec, found: Availability) -> Availability:
    """Return an answer that ``device list`` tells from now on, without asking again."""
    keep_availability_quietly(app.state_directory, spec, found)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Whether a device can be had at this moment."""

    #: Whether it gives out leases, and who drained it when it does not; absent when it does not answer.
    availability: Availability | None = None
    #: Who has it; of several, their names; empty for nobody.
    holder: str = ""
    #: Whether those who have it share it; False when one has it alone, and when nobody has it.
    shared: bool = False
    #: Why it cannot be asked; empty when it was.
    reason: str = ""


async def standings(app: App, specs: Sequence[DeviceSpec]) -> tuple[Standing, ...]:
    """Ask every device at once whether it can be had; one that does not answer is a result too."""

    async def one(spec: DeviceSpec, device: OpenDevice | EdgeloopError) -> Standing:
        try:
            if isinstance(device, EdgeloopError):
                raise device
            leases, found = await device.client.leases()
            _noted(app, spec, found)
            return Standing(availability=found, holder=holder_text(leases), shared=is_shared(leases))
        except EdgeloopError as error:
            return Standing(reason=error.message)

    return await open_each(app, specs, 0, one) if specs else ()


async def drain(app: App, spec: DeviceSpec, reason: str) -> Availability:
    """Take a device out of use: whoever holds it finishes, nobody else gets it, also after a restart.

    Raises:
        InvalidInputError: the reason is empty or too long.
        EdgeloopError: the device does not answer, or refuses.
    """
    async with open_one(app, spec) as device:
        return _noted(app, spec, await device.client.drain(reason, holder_name()))


async def undrain(app: App, spec: DeviceSpec) -> Availability:
    """Put a device back into use.

    Raises:
        EdgeloopError: the device does not answer, or refuses.
    """
    async with open_one(app, spec) as device:
        return _noted(app, spec, await device.client.undrain())


async def doctor(
    app: App, specs: Sequence[DeviceSpec]
) -> tuple[tuple[DeviceSpec, tuple[DoctorFinding, ...]], ...]:
    """Look each device over."""

    async def one(
        spec: DeviceSpec, device: OpenDevice | EdgeloopError
    ) -> tuple[DeviceSpec, tuple[DoctorFinding, ...]]:
        return spec, await _examine(app, spec, device)

    return await open_each(app, specs, 0, one)


async def _examine(
    app: App, spec: DeviceSpec, device: OpenDevice | EdgeloopError
) -> tuple[DoctorFinding, ...]:
    if isinstance(device, EdgeloopError):
        step = device.next_step or "Start it, and look whether it is reached from here."
        gone = DoctorFinding(level="error", what=device.message, next_step=step)
        return (gone, *_last_seen(app, spec))
    findings = [DoctorFinding(level="ok", what=f"the agent {device.facts.agent_version} answers")]
    try:
        findings += await _questions(app, device)
    except EdgeloopError as error:
        findings.append(DoctorFinding(level="error", what=error.message, next_step=error.next_step))
    findings += version_findings(device.facts, spec.name, by_ssh=spec.transport == "ssh")
    findings += accelerator_findings(device.facts)
    last = await asyncio.to_thread(app.records.last_run, spec.name)
    findings += isolation_findings(None if last is None else last.isolation, spec)
    return (*findings, *_runtimes(device.facts), *_room(device.facts), *sensor_findings(device.facts))


def _last_seen(app: App, spec: DeviceSpec) -> list[DoctorFinding]:
    last = KnownFactsStore(app.state_directory).get(spec)
    if last is None:
        return []
    what = f"what is known of it was seen {age_words(last.age_s(time.time()))}"
    step = f"When it answers again: edgeloop device facts --on {spec.name}"
    return [DoctorFinding(level="warning", what=what, next_step=step)]


async def _how_it_is(device: OpenDevice) -> list[DoctorFinding]:
    asked_s = time.time()
    try:
        vitals = await device.client.vitals()
    except UnsupportedError:
        step = f"edgeloop device upgrade {device.spec.name}"
        what = "its agent is too old to tell how it is now"
        return [DoctorFinding(level="warning", what=what, next_step=step)]
    return vital_findings(vitals, asked_s, time.time())


async def _questions(app: App, device: OpenDevice) -> list[DoctorFinding]:
    findings = []
    if not await device.client.health():
        findings.append(
            DoctorFinding(level="error", what="the agent says it is not serving", next_step="Read its log.")
        )
    leases, found = await device.client.leases()
    for lease in leases:
        if lease.state is LeaseState.GRANTED:
            kind = " with others" if lease.shared else ""
            what = f"held by {lease.holder}{kind}, expires in {lease.expires_in_s:.0f} s without a heartbeat"
            findings.append(DoctorFinding(level="warning", what=what, next_step="Wait, or ask the holder."))
    findings += availability_findings(_noted(app, device.spec, found), device.spec.name)
    findings += await _quarantine_findings(device)
    findings += identity_findings(await device.client.identity_status(), device.spec.name, time.time())
    return [*findings, *await _how_it_is(device)]


async def _quarantine_findings(device: OpenDevice) -> list[DoctorFinding]:
    try:
        known = await device.client.quarantine()
    except UnsupportedError:
        return []
    return [
        DoctorFinding(
            level="warning",
            what=f"artifact {one.digest[:12]} is in quarantine after {one.strike_count} strikes: {one.reason}",
            next_step=f"Open it again: edgeloop device quarantine {device.spec.name} --clear {one.digest[:12]}",
        )
        for one in known
        if one.quarantined
    ]


async def quarantine(app: App, spec: DeviceSpec) -> tuple[QuarantinedArtifact, ...]:
    """Return the artifacts whose runners ended badly on a device, those that it opens no more first.

    Raises:
        EdgeloopError: the device does not answer, or its agent is too old.
    """
    async with open_one(app, spec) as device:
        return await device.client.quarantine()


async def clear_quarantine(app: App, spec: DeviceSpec, digest: str) -> tuple[str, ...]:
    """Let a device open artifacts again, named by the beginning of their digest or as "all"; return the digests.

    Raises:
        NotFoundError: no artifact that begins so has a strike there.
        EdgeloopError: the device does not answer, or its agent is too old.
    """
    log = audit_log(app.state_directory)
    async with open_one(app, spec) as device:
        gone = await device.client.clear_quarantine(digest)
    log.append("quarantine clear", spec.name, "cleared", artifacts=list(gone))
    return gone


def _runtimes(found: Facts) -> list[DoctorFinding]:
    usable = [runtime for runtime in found.runtimes if not runtime.reason]
    if not usable:
        reasons = "; ".join(f"{r.name}: {r.reason}" for r in found.runtimes) or "none is known"
        return [
            DoctorFinding(
                level="error",
                what=f"no runtime can be used ({reasons})",
                next_step="Install onnxruntime there.",
            )
        ]
    return [
        DoctorFinding(
            level="ok", what=f"{r.name} {r.version} with {', '.join(r.providers) or 'no provider named'}"
        )
        for r in usable
    ]


def _room(found: Facts) -> list[DoctorFinding]:
    findings = []
    if found.disk_free_bytes < _DISK_FREE_MIN_BYTES:
        what = f"only {found.disk_free_bytes / 1e6:.0f} MB of disk are free"
        findings.append(DoctorFinding(level="warning", what=what, next_step="Free some space for models."))
    if found.hardware.memory_total_bytes < _MEMORY_MIN_BYTES:
        what = f"only {found.hardware.memory_total_bytes / 1e6:.0f} MB of memory"
        findings.append(DoctorFinding(level="warning", what=what, next_step="Expect large models to fail."))
    return findings


def sensor_findings(found: Facts) -> list[DoctorFinding]:
    """Return what is wrong with sensors, and what nothing on this device measures.

    A board lacks most of the drivers that an agent knows, so one that is absent is no finding by itself.
    """
    findings = [
        DoctorFinding(
            level="warning",
            what=f"no {s.quantity} from {s.name}: {s.reason}",
            next_step="Let the agent's user read it, or do without this sensor.",
        )
        for s in found.sensors
        if s.reason and not s.reason.startswith(_ABSENT)
    ]
    usable = [sensor for sensor in found.sensors if not sensor.reason]
    measured = {sensor.quantity for sensor in usable}
    if not measured & {"energy", "power"}:
        what = "no sensor of power or energy can be read, so that no energy is measured"
        findings.append(DoctorFinding(level="warning", what=what, next_step="Attach a meter."))
    findings += [
        DoctorFinding(
            level="warning",
            what=f"no sensor of {quantity} can be read",
            next_step="Nothing here can add it: watch for slow rounds in the report.",
        )
        for quantity in _EXPECTED
        if quantity not in measured
    ]
    if usable:
        names = ", ".join(sensor.name for sensor in usable)
        findings.append(DoctorFinding(level="ok", what=f"sensors: {names}"))
    return findings
