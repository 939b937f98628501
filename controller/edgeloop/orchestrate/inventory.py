"""The inventory at work: choosing devices by conditions, and what is last known of each."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from edgeloop_protocol.types.facts import Facts

from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.inventory import InventoryEntry, KnownFacts
from edgeloop.domain.selector import Selection, parse_condition, select
from edgeloop.store.known_facts import KnownFactsStore

__all__ = ["choose_devices", "keep_facts_quietly", "known_facts"]

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
