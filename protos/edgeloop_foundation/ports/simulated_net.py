"""A network in memory: delays, lost connections, overtaking connections and partitions, all from one seed."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

from edgeloop_foundation.errors import InvalidInputError, UnavailableError
from edgeloop_foundation.ports.clock import Clock
from edgeloop_foundation.ports.net import Acceptor, ByteStream, split_address

__all__ = ["Link", "SimulatedNetwork"]

_FIRST_FREE_PORT = 49152


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What the way between two machines is like."""

    #: Shortest delay of a chunk and of the connection itself.
    delay_s_min: float = 0.0
    #: Longest delay; connections opened one after another arrive in another order when this is larger.
    delay_s_max: float = 0.0
    #: Probability that a write breaks the connection instead of arriving.
    loss: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.delay_s_min <= self.delay_s_max or not 0.0 <= self.loss <= 1.0:
            raise InvalidInputError(f"delays rise from 0 and loss is a share, found {self}.")


class _Route:
    """An address with its reachability; shared by the connections to it."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.streams: list[_SimulatedStream] = []


class _SimulatedStream:
    """One end of a connection."""

    def __init__(self, network: SimulatedNetwork, route: _Route) -> None:
        self._network = network
        self._route = route
        self._incoming: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._rest = b""
        self._ended = False
        self._closed = False
        self._broken = asyncio.Event()
        self.peer = self

    def cut(self) -> None:
        for end in (self, self.peer):
            end._broken.set()
            end._incoming.put_nowait(None)

    def _check(self) -> None:
        if self._broken.is_set():
            raise ConnectionResetError("the connection broke")

    async def read(self, limit: int) -> bytes:
        self._check()
        if not self._rest and not self._ended:
            chunk = await self._incoming.get()
            self._check()
            self._ended = chunk is None
            self._rest = chunk or b""
        head, self._rest = self._rest[:limit], self._rest[limit:]
        return head

    async def write(self, data: bytes) -> None:
        self._check()
        if self._closed or self.peer._closed:
            raise BrokenPipeError("the connection is closed")
        if not data:
            return
        await self._network._travel(self._route)
        self._check()
        if self._network._lost():
            self.cut()
            self._check()
        self.peer._incoming.put_nowait(bytes(data))

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.peer._incoming.put_nowait(None)


class _SimulatedAcceptor:
    """A listening end."""

    def __init__(self, network: SimulatedNetwork, address: str) -> None:
        self._network = network
        self._address = address
        self.queue: asyncio.Queue[_SimulatedStream | None] = asyncio.Queue()

    @property
    def address(self) -> str:
        return self._address

    async def accept(self) -> ByteStream:
        stream = await self.queue.get()
        if stream is None:
            self.queue.put_nowait(None)
            raise ConnectionAbortedError(f"{self._address} no longer listens")
        return stream

    async def close(self) -> None:
        if self._network._acceptors.pop(self._address, None) is not None:
            while not self.queue.empty():
                waiting = self.queue.get_nowait()
                if waiting is not None:
                    await waiting.close()
            self.queue.put_nowait(None)


class SimulatedNetwork:
    """A ``Network`` that exists only here.

    Args:
        clock: what delays are waited on.
        seed: of everything random.
        link: what every way is like.
    """

    def __init__(self, clock: Clock, *, seed: int = 0, link: Link | None = None) -> None:
        self._clock = clock
        self._random = random.Random(seed)  # noqa: S311 - repeatable on purpose
        self._link = link or Link()
        self._acceptors: dict[str, _SimulatedAcceptor] = {}
        self._routes: dict[str, _Route] = {}
        self._next_port = _FIRST_FREE_PORT

    def _route(self, address: str) -> _Route:
        return self._routes.setdefault(address, _Route())

    def partition(self, address: str) -> None:
        """Let nothing through to ``address``: new connections fail, what is sent on old ones waits."""
        self._route(address).open.clear()

    def heal(self, address: str) -> None:
        """End a partition; what waited arrives."""
        self._route(address).open.set()

    def break_connections(self, address: str) -> None:
        """Break every connection to ``address``, as a power cut of the other side does."""
        route = self._route(address)
        for stream in route.streams:
            stream.cut()
        route.streams.clear()

    def _lost(self) -> bool:
        return self._random.random() < self._link.loss

    async def _travel(self, route: _Route) -> None:
        delay_s = self._random.uniform(self._link.delay_s_min, self._link.delay_s_max)
        if delay_s > 0.0:
            await self._clock.sleep(delay_s)
        await route.open.wait()

    async def connect(self, address: str) -> ByteStream:
        """Open a connection; it reaches the other side after a delay of its own."""
        split_address(address)
        route = self._route(address)
        if not route.open.is_set():
            raise UnavailableError(f"{address} cannot be reached: no route.")
        await self._travel(route)
        acceptor = self._acceptors.get(address)
        if acceptor is None:
            raise UnavailableError(f"{address} cannot be reached: connection refused.")
        here, there = _SimulatedStream(self, route), _SimulatedStream(self, route)
        here.peer, there.peer = there, here
        route.streams.append(here)
        acceptor.queue.put_nowait(there)
        return here

    async def listen(self, address: str) -> Acceptor:
        """Listen on an address that nobody has."""
        host, port = split_address(address)
        if port == 0:
            address = f"{host}:{self._next_port}"
            self._next_port += 1
        if address in self._acceptors:
            raise UnavailableError(f"cannot listen on {address}: the address is in use.")
        self._acceptors[address] = _SimulatedAcceptor(self, address)
        return self._acceptors[address]
