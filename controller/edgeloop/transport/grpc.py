"""An agent that runs already, reached over its Unix socket or over TCP with mutual TLS."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import ClassVar

from edgeloop_foundation.addresses import is_loopback
from edgeloop_foundation.errors import DeadlineError, InvalidInputError, UnavailableError
from edgeloop_protocol.convert.json import from_json
from edgeloop_protocol.types.identity import Identity, Role, SignedTrust, TrustList

from edgeloop.domain.identity import HOLDER_DIRECTORY, HolderFiles
from edgeloop.transport.base import Transport
from edgeloop.transport.client import AgentClient
from edgeloop.transport.rpc.channel import TlsFiles, first_connection, open_channel
from edgeloop.transport.rpc.preflight import check_tls

__all__ = ["GrpcTransport"]


class GrpcTransport(Transport):
    """Connects to ``unix:PATH`` or ``HOST:PORT``; beyond this machine only with mutual TLS."""

    name: ClassVar[str] = "grpc"
    option_names: ClassVar[frozenset[str]] = frozenset(
        {"identity", "enrolled_as", "tls_ca", "tls_certificate", "tls_key", "tls_server_name"}
    )

    async def _open(self) -> AgentClient:
        address = self.spec.address
        if address.startswith("unix:"):
            return self._open_socket(Path(address[5:]))
        host, port = _split(address, self.spec.name)
        tls = self._tls()
        examine: Callable[[], Awaitable[None]] | None = None
        if tls is not None:
            await asyncio.to_thread(check_tls, self.spec.name, host, port, tls)
            examine = functools.partial(_examine, self.spec.name, host, port, tls)
        elif not is_loopback(host):
            raise InvalidInputError(
                f"device {self.spec.name} at {address} is beyond this machine and needs mutual TLS.",
                next_step="Make an authority (edgeloop ca init) and enrol the device (edgeloop device enrol), "
                "give tls_ca, tls_certificate and tls_key, or reach its socket through SSH.",
            )
        channel = open_channel(address, tls)
        if tls is not None:
            try:
                await first_connection(channel)
            except BaseException:
                await channel.close(None)
                raise
        return AgentClient(channel, device=self.spec.name, address=address, examine=examine)

    def _open_socket(self, path: Path) -> AgentClient:
        path = path.expanduser().absolute()
        if not path.is_socket():
            raise UnavailableError(
                f"device {self.spec.name}: there is no socket {path}.",
                next_step="Start its agent: edgeloop-agent serve --socket PATH.",
            )
        return AgentClient(open_channel(f"unix:{path}"), device=self.spec.name, address=str(path))

    def _tls(self) -> TlsFiles | None:
        names = ("tls_ca", "tls_certificate", "tls_key")
        given = [name for name in names if self.option(name)]
        if not given:
            return self._own()
        if self.option("identity"):
            raise InvalidInputError(f"device {self.spec.name}: give either identity or {given[0]}.")
        if len(given) < len(names):
            missing = next(name for name in names if name not in given)
            raise InvalidInputError(
                f"device {self.spec.name}: {given[0]} without {missing}; mutual TLS needs {', '.join(names)}."
            )
        ca, certificate, key = (Path(self.option(name)).expanduser() for name in names)
        return TlsFiles(ca=ca, certificate=certificate, key=key, server_name=self.option("tls_server_name"))

    def _own(self) -> TlsFiles | None:
        """Return this controller's identity in the fleet, if it has one; ``identity = "none"`` does without."""
        named = self.option("identity")
        if named == "none":
            return None
        files = HolderFiles(
            directory=Path(named).expanduser() if named else self.state_directory / HOLDER_DIRECTORY
        )
        if not files.there:
            if named:
                raise InvalidInputError(f"device {self.spec.name}: there is no identity in {named}.")
            return None
        return self._fleet_files(files)

    def _fleet_files(self, files: HolderFiles) -> TlsFiles:
        try:
            trust = from_json(from_json(files.trust.read_bytes(), SignedTrust).payload, TrustList)
        except (OSError, InvalidInputError) as error:
            raise InvalidInputError(
                f"the fleet's trust list {files.trust} cannot be read: {error}.",
                next_step="Have the identity issued again: edgeloop ca issue.",
            ) from error
        name = self.option("enrolled_as") or self.spec.name
        try:
            device = Identity(fleet=trust.fleet, role=Role.DEVICE, name=name)
        except InvalidInputError as error:
            raise InvalidInputError(
                f"{name[:80]!r} is not the name under which a device is enrolled.",
                next_step="Name it: --on NAME=grpc://HOST:PORT, or give enrolled_as in edgeloop.toml.",
            ) from error
        return TlsFiles(
            ca=files.roots,
            certificate=files.identity,
            key=files.identity,
            server_name=device.server_name,
            revoked=frozenset(revoked.public_key for revoked in trust.revoked),
            time_floor_s=trust.issued_s,
        )


async def _examine(device: str, host: str, port: int, tls: TlsFiles) -> None:
    """Raise what makes another attempt vain; that nobody answers does not: a device may be starting."""
    with contextlib.suppress(UnavailableError, DeadlineError):
        await asyncio.to_thread(check_tls, device, host, port, tls)


def _split(address: str, device: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise InvalidInputError(
            f"device {device}: {address!r} is not an address.", next_step="Write unix:PATH or HOST:PORT."
        )
    return host, int(port)
