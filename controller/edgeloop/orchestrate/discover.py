"""What is advertised on the local network beside what the inventory has, with the next step for each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from edgeloop.domain.inventory import InventoryEntry
from edgeloop.transport.advert import Advert, browse

__all__ = ["Discovered", "discover", "judge"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_SSH_PORT = 22


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovered:
    """One advert and what to do about it."""

    #: What it says.
    advert: Advert
    #: Name of the inventory's device at that address; empty when there is none.
    known_as: str
    #: Command or sentence.
    next_step: str


def discover(
    seconds: float, entries: Sequence[InventoryEntry], interface: str = ""
) -> tuple[Discovered, ...]:
    """Listen for a while and return what was advertised; nothing is contacted, added or trusted.

    Raises:
        EdgeloopError: see ``edgeloop.transport.advert.browse``.
    """
    return tuple(judge(advert, entries) for advert in browse(seconds, interface))


def judge(advert: Advert, entries: Sequence[InventoryEntry]) -> Discovered:
    """Return the next step for an advert.

    It is known when the inventory has a device at its address: the identifier that it claims proves nothing.
    """
    known = next((entry.name for entry in entries if _is_at(entry, advert)), "")
    if known:
        return Discovered(advert=advert, known_as=known, next_step=f"edgeloop device doctor --on {known}")
    host = advert.addresses[0]
    where = f"[{host}]" if ":" in host else host
    label = advert.name.rpartition(" ")[0]
    if advert.via == "tls":
        name = label if _NAME.fullmatch(label) else "NAME"
        step = f'Write into the inventory: [devices.{name}] address = "grpc://{where}:{advert.port}"'
    else:
        port = "" if advert.port == _SSH_PORT or advert.via != "ssh" else f":{advert.port}"
        named = f" --name {label}" if _NAME.fullmatch(label) else ""
        step = f"edgeloop device add USER@{where}{port}{named}"
    return Discovered(advert=advert, known_as="", next_step=step)


def _is_at(entry: InventoryEntry, advert: Advert) -> bool:
    spec = entry.spec
    if spec.transport == "grpc":
        host, _, port = spec.address.rpartition(":")
        return host.strip("[]") in advert.addresses and port == str(advert.port)
    if spec.transport == "ssh" and advert.via != "tls":
        host = spec.address.rpartition("@")[2]
        return host in advert.addresses or host.rpartition(":")[0].strip("[]") in advert.addresses
    return False
