"""The device's identity as the daemon holds it: read from its files, changed by the program that enrols."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeloop_foundation import errors as e
from edgeloop_foundation.ports.clock import Clock
from edgeloop_foundation.ports.fs import FileSystem
from edgeloop_foundation.ports.process import ProcessPort
from edgeloop_protocol.convert.json import to_json
from edgeloop_protocol.envelope import Envelope
from edgeloop_protocol.types.identity import IdentityStatus, SignedTrust

from edgeloop_agent.helper_program import ask_program
from edgeloop_agent.identity_files import DIRECTORY, Credentials, IdentityFiles
from edgeloop_agent.tls_material import TlsMaterial

__all__ = ["DeviceIdentity"]

_log = logging.getLogger(__name__)


class DeviceIdentity:
    """Who the device is in its fleet; one change at a time."""

    def __init__(self, fs: FileSystem, clock: Clock, state: Path, processes: ProcessPort) -> None:
        self._files = IdentityFiles(fs, state / DIRECTORY)
        self._state = state
        self._clock = clock
        self._processes = processes
        self._one_at_a_time = asyncio.Lock()
        #: What is in use; None when the device is not enrolled.
        self.credentials: Credentials | None = None
        #: Is told of every change, with the new credentials.
        self.on_change: Callable[[Credentials], object] = lambda credentials: None

    @property
    def enrolled(self) -> bool:
        """Whether there are files of an identity, readable or not."""
        return self._files.enrolled

    def material(self) -> TlsMaterial:
        """Return what a handshake needs now.

        Raises:
            StateError: the device is not enrolled.
        """
        known = self.credentials
        if known is None:
            raise _not_enrolled()
        return TlsMaterial(
            key=known.key.encode(), chain=known.chain.encode(), roots="".join(known.trust.roots).encode()
        )

    def open(self) -> None:
        """Read the files of an enrolled device.

        Raises:
            CorruptDataError: they are damaged; the agent does not start as if it were new.
        """
        if self._files.enrolled:
            self._adopt(self._files.credentials())

    def _adopt(self, credentials: Credentials) -> None:
        self.credentials = credentials
        self.on_change(credentials)
        if not self.status().clock_trusted:
            _log.warning("this device's clock shows a time before its trust list was signed; set it right")

    def status(self) -> IdentityStatus:
        """Return how the device stands."""
        now_s = self._clock.wall_s()
        known = self.credentials
        if known is None:
            return IdentityStatus(wall_time_s=now_s)
        return IdentityStatus(
            uri=known.identity.uri,
            public_key=known.certificate.public_key,
            not_after_s=known.certificate.not_after_s,
            trust_number=known.trust.number,
            wall_time_s=now_s,
            clock_trusted=now_s >= known.trust.issued_s,
        )

    async def request_certificate(self) -> str:
        """Have a new key made and return the request for its certificate.

        Raises:
            StateError: the device is not enrolled.
        """
        reply = await self._change({"command": "renew"})
        return str(reply.get("request_pem", ""))

    async def install(self, chain: str) -> IdentityStatus:
        """Use a renewed certificate from the next connection on.

        Raises:
            EdgeloopError: it does not hold; the present one stays.
        """
        await self._change({"command": "install", "chain_pem": chain})
        return self.status()

    async def update_trust(self, signed: SignedTrust) -> IdentityStatus:
        """Use a newer trust list at once; calls of those that it revokes end.

        Raises:
            EdgeloopError: it does not hold; the present one stays.
        """
        await self._change({"command": "trust", "trust": to_json(signed)})
        return self.status()

    async def sign_statement(self, statement: str) -> Envelope:
        """Return an in-toto statement signed with the device's key.

        Raises:
            StateError: the device is not enrolled, or its clock cannot be right.
        """
        known = self.credentials
        if known is None:
            raise _not_enrolled()
        if not self.status().clock_trusted:
            raise e.StateError("this device's clock is before its trust list.", next_step="Set it right.")
        async with self._one_at_a_time:
            reply = await self._ask({"command": "sign", "statement": statement})
        return Envelope(
            payload=statement.encode(),
            key_id=known.certificate.public_key,
            signature=bytes.fromhex(str(reply.get("signature", ""))),
            chain=known.chain,
        )

    async def _change(self, header: dict[str, Any]) -> dict[str, Any]:
        if self.credentials is None:
            raise _not_enrolled()
        async with self._one_at_a_time:
            reply = await self._ask(header)
            self._adopt(await asyncio.to_thread(self._files.credentials))
        return reply

    async def _ask(self, header: dict[str, Any]) -> dict[str, Any]:
        return await ask_program(
            self._processes, "edgeloop_agent.enrol", ("answer", "--state", str(self._state)), header
        )


def _not_enrolled() -> e.StateError:
    return e.StateError("this device is not enrolled.", next_step="Enrol it: edgeloop device enrol NAME.")
