"""The way between a controller and an agent without a network: the real services and the real client, real bytes.

Requests and answers are lost, late, cut off or left unanswered as the weather has it; what was late arrives after the
client has asked again, so that the agent sees it twice.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from edgeloop_protocol.v1 import deployment_pb2, job_pb2, lease_pb2

from scripts.heavy.loop_time import VirtualLoop

__all__ = ["Endpoint", "SimulatedChannel", "SimulatedServer", "Weather"]

# What keepalive needs to find a connection that died silently.
_KEEPALIVE_S = 30.0
_ACQUIRE = "/edgeloop.v1.LeaseService/Acquire"
_DEPLOY = "/edgeloop.v1.DeploymentService/Deploy"
_SUBMIT = "/edgeloop.v1.JobService/Submit"


class Weather:
    """Decides what becomes of every call."""

    FATES = ("fine", "lost", "late", "unanswered", "silent")

    def __init__(self, rng: random.Random, trouble: float) -> None:
        #: Share of calls that go wrong.
        self.trouble = trouble
        self.rng = rng
        #: How often each happened.
        self.counts = dict.fromkeys(self.FATES, 0)

    def fate(self) -> str:
        """Return what becomes of the next call."""
        fate = "fine" if self.rng.random() >= self.trouble else self.rng.choice(self.FATES[1:])
        self.counts[fate] += 1
        return fate

    def delay_s(self) -> float:
        """Return what one way takes: mostly milliseconds, sometimes seconds."""
        return self.rng.uniform(0.001, 0.05) if self.rng.random() < 0.9 else self.rng.uniform(0.5, 3.0)


class _Aborted(grpc.aio.AbortError):
    """The handler said how the call ends."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self.code, self.details = code, details


class _Context:
    """What a handler sees of its caller: the owner of a socket."""

    def __init__(self, write: Callable[[Any], Awaitable[None]]) -> None:
        self.write = write

    def peer(self) -> str:
        return "unix:"

    def auth_context(self) -> dict[str, Any]:
        return {}

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()) -> None:
        raise _Aborted(code, details)


@dataclass(frozen=True)
class _Details:
    method: str
    invocation_metadata: tuple[()] = ()


def broken(code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE, details: str = "Socket closed") -> Exception:
    """Return the error of a call that ended without an answer."""
    empty = grpc.aio.Metadata()
    return grpc.aio.AioRpcError(code, empty, empty, details=details)


class SimulatedServer:
    """Takes the place of the gRPC server of an agent: interceptors and handlers are its own."""

    def __init__(self, *, interceptors: tuple[Any, ...], **_options: Any) -> None:
        (self._gate,) = interceptors
        self._handlers: dict[str, Any] = {}
        self.running = False

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
        """Know the methods of a service."""
        self._handlers |= {f"/{service}/{name}": handler for name, handler in handlers.items()}

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """Know nothing more: every method here is registered by name as well."""

    async def start(self) -> None:
        """Answer from now on."""
        self.running = True

    async def stop(self, grace: float | None) -> None:
        """Answer no longer."""
        self.running = False

    async def handle(self, method: str, request: bytes, write: Callable[[Any], Awaitable[None]]) -> bytes:
        """Let the agent do a call; return its answer, empty where the answers were written one by one."""

        async def known(details: Any) -> Any:
            return self._handlers.get(details.method)

        handler = await self._gate.intercept_service(known, _Details(method))
        if handler is None:
            raise _Aborted(grpc.StatusCode.UNIMPLEMENTED, method)
        message = handler.request_deserializer(request)
        inner = handler.unary_unary or handler.unary_stream

        async def encoded(answer: Any) -> None:
            await write(handler.response_serializer(answer))

        answer = await inner(message, _Context(encoded))
        return b"" if answer is None else bytes(handler.response_serializer(answer))


class Endpoint:
    """Where a device is reached, whichever process of its agent is up."""

    def __init__(self, loop: VirtualLoop, weather: Weather) -> None:
        self.loop, self.weather = loop, weather
        self.server: SimulatedServer | None = None
        self.owner = ""
        #: Lease by token, of every grant that was told.
        self.granted: dict[int, set[str]] = {}
        #: Number of trials of every job that arrived, by its request, and the requests that the agent accepted.
        self.submitted: dict[str, int] = {}
        self.accepted: dict[str, None] = {}
        #: Highest counter of a release that the agent said it has verified.
        self.counter = 0
        self._calls: dict[asyncio.Future[bytes], None] = {}

    def up(self, owner: str, server: SimulatedServer) -> None:
        """Let a process answer."""
        self.owner, self.server = owner, server

    def down(self) -> None:
        """Break every call; nobody answers."""
        self.server = None
        for call in list(self._calls):
            if not call.done():
                call.set_exception(broken())
        self._calls.clear()

    def deliver(
        self, method: str, request: bytes, write: Callable[[bytes], Awaitable[None]]
    ) -> tuple[asyncio.Task[bytes] | None, asyncio.Future[bytes]]:
        """Hand a request to whoever is up now; return its work and its answer."""
        answer: asyncio.Future[bytes] = self.loop.create_future()
        answer.add_done_callback(lambda done: None if done.cancelled() else done.exception())
        if self.server is None or not self.server.running:
            answer.set_exception(broken(details="Connection refused"))
            return None, answer
        self._calls[answer] = None

        async def watched(data: bytes) -> None:
            if method == _ACQUIRE:
                lease = lease_pb2.AcquireResponse.FromString(data).lease
                if lease.fencing_token:
                    self.granted.setdefault(lease.fencing_token, set()).add(lease.lease_id)
            await write(data)

        work = self.loop.begin(self.owner, self.server.handle(method, request, watched))
        work.add_done_callback(lambda done: self._answered(done, answer))
        if method == _DEPLOY:
            work.add_done_callback(self._verified)
        if method == _SUBMIT:
            spec = job_pb2.SubmitRequest.FromString(request).spec
            self.submitted[spec.request_id] = len(spec.trials)
            work.add_done_callback(lambda done: self._accept(done, spec.request_id))
        return work, answer

    def _verified(self, work: asyncio.Task[bytes]) -> None:
        if not work.cancelled() and work.exception() is None:
            status = deployment_pb2.DeployResponse.FromString(work.result()).status
            self.counter = max(self.counter, status.counter)

    def _accept(self, work: asyncio.Task[bytes], request_id: str) -> None:
        if not work.cancelled() and work.exception() is None:
            self.accepted[request_id] = None

    def _answered(self, work: asyncio.Task[bytes], answer: asyncio.Future[bytes]) -> None:
        self._calls.pop(answer, None)
        if answer.done():
            return
        if work.cancelled():
            answer.set_exception(broken(grpc.StatusCode.CANCELLED, "CANCELLED"))
        elif (error := work.exception()) is None:
            answer.set_result(work.result())
        elif isinstance(error, _Aborted):
            answer.set_exception(broken(error.code, error.details))
        else:
            answer.set_exception(broken(grpc.StatusCode.UNKNOWN, f"{type(error).__name__}: {error}"))


