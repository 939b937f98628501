"""One look at a device as a line for people or as a JSON document."""

from __future__ import annotations

import json
import time

from edgeloop_protocol.convert import to_json
from edgeloop_protocol.types.job import JobEvent
from edgeloop_protocol.types.lease import Availability, AvailabilityState
from edgeloop_protocol.types.vitals import DeviceVitals

from edgeloop.domain.plain_text import plain_text
from edgeloop.orchestrate.watch import Sight
from edgeloop.report.units import amount

__all__ = ["availability_words", "held_words", "sight_json", "sight_line"]

_POWER_UNITS = ("watt", "W")
_OLD_S = 1.0
_RAILS_MAX = 4


def sight_json(sight: Sight) -> str:
    """Return one line of JSON; ``vitals`` is null while the device does not answer."""
    tree = {
        "device": sight.device,
        "asked_s": sight.asked_s,
        "answers": sight.vitals is not None,
        "reason": sight.reason,
        "away_s": sight.away_s,
        "availability": None if sight.availability is None else to_json(sight.availability),
        "vitals": None if sight.vitals is None else to_json(sight.vitals),
    }
    return json.dumps(tree, ensure_ascii=True, allow_nan=False)


def sight_line(sight: Sight) -> str:
    """Return one line of text; what the device does not tell is not in it."""
    clock = time.strftime("%H:%M:%S", time.localtime(sight.asked_s))
    if sight.vitals is None:
        return plain_text(f"{clock}  {sight.device} does not answer for {sight.away_s:.0f} s: {sight.reason}")
    back = f"back after {sight.away_s:.0f} s" if sight.away_s else ""
    drained = availability_words(sight.availability)
    parts = [
        clock,
        back,
        drained,
        *_doing(sight.vitals, drained=bool(drained)),
        *_being(sight.vitals),
    ]
    return plain_text("  ".join(part for part in parts if part))


def availability_words(found: Availability | None) -> str:
    """Return who took the device out of use and why; empty for one that is in use, or does not answer."""
    if found is None or found.state is AvailabilityState.OPEN:
        return ""
    return f"{found.state.value} by {found.drained_by}: {found.reason}"


def held_words(holder: str, *, shared: bool) -> str:
    """Return who has a device and how; empty for nobody."""
    return f"{'shared' if shared else 'held'} by {holder}" if holder else ""


def _doing(vitals: DeviceVitals, *, drained: bool) -> list[str]:
    free = "" if drained else "free"
    return [
        held_words(vitals.lease_holder, shared=vitals.lease_shared) or free,
        _job(vitals.job) if vitals.job is not None else "",
        f"{vitals.spool_waiting_count} results wait" if vitals.spool_waiting_count else "",
    ]


def _job(event: JobEvent) -> str:
    done = f" {event.done_count}/{event.total_count}" if event.total_count else ""
    samples = f", {event.sample_count} samples" if event.sample_count else ""
    return f"job {event.phase or event.state.value}{done}{samples}"


def _being(vitals: DeviceVitals) -> list[str]:
    watts = _watts(vitals)
    return [
        "" if vitals.temperature_celsius is None else f"{vitals.temperature_celsius:.1f} °C",
        f"SLOWED ({', '.join(vitals.throttled)})" if vitals.throttled else "",
        "" if vitals.frequency_hz is None else f"{vitals.frequency_hz / 1e6:.0f} MHz",
        vitals.governor,
        "" if vitals.load_average_1min is None else f"load {vitals.load_average_1min:.2f}",
        ""
        if vitals.available_memory_bytes is None
        else f"{amount(vitals.available_memory_bytes, 'B')} memory free",
        "" if vitals.disk_free_bytes is None else f"{amount(vitals.disk_free_bytes, 'B')} disk free",
        *watts,
        f"(look {vitals.age_s:.0f} s old)" if vitals.age_s >= _OLD_S else "",
    ]


def _watts(vitals: DeviceVitals) -> list[str]:
    """Return the board's total where it has one, else its rails; all of them are in the JSON."""
    powers = [r for r in vitals.readings if r.unit in _POWER_UNITS and r.value is not None]
    totals = [r for r in powers if r.name.endswith("/total")]
    return [f"{r.name} {r.value:.2f} W" for r in (totals or powers)[:_RAILS_MAX]]
