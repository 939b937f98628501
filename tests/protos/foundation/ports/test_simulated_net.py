"""What the simulated network does to connections."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from edgeloop_foundation.errors import InvalidInputError, UnavailableError
from edgeloop_foundation.ports.net import Acceptor, ByteStream
from edgeloop_foundation.ports.simulated_clock import SimulatedClock
from edgeloop_foundation.ports.simulated_net import Link, SimulatedNetwork

_ADDRESS = "board:50051"


async def connected(network: SimulatedNetwork) -> tuple[Acceptor, ByteStream, ByteStream]:
    acceptor = await network.listen(_ADDRESS)
    return acceptor, await network.connect(_ADDRESS), await acceptor.accept()


async def arrival_order(seed: int, delay_s_max: float) -> list[bytes]:
    network = SimulatedNetwork(
        SimulatedClock(auto_advance=True), seed=seed, link=Link(delay_s_max=delay_s_max)
    )
    acceptor = await network.listen(_ADDRESS)

    async def client(number: int) -> None:
        stream = await network.connect(_ADDRESS)
        await stream.write(bytes([number]))

    clients = asyncio.gather(*(client(number) for number in range(6)))
    order = [await (await acceptor.accept()).read(1) for _ in range(6)]
    await clients
    return order


async def test_connections_overtake_each_other_by_seed() -> None:
    straight = [bytes([number]) for number in range(6)]
    assert await arrival_order(1, 0.0) == straight
    assert await arrival_order(1, 9.0) == await arrival_order(1, 9.0) != straight
    assert await arrival_order(1, 9.0) != await arrival_order(2, 9.0)


async def test_delay_passes_on_the_clock() -> None:
    clock = SimulatedClock(auto_advance=True)
    network = SimulatedNetwork(clock, link=Link(delay_s_min=0.5, delay_s_max=0.5))
    _, here, there = await connected(network)
    await here.write(b"x")
    assert await there.read(1) == b"x"
    assert clock.monotonic_ns() == 1_000_000_000


async def test_loss_breaks_both_ends() -> None:
    network = SimulatedNetwork(SimulatedClock(), link=Link(loss=1.0))
    _, here, there = await connected(network)
    waiting = asyncio.create_task(there.read(1))
    with pytest.raises(ConnectionResetError):
        await here.write(b"x")
    with pytest.raises(ConnectionResetError):
        await waiting
    with pytest.raises(ConnectionResetError):
        await here.read(1)


async def test_loss_is_as_frequent_as_said_and_repeatable() -> None:
    async def survived(seed: int) -> int:
        network = SimulatedNetwork(SimulatedClock(), seed=seed, link=Link(loss=0.1))
        _, here, _ = await connected(network)
        count = 0
        with contextlib.suppress(ConnectionResetError):
            while count < 10_000:
                await here.write(b"x")
                count += 1
        return count

    counts = [await survived(seed) for seed in range(200)]
    assert counts == [await survived(seed) for seed in range(200)]
    assert 6 < sum(counts) / len(counts) < 12, "a geometric distribution of mean 9"


async def test_a_partition_holds_back_and_heals() -> None:
    network = SimulatedNetwork(SimulatedClock())
    _, here, there = await connected(network)
    network.partition(_ADDRESS)
    with pytest.raises(UnavailableError, match="no route"):
        await network.connect(_ADDRESS)
    sending = asyncio.create_task(here.write(b"late"))
    answering = asyncio.create_task(there.write(b"too"))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not sending.done()
    assert not answering.done()
    network.heal(_ADDRESS)
    await asyncio.gather(sending, answering)
    assert await there.read(10) == b"late"
    assert await here.read(10) == b"too"
    await network.connect(_ADDRESS)


async def test_a_power_cut_of_the_other_side_breaks_all_its_connections() -> None:
    network = SimulatedNetwork(SimulatedClock())
    acceptor, first, _ = await connected(network)
    second = await network.connect(_ADDRESS)
    network.break_connections(_ADDRESS)
    for stream in (first, second):
        with pytest.raises(ConnectionResetError):
            await stream.write(b"x")
    assert acceptor.address == _ADDRESS


@pytest.mark.parametrize(
    "link", [{"delay_s_min": 2.0, "delay_s_max": 1.0}, {"delay_s_min": -1.0}, {"loss": 1.5}]
)
def test_impossible_links_are_refused(link: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError):
        Link(**link)
