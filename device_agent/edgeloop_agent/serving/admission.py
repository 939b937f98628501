"""Who may ask a serving process for what; what is not in the table is denied to everybody.

A plain listener exists on loopback alone, where whoever is on this machine may ask, as the operator who started it
chose. Elsewhere a caller shows a certificate of the device's fleet: an observer may look, a controller may also infer.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgeloop_foundation.errors import AccessDeniedError, EdgeloopError, StateError, UnauthenticatedError

from edgeloop_agent.access.methods import Caller
from edgeloop_agent.access.peer import Peer
from edgeloop_agent.identity_files import Credentials, IdentityFiles
from edgeloop_agent.tls_material import TlsMaterial

__all__ = ["RULES", "Admission"]

_LOOK = frozenset({Caller.OBSERVER, Caller.CONTROLLER, Caller.LOCAL})
_ACT = frozenset({Caller.CONTROLLER, Caller.LOCAL})

RULES: Mapping[str, frozenset[Caller]] = {
    "ServerLive": _LOOK,
    "ServerReady": _LOOK,
    "ModelReady": _LOOK,
    "ServerMetadata": _LOOK,
    "ModelMetadata": _LOOK,
    "ModelInfer": _ACT,
    "Metrics": _LOOK,
}
"""Methods of the protocol, by the names of its gRPC service, and the scrape; HTTP paths stand for the same."""


class Admission:
    """The fleet's trust list as this process last read it; ``refresh`` reads it again."""

    def __init__(self, files: IdentityFiles) -> None:
        self._files = files
        self._fleet, self._revoked = "", frozenset[str]()
        #: Key and chain in one file, as the ``ssl`` module takes them.
        self.identity_file = files.identity
        #: Whether a listener asks for certificates, so that the trust list is followed.
        self.needed = False

    def refresh(self) -> None:
        """Read the trust list again; damaged files keep the last one in force.

        Raises:
            EdgeloopError: the device is not enrolled, or its files are damaged.
        """
        self.needed = True
        trust = self._files.trust_list()
        self._fleet = trust.fleet
        self._revoked = frozenset(revoked.public_key for revoked in trust.revoked)

    def material(self) -> TlsMaterial:
        """Return what a handshake needs now.

        Raises:
            StateError: the device is not enrolled, so that it listens on loopback only.
        """
        known = self._credentials()
        return TlsMaterial(
            key=known.key.encode(), chain=known.chain.encode(), roots="".join(known.trust.roots).encode()
        )

    def _credentials(self) -> Credentials:
        try:
            return self._files.credentials()
        except EdgeloopError as error:
            raise StateError(
                f"only an enrolled device serves beyond loopback: {error.message}",
                next_step="Enrol it: edgeloop device enrol NAME.",
            ) from error

    def check(self, method: str, peer: Peer) -> None:
        """Refuse a caller that may not call a method of ``RULES``.

        Raises:
            UnauthenticatedError: nobody known calls, or one whose key is revoked.
            AccessDeniedError: the caller may not call this method.
        """
        if peer.caller is Caller.NOBODY:
            raise UnauthenticatedError(f"{peer.name} may ask for nothing here.")
        if peer.public_key and peer.public_key in self._revoked:
            raise UnauthenticatedError(f"the key of {peer.name} is revoked.")
        if peer.fleet and peer.fleet != self._fleet:
            raise UnauthenticatedError(f"{peer.name} is of another fleet.")
        if peer.caller not in RULES.get(method, frozenset()):
            raise AccessDeniedError(f"{peer.name} may not call {method}.")
