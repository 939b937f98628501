"""The devices that conditions in ``--edgeloop-on`` stand for, by name; none of them is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgeloop.domain.inventory import InventoryEntry
from edgeloop.interfaces.gate.options import GateOptions, read_configuration
from edgeloop.orchestrate.inventory import choose_devices
from edgeloop.store.devices import DeviceBook

if TYPE_CHECKING:
    import pytest

__all__ = ["names_of_chosen"]


def names_of_chosen(config: pytest.Config, conditions: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the added and configured devices that meet every condition, by what is last known of them.

    Raises:
        InvalidInputError: a word is no condition, or no device meets them all.
    """
    home = GateOptions.of(config).home
    entries = dict(DeviceBook(home).entries())
    given = read_configuration(config.rootpath)
    for name in given.devices if given else ():
        spec = given.device(name) if given else None
        if spec is not None:
            known = entries.get(name)
            entries[name] = InventoryEntry(
                spec=spec, labels=known.labels if known else (), groups=known.groups if known else ()
            )
    columns = [1 + sum(len(word) + 1 for word in conditions[:place]) for place in range(len(conditions))]
    chosen = choose_devices(home, tuple(entries.values()), list(zip(columns, conditions, strict=True))).chosen
    return tuple(entry.spec.name for entry in chosen)
