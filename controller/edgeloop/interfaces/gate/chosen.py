"""The devices that conditions in ``--edgeloop-on`` stand for, by name; none of them is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

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
    known, given = DeviceBook(home).entries(), read_configuration(config.rootpath)
    entries = tuple(known.values()) if given is None else given.with_devices(known)
    columns = [1 + sum(len(word) + 1 for word in conditions[:place]) for place in range(len(conditions))]
    chosen = choose_devices(home, entries, list(zip(columns, conditions, strict=True))).chosen
    return tuple(entry.spec.name for entry in chosen)
