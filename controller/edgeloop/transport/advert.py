"""Browses the local network for agents (DNS-SD ``_edgeloop._tcp``): hints for people, never an identity.

Whatever an advert says may be a lie. Its texts are cut and escaped, its addresses parsed, and nothing of it is put
into a command but an address that is one and a name of plain letters.
"""

from __future__ import annotations

import ipaddress
import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgeloop_foundation.errors import InvalidInputError, MissingDependencyError, UnavailableError

from edgeloop.domain.plain_text import plain_text

__all__ = ["SERVICE_TYPE", "Advert", "browse", "read_advert"]

SERVICE_TYPE = "_edgeloop._tcp.local."

_ADVERTS_MAX = 500
"""A network that floods us costs no more than this."""

_ADDRESSES_MAX = 8
_NAME_MAX = 63
_WORD_MAX = 40
_ASK_MS = 1000
_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Advert:
    """What somebody on the local network says is an agent; fit to be shown."""

    #: Name that it gives itself, escaped.
    name: str
    #: Where it says it is.
    addresses: tuple[str, ...]
    #: Port that it says to use.
    port: int
    #: "ssh" or "tls"; empty when it says neither.
    via: str = ""
    #: Identifier that it claims; empty unless it has the form of one.
    claimed_id: str = ""
    #: Version that it claims, escaped.
    agent_version: str = ""


def read_advert(
    label: str, addresses: Sequence[str], port: int, properties: Mapping[bytes, bytes | None]
) -> Advert | None:
    """Return an advert fit to be shown; None when it has no address or port that could be used.

    Args:
        label: the instance's name, without the type.
        addresses: as told.
        port: as told.
        properties: the TXT record.
    """
    usable = []
    for address in addresses[:_ADDRESSES_MAX]:
        plain = address.partition("%")[0]
        try:
            usable.append(str(ipaddress.ip_address(plain)))
        except ValueError:
            continue
    if not usable or not 0 < port < 65536:
        return None

    def word(key: bytes) -> str:
        return plain_text((properties.get(key) or b"").decode("utf-8", "replace"), _WORD_MAX)

    claimed = word(b"id")
    return Advert(
        name=plain_text(label, _NAME_MAX),
        addresses=tuple(usable),
        port=port,
        via=word(b"via") if word(b"via") in ("ssh", "tls") else "",
        claimed_id=claimed if _ID.fullmatch(claimed) else "",
        agent_version=word(b"agent"),
    )


def browse(seconds: float, interface: str = "") -> tuple[Advert, ...]:
    """Listen for ``seconds`` and return what was advertised, by name.

    Args:
        seconds: how long.
        interface: address of the one interface to ask on; all when empty.

    Raises:
        MissingDependencyError: zeroconf is not installed.
        InvalidInputError: the interface is no address.
        UnavailableError: this machine cannot speak multicast.
    """
    try:
        import zeroconf
    except ImportError as error:
        raise MissingDependencyError(
            "discovery needs the package zeroconf.", next_step="Install edgeloop[discovery]."
        ) from error

    names: set[str] = set()
    lock = threading.Lock()

    def seen(
        zeroconf: object, service_type: str, name: str, state_change: zeroconf.ServiceStateChange
    ) -> None:
        with lock:
            if state_change.name == "Removed":
                names.discard(name)
            elif len(names) < _ADVERTS_MAX:
                names.add(name)

    if interface:
        try:
            ipaddress.ip_address(interface)
        except ValueError as error:
            raise InvalidInputError(f"an interface is named by its address, found {interface!r}.") from error
    choice = [interface] if interface else zeroconf.InterfaceChoice.All
    try:
        with zeroconf.Zeroconf(interfaces=choice) as network:
            browser = zeroconf.ServiceBrowser(network, SERVICE_TYPE, handlers=[seen])
            time.sleep(seconds)
            with lock:
                found = sorted(names)
            adverts = [_resolve(network, name) for name in found]
            browser.cancel()
    except OSError as error:
        raise UnavailableError(
            f"this machine cannot speak multicast: {error}.",
            next_step="Add the board by its address: edgeloop device add USER@HOST",
        ) from error
    return tuple(advert for advert in adverts if advert is not None)


def _resolve(network: object, name: str) -> Advert | None:
    import zeroconf

    assert isinstance(network, zeroconf.Zeroconf)
    try:
        info = network.get_service_info(SERVICE_TYPE, name, timeout=_ASK_MS)
    except (zeroconf.Error, ValueError):
        return None
    if info is None:
        return None
    label = name.removesuffix(f".{SERVICE_TYPE}")
    return read_advert(label, info.parsed_addresses(), info.port or 0, info.properties)
