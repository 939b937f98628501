"""What the API answers with: plain values with units in their names, built from what the daemon knows."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgeloop_protocol.types.job import JobEvent
from edgeloop_protocol.types.lease import AvailabilityState, LeaseState, holder_text, is_shared

from edgeloop.domain.plain_text import plain_text
from edgeloop.interfaces.present_watch import availability_words, held_words
from edgeloop.orchestrate.fleet_watch import DeviceLook, LookState

__all__ = [
    "STATES",
    "DeviceQuery",
    "DeviceRow",
    "LeaseRow",
    "device_row",
    "lease_rows",
    "matching",
    "state_of",
]

STATES = ("free", "held", "drained", "away", "unknown", "on use")
"""How a device can stand, as filters name it."""

SORTS = ("name", "state", "temperature", "load", "memory", "seen")
"""What a list of devices can be sorted by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRow:
    """One device in a list; what it does not tell is null."""

    #: Its name.
    name: str
    #: Its name with control and format characters shown as escapes, for people.
    shown: str
    #: "free", "held", "drained" (or about to be), "away", "unknown" (not asked yet) or "on use".
    state: str
    #: Who has it, why it is drained, or why it does not answer; empty otherwise.
    remark: str
    #: Transport and address.
    transport: str
    address: str
    #: Model of the board; empty before it told.
    board: str
    architecture: str
    #: Whether its figures are predicted.
    simulated: bool
    groups: tuple[str, ...]
    labels: Mapping[str, str]
    #: What it does; empty for nothing.
    job: str
    #: How many wait for it.
    queue_count: int
    temperature_celsius: float | None
    load_average_1min: float | None
    frequency_hz: float | None
    available_memory_bytes: int | None
    disk_free_bytes: int | None
    #: Throttle states that hold now.
    throttled: tuple[str, ...]
    #: Results that nobody has acknowledged yet.
    spool_waiting_count: int | None
    #: When it was asked last, seconds since 1970; null before the first look.
    asked_s: float | None
    #: Since when it is in this state; null before the first look.
    since_s: float | None
    #: Number of that look.
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRow:
    """Somebody has a device, or waits for it."""

    device: str
    shown: str
    holder: str
    #: "granted" or "queued".
    state: str
    priority: int
    #: Place in the queue, from 1; 0 for who has it.
    queue_position: int
    #: Whether it is, or would be, held beside others.
    shared: bool
    #: Until it ends without a heartbeat, as of the look; 0 while queued.
    expires_in_s: float
    #: When this was seen, seconds since 1970.
    asked_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceQuery:
    """Which devices a list shows, and in which order."""

    #: Part of a name, label, group, board or holder, whatever its case; empty for all.
    text: str = ""
    group: str = ""
    state: str = ""
    #: One of ``SORTS``; with "-" in front, the other way round.
    sort: str = "name"


def state_of(look: DeviceLook) -> str:
    """Return how a device stands, in one word of ``STATES``."""
    if look.state is not LookState.ANSWERS:
        return {LookState.AWAY: "away", LookState.ON_USE: "on use"}.get(look.state, "unknown")
    if look.availability is not None and look.availability.state is not AvailabilityState.OPEN:
        return "drained"
    return "held" if holder_text(look.leases) else "free"


def _remark(look: DeviceLook) -> str:
    if look.state is LookState.AWAY:
        return look.reason
    if look.state is not LookState.ANSWERS:
        return ""
    drained = availability_words(look.availability)
    held = held_words(holder_text(look.leases), shared=is_shared(look.leases))
    return "; ".join(part for part in (drained, held) if part)


def _job(event: JobEvent | None) -> str:
    if event is None:
        return ""
    counts = f" {event.done_count}/{event.total_count}" if event.total_count else ""
    return f"{event.phase or event.state.value}{counts}"


def device_row(look: DeviceLook) -> DeviceRow:
    """Return the row of one device."""
    # What was seen before it went away says nothing about now.
    vitals = look.vitals if look.state is LookState.ANSWERS else None
    hardware = look.facts.hardware if look.facts else None
    spec = look.entry.spec
    return DeviceRow(
        name=look.name,
        shown=plain_text(look.name, 120),
        state=state_of(look),
        remark=plain_text(_remark(look)),
        transport=spec.transport,
        address=plain_text(spec.address),
        board=plain_text(hardware.model, 120) if hardware else "",
        architecture=plain_text(hardware.architecture, 40) if hardware else "",
        simulated=look.facts.simulated if look.facts else spec.transport in ("simulated", "fleet"),
        groups=look.entry.groups,
        labels=dict(look.entry.labels),
        job=plain_text(_job(vitals.job), 120) if vitals else "",
        queue_count=sum(lease.state is LeaseState.QUEUED for lease in look.leases) if vitals else 0,
        temperature_celsius=vitals.temperature_celsius if vitals else None,
        load_average_1min=vitals.load_average_1min if vitals else None,
        frequency_hz=vitals.frequency_hz if vitals else None,
        available_memory_bytes=vitals.available_memory_bytes if vitals else None,
        disk_free_bytes=vitals.disk_free_bytes if vitals else None,
        throttled=tuple(plain_text(word, 60) for word in vitals.throttled) if vitals else (),
        spool_waiting_count=vitals.spool_waiting_count if vitals else None,
        asked_s=look.asked_s or None,
        since_s=look.since_s or None,
        sequence=look.sequence,
    )


def lease_rows(looks: Sequence[DeviceLook]) -> list[LeaseRow]:
    """Return everybody who has a device or waits for one, by device and place in its queue."""
    return [
        LeaseRow(
            device=look.name,
            shown=plain_text(look.name, 120),
            holder=plain_text(lease.holder, 200),
            state=lease.state.value,
            priority=lease.priority,
            queue_position=lease.queue_position,
            shared=lease.shared,
            expires_in_s=lease.expires_in_s,
            asked_s=look.asked_s,
        )
        for look in looks
        if look.state is LookState.ANSWERS
        for lease in sorted(look.leases, key=lambda one: one.queue_position)
        if lease.state in (LeaseState.GRANTED, LeaseState.QUEUED)
    ]


def matching(looks: Sequence[DeviceLook], query: DeviceQuery) -> list[DeviceLook]:
    """Return the devices that a query asks for, in its order; what is not known comes last."""
    wanted = query.text.casefold().strip()
    found = [
        look
        for look in looks
        if (not query.group or query.group in look.entry.groups)
        and (not query.state or state_of(look) == query.state)
        and (not wanted or wanted in _words(look))
    ]
    name, backwards = query.sort.removeprefix("-"), query.sort.startswith("-")
    known = [look for look in found if _key(look, name) is not None]
    unknown = [look for look in found if _key(look, name) is None]
    known.sort(key=lambda look: (_key(look, name), look.name), reverse=backwards)
    return known + unknown


def _words(look: DeviceLook) -> str:
    labels = (f"{key}={value}" for key, value in look.entry.labels)
    board = look.facts.hardware.model if look.facts else ""
    return " ".join((look.name, board, holder_text(look.leases), *look.entry.groups, *labels)).casefold()


def _key(look: DeviceLook, name: str) -> str | float | None:
    vitals = look.vitals if look.state is LookState.ANSWERS else None
    if name == "state":
        return STATES.index(state_of(look))
    if name == "seen":
        return time.time() - look.asked_s if look.asked_s else None
    if name in ("temperature", "load", "memory"):
        if vitals is None:
            return None
        return {
            "temperature": vitals.temperature_celsius,
            "load": vitals.load_average_1min,
            "memory": vitals.available_memory_bytes,
        }[name]
    return look.name
