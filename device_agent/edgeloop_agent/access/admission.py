"""The admission of calls: each one is checked when it begins, and ended when its caller is revoked."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator

from edgeloop_foundation.errors import AccessDeniedError, UnauthenticatedError

from edgeloop_agent.access.methods import Caller, is_allowed
from edgeloop_agent.access.peer import Context, Peer, peer_of

__all__ = ["Access", "Admission", "revocation"]

_log = logging.getLogger(__name__)


class Admission:
    """One admitted call while it runs."""

    __slots__ = ("_task", "peer", "revoked")

    def __init__(self, peer: Peer, task: asyncio.Task[object] | None) -> None:
        self.peer = peer
        #: Whether it was ended because its caller is not trusted any more.
        self.revoked = False
        self._task = task

    def end(self) -> None:
        """Interrupt the call; whoever guards it tells its caller why."""
        self.revoked = True
        if self._task is not None:
            self._task.cancel()


class Access:
    """Knows the fleet, the revoked keys and the calls under way.

    A connection outlives the handshake for up to an hour, so revocation works on calls, not on connections: a new
    call of a revoked key is refused, one that runs is interrupted at once.
    """

    def __init__(self) -> None:
        self._fleet = ""
        self._revoked: frozenset[str] = frozenset()
        self._running: set[Admission] = set()
        #: Whether plain TCP on loopback is the owner; set by the listener that was chosen.
        self.trusts_loopback = False

    def trust(self, fleet: str, revoked: frozenset[str]) -> int:
        """Take the fleet and the complete set of revoked keys; return how many running calls ended by that."""
        self._fleet, self._revoked = fleet, revoked
        ended = [admission for admission in self._running if admission.peer.public_key in revoked]
        for admission in ended:
            _log.warning("a running call of %s ends: its key is revoked", admission.peer.name)
            admission.end()
        return len(ended)

    @contextlib.contextmanager
    def admitted(self, method: str, context: Context) -> Iterator[Admission]:
        """Hold a call's admission while it runs.

        Raises:
            UnauthenticatedError: nobody known calls, or one whose key is revoked.
            AccessDeniedError: the caller may not call this method.
        """
        peer = peer_of(context, trusts_loopback=self.trusts_loopback)
        self._check(method, peer)
        admission = Admission(peer, asyncio.current_task())
        self._running.add(admission)
        try:
            yield admission
        finally:
            self._running.discard(admission)

    def _check(self, method: str, peer: Peer) -> None:
        if peer.public_key and peer.public_key in self._revoked:
            raise revocation(peer)
        if peer.caller is Caller.NOBODY:
            raise UnauthenticatedError(
                f"{peer.name} may call nothing here.", next_step="Use a certificate that the fleet issued."
            )
        if peer.fleet and self._fleet and peer.fleet != self._fleet:
            raise UnauthenticatedError(f"{peer.name} is of another fleet; this device is of {self._fleet}.")
        if not is_allowed(peer.caller, method):
            raise AccessDeniedError(
                f"{peer.name} may not call {method[:200]}.",
                next_step=f"The role {peer.caller.value} does not allow it; use another certificate.",
            )


def revocation(peer: Peer) -> UnauthenticatedError:
    """Return what a revoked caller is told."""
    return UnauthenticatedError(
        f"the key of {peer.name} is revoked.", next_step="Have a new certificate issued for a new key."
    )
