"""Real adverts by the real program, browsed by the controller, on this machine's loopback."""

from __future__ import annotations

import asyncio
import secrets
import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.inventory import InventoryEntry
from edgeloop.orchestrate.discover import judge
from edgeloop.transport.advert import Advert, browse, read_advert
from edgeloop_agent.advertise import advertised, require_advertising
from edgeloop_foundation.errors import UnsupportedError
from edgeloop_foundation.ports.process import SystemProcesses

LOOPBACK = "127.0.0.1"


def _multicast_reason() -> str:
    """Return why loopback carries no multicast here; empty when it does."""
    token = secrets.token_bytes(8)
    try:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mouth,
        ):
            ear.bind(("", 0))
            group = socket.inet_aton("224.0.0.251") + socket.inet_aton(LOOPBACK)
            ear.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
            ear.settimeout(5)
            mouth.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(LOOPBACK))
            mouth.sendto(token, ("224.0.0.251", ear.getsockname()[1]))
            return "" if ear.recv(64) == token else "another datagram came"
    except OSError as error:
        return f"loopback carries no multicast: {error}"


@pytest.fixture
def multicast() -> None:
    """Skip where the network cannot do it."""
    pytest.importorskip("zeroconf", reason="edgeloop[discovery] is not installed")
    if reason := _multicast_reason():
        pytest.skip(reason)


def browse_until(device_id: str) -> Advert | None:
    """Return the advert of one device; who was asked a moment ago waits before it answers all once more."""
    for seconds in (0.3, 0.3, 1.0, 3.0, 3.0):
        for advert in browse(seconds, LOOPBACK):
            if advert.claimed_id == device_id:
                return advert
    return None


async def test_an_agent_is_found_while_it_is_there(multicast: None) -> None:
    device_id = secrets.token_hex(16)
    async with advertised(
        SystemProcesses(), address=f"{LOOPBACK}:7443", name="Küche\x1b[2J.local", device_id=device_id
    ):
        found = await asyncio.to_thread(browse_until, device_id)
    assert found is not None
    assert (found.addresses, found.port, found.via) == ((LOOPBACK,), 7443, "tls")
    assert found.name == f"Küche--2J-local {device_id[:8]}"
    gone = await asyncio.to_thread(lambda: [x.claimed_id for x in browse(0.3, LOOPBACK)])
    assert device_id not in gone


@pytest.fixture
def hostile(multicast: None) -> Iterator[str]:
    """Advertise what an agent would not; yields its identifier."""
    import zeroconf
    from edgeloop.transport.advert import SERVICE_TYPE

    device_id = secrets.token_hex(16)
    properties: dict[str | bytes, Any] = {
        "id": device_id,
        "via": "ssh; rm -rf /",
        "agent": b"\x1b]0;owned\x07" + b"\xff" * 200,
    }
    # The library itself refuses control characters in names, on both ends.
    name = f"$(reboot) \u202e{device_id[:4]}.{SERVICE_TYPE}"
    info = zeroconf.ServiceInfo(
        SERVICE_TYPE, name, port=9, parsed_addresses=[LOOPBACK], server="x.local.", properties=properties
    )
    with zeroconf.Zeroconf(interfaces=[LOOPBACK]) as network:
        network.register_service(info, strict=False, allow_name_change=True)
        yield device_id


def test_hostile_text_is_shown_as_escapes_and_never_put_into_a_command(hostile: str) -> None:
    found = browse_until(hostile)
    assert found is not None
    shown = f"{found.name}{found.agent_version}{found.via}"
    assert all(character.isprintable() for character in shown)
    assert "\\u202e" in found.name
    assert found.agent_version.startswith("\\x1b]0;owned\\x07")
    assert found.via == ""
    assert len(found.agent_version) < 200
    step = judge(found, ()).next_step
    assert step == f"edgeloop device add USER@{LOOPBACK}"


@pytest.mark.parametrize(
    ("addresses", "port", "properties"),
    [([], 22, {}), (["$(x)"], 22, {}), (["10.0.0.1"], 0, {}), (["10.0.0.1"], 70000, {b"via": None})],
)
def test_an_advert_without_a_place_is_none(addresses: list[str], port: int, properties: Any) -> None:
    assert read_advert("x", addresses, port, properties) is None


def test_texts_are_cut_and_odd_keys_passed_over() -> None:
    advert = read_advert(
        "x" * 500, ["10.0.0.1%eth0", "bad"], 22, {b"id": b"zz", b"via": None, b"agent": b"9" * 999}
    )
    assert advert is not None
    assert (len(advert.name), len(advert.agent_version)) == (64, 41)
    assert (advert.addresses, advert.claimed_id, advert.via) == (("10.0.0.1",), "", "")


def advert(port: int = 22, via: str = "ssh", name: str = "pi 12345678") -> Advert:
    return Advert(name=name, addresses=("10.0.0.7",), port=port, via=via, claimed_id="0" * 32)


def test_the_next_step_is_by_the_way_and_the_inventory() -> None:
    entries = [
        InventoryEntry(spec=DeviceSpec.parse(f"{name}={form}"))
        for name, form in (("a", "ssh:pi@10.0.0.7"), ("b", "grpc://10.0.0.7:7443"), ("c", "local"))
    ]
    assert judge(advert(), entries).known_as == "a"
    assert judge(advert(7443, "tls"), entries).known_as == "b"
    assert judge(advert(7444, "tls"), entries).known_as == ""
    assert judge(advert(), ()).next_step == "edgeloop device add USER@10.0.0.7 --name pi"
    assert judge(advert(2222), ()).next_step == "edgeloop device add USER@10.0.0.7:2222 --name pi"
    assert judge(advert(7443, "tls"), ()).next_step == (
        'Write into the inventory: [devices.pi] address = "grpc://10.0.0.7:7443"'
    )
    assert "`" not in judge(advert(name="`id` 12345678"), ()).next_step


def test_an_agent_that_cannot_advertise_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "zeroconf", raising=False)
    monkeypatch.setattr(sys, "path_importer_cache", {})
    with pytest.raises(UnsupportedError, match="--advertise needs the package zeroconf"):
        require_advertising()