async def _nothing(_data: bytes) -> None:
    return


class _Call:
    """One call: its answers come one by one; of a unary one there is one."""

    def __init__(self, endpoint: Endpoint, method: str, request: bytes, decode: Any, timeout: float) -> None:
        self._endpoint, self._decode = endpoint, decode
        self._queue: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        self._work: asyncio.Task[bytes] | None = None
        loop = endpoint.loop
        self._deadline = loop.call_later(timeout, self._expire)
        self._pump = loop.create_task(self._travel(method, request))

    def _expire(self) -> None:
        self._queue.put_nowait(broken(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"))
        self.cancel()

    async def _travel(self, method: str, request: bytes) -> None:
        endpoint, weather = self._endpoint, self._endpoint.weather
        fate, patience = weather.fate(), weather.rng.randint(0, 4)
        await asyncio.sleep(weather.delay_s())
        if fate == "lost":
            self._queue.put_nowait(broken())
            return
        if fate == "late":
            endpoint.loop.call_later(
                weather.rng.uniform(0.5, 40.0), endpoint.deliver, method, request, _nothing
            )
            self._queue.put_nowait(broken())
            return
        arrived = 0

        async def write(data: bytes) -> None:
            nonlocal arrived
            arrived += 1
            await asyncio.sleep(weather.delay_s())
            if fate == "fine" or arrived <= patience:
                self._queue.put_nowait(data)

        self._work, answer = endpoint.deliver(method, request, write)
        try:
            data: bytes | Exception = await answer
        except grpc.aio.AioRpcError as error:
            data = error
        except asyncio.CancelledError:
            # A client that went away takes its calls along, at the latest when keepalive finds out.
            if self._work is not None:
                endpoint.loop.call_later(weather.rng.uniform(0.001, _KEEPALIVE_S), self._work.cancel)
            raise
        if fate == "silent":
            await asyncio.sleep(_KEEPALIVE_S)
        await asyncio.sleep(weather.delay_s())
        if fate != "fine":
            data = broken()
        self._queue.put_nowait(data if data != b"" or isinstance(data, Exception) else None)

    def cancel(self) -> bool:
        """End it; the agent hears of it."""
        self._deadline.cancel()
        self._pump.cancel()
        if self._work is not None and not self._work.done():
            self._endpoint.loop.call_later(self._endpoint.weather.delay_s(), self._work.cancel)
        return True

    def __aiter__(self) -> _Call:
        return self

    async def __anext__(self) -> Any:
        item = await self._queue.get()
        if item is None:
            raise StopAsyncIteration
        if isinstance(item, Exception):
            raise item
        return self._decode(item)


class SimulatedChannel:
    """Takes the place of a gRPC channel."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def _call(self, method: str, encode: Any, decode: Any, request: Any, timeout: float) -> _Call:
        return _Call(self._endpoint, method, encode(request), decode, timeout)

    def unary_unary(self, method: str, request_serializer: Any, response_deserializer: Any, **_: Any) -> Any:
        """Return a method that answers once."""

        async def call(request: Any, timeout: float) -> Any:
            under_way = self._call(method, request_serializer, response_deserializer, request, timeout)
            try:
                # An answer without a field set has no bytes.
                return await anext(under_way, response_deserializer(b""))
            finally:
                under_way.cancel()

        return call

    def unary_stream(self, method: str, request_serializer: Any, response_deserializer: Any, **_: Any) -> Any:
        """Return a method that answers several times."""

        def call(request: Any, timeout: float) -> _Call:
            return self._call(method, request_serializer, response_deserializer, request, timeout)

        return call

    def stream_unary(self, method: str, *_args: Any, **_: Any) -> Any:
        """Return a method that nobody calls here: the devices have every blob from the beginning."""

        def call(*_args: Any, **_options: Any) -> Any:
            raise AssertionError(f"{method} is not simulated")

        return call

    stream_stream = stream_unary

    async def close(self, grace: float | None) -> None:
        """Close nothing: what runs ends with whoever waits for it."""
