"""What the daemon's front needs of the fleet's authority: a certificate to listen with, roots, and who is revoked."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgeloop_protocol.convert import from_json
from edgeloop_protocol.types.identity import LEAF_LIFE_S, TrustList

from edgeloop.orchestrate.identity import authority_of

__all__ = ["FrontIdentity", "front_identity"]


@dataclass(slots=True)
class FrontIdentity:
    """Files of a listener that the fleet's certificates are proof for."""

    #: The controller's home.
    home: Path
    #: Chain and key of the listener, PEM, mode 0600.
    certificate: Path
    #: Authorities of the fleet, PEM.
    roots: Path
    _seen: tuple[int, frozenset[str]] = field(default=(0, frozenset()))

    def refuses(self, public_key: str) -> bool:
        """Return whether a key, the SHA-256 of its SubjectPublicKeyInfo, was revoked."""
        trust = from_json(authority_of(self.home).trust().payload, TrustList)
        if trust.number != self._seen[0]:
            self._seen = (trust.number, frozenset(one.public_key for one in trust.revoked))
        return public_key in self._seen[1]


def front_identity(home: Path, directory: Path, names: Sequence[str]) -> FrontIdentity:
    """Issue a certificate for a listener of these names and addresses, and write it down.

    Raises:
        NotFoundError: there is no authority here.
        MissingDependencyError: cryptography is not installed.
    """
    from edgeloop.identity.x509 import new_key

    authority = authority_of(home)
    key, pem = new_key()
    chain = authority.signing().issue_server(tuple(names), key.public_key(), time.time(), LEAF_LIFE_S)
    certificate, roots = directory / "listener.pem", directory / "roots.pem"
    certificate.touch(0o600)
    certificate.chmod(0o600)
    certificate.write_bytes(pem + chain.encode())
    trust = from_json(authority.trust().payload, TrustList)
    roots.write_text("".join(trust.roots))
    return FrontIdentity(home=home, certificate=certificate, roots=roots)
