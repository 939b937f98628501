"""Enrolling a board while it is set up: over the SSH connection that proved who answers, never over another."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import InvalidInputError, StateError
from edgeloop_protocol.types.identity import Identity, IdentityStatus, Role

from edgeloop.domain.device import DeviceSpec
from edgeloop.identity.authority import AUTHORITY_DIRECTORY
from edgeloop.orchestrate.identity import authority_of, enrol_through
from edgeloop.transport.base import connect
from edgeloop.transport.bootstrap.layout import Layout

if TYPE_CHECKING:
    from edgeloop.transport.ssh_link.connection import SshConnection

__all__ = ["LEFT_ALONE", "Enrolment", "plan_enrolment", "what_stays"]

_STEP_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """What is to be done about a board's identity, and why nothing is when nothing is."""

    #: Who the board is to be; None when it is left as it is.
    identity: Identity | None = None
    #: The same for people, one line.
    words: str = ""

    def perform(
        self,
        home: Path,
        spec: DeviceSpec,
        layout: Layout,
        connection: SshConnection,
        restart: Callable[[], object],
    ) -> str:
        """Enrol a board whose agent answers, unless it is, and return what was done in one line.

        Args:
            home: the controller's home, with the authority.
            spec: the board.
            layout: where its agent stands.
            connection: the open connection over which the board was set up.
            restart: starts the agent anew, which reads its identity when it starts.

        Raises:
            StateError: the board is in another fleet, or does not say afterwards that it is enrolled.
            EdgeloopError: the board refuses, or the authority cannot sign.
        """
        wanted = self.identity
        if wanted is None:
            return self.words
        before = asyncio.run(_status(spec, home))
        if self._holds(home, before):
            return f"enrolled as {wanted.uri} already"
        if before.uri and before.uri != wanted.uri:
            raise StateError(
                f"{spec.name} answers, and is enrolled as {before.uri}, not as {wanted.uri}.",
                next_step="Leave it so with --no-enrol, or have it removed by the fleet that it belongs to.",
            )

        def there(argv: Sequence[str], standard_input: bytes) -> bytes:
            said = connection.check(
                shlex.join(argv), what="enrolment", stdin=standard_input, timeout_s=_STEP_S
            )
            return said.encode()

        # As the agent's own account: what root wrote there the agent could not read.
        program = f"{layout.root}/agent/current/bin/edgeloop-agent"
        enrol_through(there, authority_of(home), wanted, layout.state, (program,))
        restart()
        after = asyncio.run(_status(spec, home))
        if not self._holds(home, after):
            raise StateError(
                f"{spec.name} was enrolled and does not use its new identity: it says {after.uri or 'nobody'}.",
                next_step=f"Look at its clock and its log: edgeloop device doctor --on {spec.name}",
            )
        return f"enrolled as {wanted.uri}"

    def _holds(self, home: Path, status: IdentityStatus) -> bool:
        """Return whether the board has the identity, with a key that is neither revoked nor out of date."""
        if self.identity is None or status.uri != self.identity.uri:
            return False
        revoked = {entry.public_key for entry in authority_of(home).ledger().revoked}
        return (status.not_after_s or 0.0) > time.time() and status.public_key not in revoked


LEFT_ALONE = Enrolment()
"""Nothing is to become of a board's identity, and nothing is said about it."""


def plan_enrolment(home: Path, name: str, *, wanted: bool) -> Enrolment:
    """Return what adding a board does about its identity.

    Raises:
        CorruptDataError: the authority is damaged.
        InvalidInputError: the name cannot be that of an identity.
    """
    if not wanted:
        return Enrolment(words="not enrolled, as asked (--no-enrol)")
    if not (home / AUTHORITY_DIRECTORY).is_dir():
        return Enrolment(
            words="not enrolled, for there is no authority here; over SSH none is needed. "
            "For one: edgeloop ca init, then this command again"
        )
    try:
        identity = Identity(fleet=authority_of(home).ledger().fleet, role=Role.DEVICE, name=name)
    except InvalidInputError as error:
        raise InvalidInputError(
            error.message,
            next_step="Give another name with --name, or leave it without identity: --no-enrol.",
        ) from error
    return Enrolment(
        identity=identity,
        words=f"enrol it as {identity.uri}, unless it is: its key is made there and stays there; start it again",
    )


def what_stays(home: Path, name: str) -> str:
    """Return what the authority still vouches for of a board that is removed, one line; empty for nothing."""
    if not (home / AUTHORITY_DIRECTORY).is_dir():
        return ""
    ledger = authority_of(home).ledger()
    uri = f"spiffe://{ledger.fleet}/device/{name}"
    revoked = {entry.public_key for entry in ledger.revoked}
    valid = [
        entry
        for entry in ledger.issued
        if entry.uri == uri and entry.public_key not in revoked and entry.not_after_s > time.time()
    ]
    if not valid:
        return ""
    day = time.strftime("%Y-%m-%d", time.gmtime(max(entry.not_after_s for entry in valid)))
    return (
        f"its key goes with its files; the certificate for {uri} stays valid until {day} for whoever copied that key. "
        f"To refuse it: edgeloop ca revoke device/{name}"
    )


async def _status(spec: DeviceSpec, home: Path) -> IdentityStatus:
    async with connect(spec, home) as client:
        return await client.identity_status()
