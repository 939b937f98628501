"""Every ``Network`` behaves alike."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from edgeloop_foundation.errors import InvalidInputError, UnavailableError
from edgeloop_foundation.ports.net import Acceptor, ByteStream, Network, SystemNetwork
from edgeloop_foundation.ports.simulated_clock import SimulatedClock
from edgeloop_foundation.ports.simulated_net import Link, SimulatedNetwork


@pytest.fixture(params=["system", "simulated", "simulated with delay"])
def network(request: pytest.FixtureRequest) -> Network:
    if request.param == "system":
        return SystemNetwork()
    link = Link(delay_s_min=0.01, delay_s_max=5.0) if "delay" in request.param else Link()
    return SimulatedNetwork(SimulatedClock(auto_advance=True), seed=3, link=link)


@pytest.fixture(params=["unix", "tcp"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"unix:{tmp_path}/s" if request.param == "unix" else "127.0.0.1:0"


async def pair(network: Network, address: str) -> tuple[Acceptor, ByteStream, ByteStream]:
    acceptor = await network.listen(address)
    here, there = await asyncio.gather(network.connect(acceptor.address), acceptor.accept())
    return acceptor, here, there


async def read_all(stream: ByteStream, limit: int = 1 << 16) -> bytes:
    data = b""
    while chunk := await stream.read(limit):
        data += chunk
    return data


async def test_bytes_go_both_ways_in_order(network: Network, address: str) -> None:
    acceptor, here, there = await pair(network, address)
    for piece in (b"one ", b"two ", b"three"):
        await here.write(piece)
    await there.write(b"answer")
    assert await here.read(100) == b"answer"
    await here.close()
    assert await read_all(there) == b"one two three"
    await there.close()
    await acceptor.close()


async def test_a_large_message_arrives_whole(network: Network, address: str) -> None:
    acceptor, here, there = await pair(network, address)
    data = bytes(range(256)) * 4096

    async def send() -> None:
        await here.write(data)
        await here.close()

    _, found = await asyncio.gather(send(), read_all(there, 10_000))
    assert found == data
    await there.close()
    await acceptor.close()


async def test_the_end_is_read_again_and_again(network: Network, address: str) -> None:
    acceptor, here, there = await pair(network, address)
    await here.close()
    await here.close()
    assert await there.read(1) == b""
    assert await there.read(1) == b""
    await there.close()
    await acceptor.close()


async def test_a_closed_stream_takes_nothing(network: Network, address: str) -> None:
    acceptor, here, there = await pair(network, address)
    await here.close()
    with pytest.raises(ConnectionError):
        await here.write(b"x")
    await there.close()
    await acceptor.close()


async def test_writing_to_a_gone_peer_fails_sooner_or_later(network: Network, address: str) -> None:
    acceptor, here, there = await pair(network, address)
    await there.close()

    async def keep_writing() -> None:
        for _ in range(200):
            await here.write(b"x" * 65536)

    with pytest.raises(ConnectionError):
        await keep_writing()
    await here.close()
    await acceptor.close()


async def test_nobody_listens(network: Network, address: str) -> None:
    with pytest.raises(UnavailableError, match="cannot be reached"):
        await network.connect(address.replace(":0", ":9"))


async def test_an_address_is_taken_once(network: Network) -> None:
    acceptor = await network.listen("127.0.0.1:0")
    with pytest.raises(UnavailableError, match="cannot listen"):
        await network.listen(acceptor.address)
    await acceptor.close()


async def test_after_closing_nobody_is_accepted(network: Network, address: str) -> None:
    acceptor = await network.listen(address)
    where = acceptor.address
    await acceptor.close()
    await acceptor.close()
    with pytest.raises(UnavailableError):
        await network.connect(where)
    for _ in range(2):
        with pytest.raises(ConnectionError):
            await acceptor.accept()


@pytest.mark.parametrize("text", ["", "unix:", "host", "host:", ":80", "host:http", "host:65536", "host:-1"])
async def test_other_forms_of_address_are_refused(network: Network, text: str) -> None:
    with pytest.raises(InvalidInputError, match="address"):
        await network.connect(text)
    with pytest.raises(InvalidInputError, match="address"):
        await network.listen(text)
