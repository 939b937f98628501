"""What every way of reaching an agent promises, and the table of them."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar

from edgeloop_foundation.errors import (
    DeadlineError,
    EdgeloopError,
    InvalidInputError,
    UnavailableError,
)
from edgeloop_foundation.registry import Registry

from edgeloop.domain.device import DeviceSpec

if TYPE_CHECKING:
    from edgeloop.transport.client import AgentClient

__all__ = ["BUILTIN", "TRANSPORTS", "Transport", "connect"]

BUILTIN = {
    "local": "edgeloop.transport.local:LocalTransport",
    "simulated": "edgeloop.transport.simulated:SimulatedTransport",
    "fleet": "edgeloop.transport.fleet:FleetTransport",
    "grpc": "edgeloop.transport.grpc:GrpcTransport",
    "ssh": "edgeloop.transport.ssh:SshTransport",
}


class Transport(ABC):
    """A way to reach one agent, open for the length of an ``async with`` block.

    ``async with connect(spec, home) as client`` yields the client after a successful greeting. Drivers
    implement ``_open`` and ``_close``; whatever they let through becomes one of our errors here.
    """

    #: Name in the registry, the stem of the driver's file.
    name: ClassVar[str]
    #: Options that the driver understands.
    option_names: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, spec: DeviceSpec, state_directory: Path, seed: int = 0) -> None:
        """Check the options.

        Args:
            spec: the device.
            state_directory: the controller's home; agents that we start keep their state under it.
            seed: seed of a simulated board.

        Raises:
            InvalidInputError: an option that this transport does not know.
        """
        unknown = sorted({name for name, _ in spec.options} - self.option_names)
        if unknown:
            known = ", ".join(sorted(self.option_names)) or "none"
            raise InvalidInputError(
                f"device {spec.name}: transport {self.name} has no option {unknown[0]!r}; known are {known}."
            )
        self.spec = spec
        self.state_directory = state_directory
        self.seed = seed
        self._client: AgentClient | None = None

    @abstractmethod
    async def _open(self) -> AgentClient:
        """Reach the agent and return a client for it."""

    async def _close(self) -> None:
        """Give back what ``_open`` took besides the client."""
        return

    async def open(self) -> AgentClient:
        """Reach the agent, exchange greetings, and return the client.

        Raises:
            UnavailableError: there is nobody, or what is there cannot be reached.
            DeadlineError: it takes too long.
            UnsupportedError: the agent speaks another protocol version.
            InvalidInputError: the device's address or options are unusable.
            BusyError: another process has the agent to itself.
            EdgeloopError: nothing else than its subclasses.
        """
        try:
            self._client = await self._open()
            await self._client.hello()
        except BaseException as error:
            await asyncio.shield(self.close())
            raise _as_ours(error, self.spec.name) from error
        return self._client

    async def close(self) -> None:
        """Let go of the agent; it may be called twice."""
        client, self._client = self._client, None
        try:
            if client is not None:
                await client.close()
        finally:
            with contextlib.suppress(ProcessLookupError):
                await self._close()

    async def __aenter__(self) -> AgentClient:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.shield(self.close())

    def option(self, name: str) -> str:
        """Return an option's value, empty when it is not given."""
        return dict(self.spec.options).get(name, "")


def _as_ours(error: BaseException, device: str) -> BaseException:
    if isinstance(error, EdgeloopError) or not isinstance(error, Exception):
        return error
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        return DeadlineError(f"{device}: reaching its agent took too long.")
    return UnavailableError(f"{device}: its agent cannot be reached: {error or type(error).__name__}.")


TRANSPORTS: Registry[Any] = Registry("transports", BUILTIN)


def connect(spec: DeviceSpec, state_directory: Path, seed: int = 0) -> Transport:
    """Return the transport of a device, to be used as ``async with connect(...) as client``.

    Raises:
        NotFoundError: no transport of that name.
        InvalidInputError: an option it does not know.
    """
    transport: Transport = TRANSPORTS.load(spec.transport)(spec, state_directory, seed)
    return transport
