"""Devices as somebody elsewhere may name them: those of the inventory and simulated boards, and no other address."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgeloop_foundation.errors import InvalidInputError

from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.inventory import InventoryEntry

__all__ = ["KnownDevices"]

_BOARD = re.compile(r"[a-z0-9_]+")


def _means_none(words: Sequence[str]) -> tuple[DeviceSpec, ...]:
    raise InvalidInputError(f"no device is known here, so not {', '.join(words)[:80]} either.")


def _holds_none() -> tuple[InventoryEntry, ...]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownDevices:
    """What the words of ``--on`` stand for at a server."""

    #: Returns the devices that words stand for.
    resolve: Callable[[Sequence[str]], tuple[DeviceSpec, ...]] = _means_none
    #: Returns the inventory.
    entries: Callable[[], tuple[InventoryEntry, ...]] = _holds_none

    def devices(self, words: Sequence[str]) -> tuple[DeviceSpec, ...]:
        """Return the devices that words stand for.

        Raises:
            InvalidInputError: a word means none, or the address of one that is not in the inventory: whoever asks from
                afar would have the server connect to it with its own keys, or read a file of it.
            NotFoundError: there is no such fleet.
        """
        found, named = self.resolve(words), {entry.spec for entry in self.entries()}
        for spec in found:
            board = spec.transport == "simulated" and _BOARD.fullmatch(spec.address) and not spec.options
            if spec not in named and not board and spec.transport not in ("local", "fleet"):
                raise InvalidInputError(
                    f"{spec.name}: a device that is not in the server's inventory is not reached from afar.",
                    next_step="Add it there (edgeloop device add), or name a shipped board: sim:raspberry_pi_5.",
                )
        return found

    def groups(self) -> dict[str, list[str]]:
        """Return the names of the members of each group."""
        found: dict[str, list[str]] = {}
        for entry in self.entries():
            for group in entry.groups:
                found.setdefault(group, []).append(entry.name)
        return found
