"""The steps of an enrolment on the device: request, install, renew, and take a newer trust list."""

from __future__ import annotations

import time
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from edgeloop_foundation.errors import AlreadyExistsError, StateError
from edgeloop_foundation.ports.fs import FileSystem, OsFileSystem
from edgeloop_protocol.convert.json import from_json
from edgeloop_protocol.envelope import signed_bytes
from edgeloop_protocol.types.identity import Enrolment, Identity, Role, SignedTrust, TrustList

from edgeloop_agent.enrol.keys import load_key, new_key, request_for
from edgeloop_agent.enrol.verify import check_certificate, verified_trust
from edgeloop_agent.identity_files import DIRECTORY, IdentityFiles

__all__ = ["Steps"]


class Steps:
    """Enrolment in one state directory; every step leaves files that are whole."""

    def __init__(self, state: Path, fs: FileSystem | None = None) -> None:
        self._files = IdentityFiles(fs or OsFileSystem(), state.absolute() / DIRECTORY)

    def request(self, identity: Identity) -> str:
        """Make a key for a device that is not enrolled, keep it, and return the request for its certificate.

        Raises:
            AlreadyExistsError: it is enrolled under another name.
        """
        if self._files.enrolled and (known := self._files.credentials().identity) != identity:
            raise AlreadyExistsError(
                f"this device is enrolled as {known.uri}, not as {identity.uri}.",
                next_step=f"To enrol it anew, stop its agent and remove {self._files.identity.parent}.",
            )
        return self._request(identity)

    def renew(self) -> str:
        """Make a new key beside the one in use and return the request for its certificate."""
        return self._request(self._files.credentials().identity)

    def _request(self, identity: Identity) -> str:
        key = new_key()
        self._files.write_pending(key)
        return request_for(identity, key)

    def enrol(self, identity: Identity, enrolment: Enrolment, anchors: tuple[str, ...] = ()) -> TrustList:
        """Install the first certificate together with the trust list.

        Args:
            identity: what was requested.
            enrolment: what the authority answered, over a channel that proves who answered.
            anchors: certificates of authorities that the device trusts already; empty means that the
                channel alone vouches for the list.

        Raises:
            EdgeloopError: something in it does not hold; nothing is changed then.
        """
        roots = anchors or self._known_roots(enrolment.trust)
        trust = self._newer(enrolment.trust, roots)
        key = self._files.pending_key()
        check_certificate(enrolment.chain, key, identity, trust, time.time())
        self._files.write_trust(enrolment.trust)
        self._files.write_identity(key, enrolment.chain)
        return trust

    def install(self, chain: str) -> None:
        """Install a renewed certificate.

        Raises:
            EdgeloopError: it is not for the pending key, or does not hold.
        """
        known = self._files.credentials()
        key = self._files.pending_key()
        check_certificate(chain, key, known.identity, known.trust, time.time())
        self._files.write_identity(key, chain)

    def update_trust(self, signed: SignedTrust) -> TrustList:
        """Take a trust list that an authority of the present one signed.

        Raises:
            UnauthenticatedError: none of them did.
            StateError: it is older than the present one, or of another fleet.
        """
        trust = self._newer(signed, self._files.trust_list().roots)
        self._files.write_trust(signed)
        return trust

    def sign_statement(self, statement: str) -> str:
        """Return the signature of the device's key over an in-toto statement, ECDSA in hexadecimal.

        The key also proves who speaks in a handshake: what is signed begins with the type of the statement, so that it
        can be taken for nothing else.
        """
        key = load_key(self._files.credentials().key)
        return key.sign(signed_bytes(statement.encode()), ec.ECDSA(hashes.SHA256())).hex()

    def _known_roots(self, signed: SignedTrust) -> tuple[str, ...]:
        return (
            self._files.trust_list().roots
            if self._files.enrolled
            else from_json(signed.payload, TrustList).roots
        )

    def _newer(self, signed: SignedTrust, roots: tuple[str, ...]) -> TrustList:
        trust = verified_trust(signed, roots)
        Identity(fleet=trust.fleet, role=Role.DEVICE, name="any")  # a fleet's name that is possible
        if self._files.enrolled:
            known = self._files.trust_list()
            if trust.fleet != known.fleet:
                raise StateError(f"the trust list is of fleet {trust.fleet}, this device of {known.fleet}.")
            if trust.number < known.number:
                raise StateError(
                    f"the trust list has number {trust.number}, this device has {known.number} already.",
                    next_step="Send the newest one.",
                )
        return trust
