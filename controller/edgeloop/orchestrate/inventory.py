"""The inventory at work: choosing devices by conditions, and what is last known of each."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.facts import Facts
from edgeloop_protocol.types.lease import OPEN, Availability

from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.inventory import InventoryEntry, KnownAvailability, KnownFacts
from edgeloop.domain.selector import Selection, parse_condition, select
from edgeloop.store.known_availability import KnownAvailabilityStore
from edgeloop.store.known_facts import KnownFactsStore

__all__ = [
    "AvailabilityNotes",
    "choose_devices",
    "keep_availability_quietly",
    "keep_facts_quietly",
    "known_availability",
    "known_facts",
]

_NOTED_EVERY_S = 600.0
"""How old a note becomes of a device that is seen again and again and stays as it is: each is a sync of the disk."""

_log = logging.getLogger(__name__)


def keep_facts_quietly(home: Path, spec: DeviceSpec, facts: Facts) -> None:
    """Remember what a device says now; a disk that refuses costs only that.

    Boards of a simulated fleet are left out: the plan of the fleet knows them.
    """
    if spec.transport == "fleet":
        return
    try:
        KnownFactsStore(home).keep(spec, facts, time.time())
    except OSError as error:
        _log.warning("the facts of %s are not kept: %s", spec.name, error)


def keep_availability_quietly(home: Path, spec: DeviceSpec, found: Availability) -> None:
    """Remember whether a device gives out leases; a disk that refuses costs only that.

    Agents that live as long as the command that uses them are left out. Of a simulated fleet's thousands of boards,
    those stay out too that are in use and were never known to be anything else.
    """
    if spec.transport in ("local", "simulated"):
        return
    store = KnownAvailabilityStore(home)
    try:
        if spec.transport == "fleet" and found == OPEN and store.get(spec) is None:
            return
        store.keep(spec, found, time.time())
    except (OSError, InvalidInputError) as error:
        _log.warning("whether %s is in use is not kept: %s", spec.name, error)


class AvailabilityNotes:
    """Remembers what a device that is watched says of itself: every change, and else once in a while."""

    def __init__(self, home: Path, spec: DeviceSpec) -> None:
        self._home, self._spec = home, spec
        self._last: Availability | None = None
        self._at_s = 0.0

    def hear(self, found: Availability) -> None:
        """Take what it says now."""
        now_s = time.monotonic()
        if found == self._last and now_s - self._at_s < _NOTED_EVERY_S:
            return
        self._last, self._at_s = found, now_s
        keep_availability_quietly(self._home, self._spec, found)


def known_availability(home: Path, entries: Sequence[InventoryEntry]) -> dict[str, KnownAvailability]:
    """Return how those devices stood last that were ever asked at their address, by name.

    Raises:
        InvalidInputError: a kept file is damaged.
    """
    store = KnownAvailabilityStore(home)
    found = {entry.name: store.get(entry.spec) for entry in entries}
    return {name: known for name, known in found.items() if known is not None}


def known_facts(home: Path, entries: Sequence[InventoryEntry]) -> dict[str, KnownFacts]:
    """Return the last facts of those devices that ever answered at their address, by name.

    Raises:
        InvalidInputError: a kept file is damaged.
    """
    store = KnownFactsStore(home)
    found = {entry.name: store.get(entry.spec) for entry in entries}
    return {name: known for name, known in found.items() if known is not None}


def choose_devices(
    home: Path, entries: Sequence[InventoryEntry], words: Sequence[tuple[int, str]]
) -> Selection:
    """Return the devices that meet every condition, asking none of them.

    Args:
        home: the controller's home, where the last facts are.
        entries: devices to choose from.
        words: conditions, each with the column where it starts.

    Raises:
        InvalidInputError: a word is no condition, or no device meets them.
    """
    labels = {key for entry in entries for key, _ in entry.labels}
    conditions = [parse_condition(word, column, labels) for column, word in words]
    known = known_facts(home, entries) if any(c.about_facts for c in conditions) else {}
    return select(conditions, entries, known, time.time())
