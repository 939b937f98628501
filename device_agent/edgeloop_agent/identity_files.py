"""The files of an enrolled device, read by the daemon and written by the program that enrols.

``identity.pem``  the key and the certificate chain in one file, so that a change of both is one rename
``pending.pem``   a key whose certificate is still to come
``trust.json``    the fleet's trust list as it was signed; its signature was verified before it was written
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeloop_foundation.errors import CorruptDataError, InvalidInputError, NotFoundError
from edgeloop_foundation.ports.fs import FileSystem, make_durable_directory, write_durably
from edgeloop_protocol.certificate import (
    CertificateFields,
    certificates_in,
    private_keys_in,
    read_certificate,
)
from edgeloop_protocol.convert.json import from_json, to_canonical_json
from edgeloop_protocol.types.identity import Identity, SignedTrust, TrustList

__all__ = ["DIRECTORY", "Credentials", "IdentityFiles"]

DIRECTORY = "identity"
"""Name of the directory below the agent's state."""

# A chain of two, a key, a list of some thousand revoked keys.
_FILE_BYTES_MAX = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a listener needs and what the agent says about itself."""

    #: Private key, PEM.
    key: str
    #: Certificate chain, PEM.
    chain: str
    #: Whose they are.
    identity: Identity
    #: Fields of the first certificate.
    certificate: CertificateFields
    #: Whom the device trusts.
    trust: TrustList


class IdentityFiles:
    """One directory."""

    def __init__(self, fs: FileSystem, directory: Path) -> None:
        self._fs = fs
        self._directory = directory
        #: Key and chain.
        self.identity = directory / "identity.pem"
        #: A key without a certificate yet.
        self.pending = directory / "pending.pem"
        #: The trust list.
        self.trust = directory / "trust.json"

    @property
    def enrolled(self) -> bool:
        """Whether there is an identity, readable or not."""
        return self._fs.exists(self.identity) or self._fs.exists(self.trust)

    def credentials(self) -> Credentials:
        """Read everything.

        Raises:
            NotFoundError: the device is not enrolled.
            CorruptDataError: a file is missing or damaged; that is never taken for a device that is new.
        """
        if not self.enrolled:
            raise NotFoundError(
                f"this device is not enrolled: there is no {self.identity}.",
                next_step="Enrol it: edgeloop device enrol NAME.",
            )
        text = self._text(self.identity)
        keys, chain = private_keys_in(text), certificates_in(text)
        if len(keys) != 1 or not chain:
            raise self._lost(self.identity, "it holds no key with a certificate")
        try:
            fields = read_certificate(chain[0])
            identity = Identity.parse(fields.uris[0] if fields.uris else "")
        except InvalidInputError as error:
            raise self._lost(self.identity, str(error)) from error
        return Credentials(
            key=keys[0],
            chain="".join(chain),
            identity=identity,
            certificate=fields,
            trust=self.trust_list(),
        )

    def trust_list(self) -> TrustList:
        """Read the trust list.

        Raises:
            CorruptDataError: it is missing or damaged.
        """
        try:
            return from_json(from_json(self._text(self.trust), SignedTrust).payload, TrustList)
        except InvalidInputError as error:
            raise self._lost(self.trust, str(error)) from error

    def pending_key(self) -> str:
        """Read the key that waits for its certificate.

        Raises:
            NotFoundError: none does.
            CorruptDataError: it cannot be read.
        """
        if not self._fs.exists(self.pending):
            raise NotFoundError("no key waits for a certificate.", next_step="Request one first.")
        return self._text(self.pending)

    def write_pending(self, key: str) -> None:
        """Keep a key until its certificate comes."""
        make_durable_directory(self._fs, self._directory)
        write_durably(self._fs, self.pending, key.encode())

    def write_identity(self, key: str, chain: str) -> None:
        """Replace key and chain at once; the pending key is done with."""
        write_durably(self._fs, self.identity, (key + chain).encode())
        self._fs.remove(self.pending)

    def write_trust(self, signed: SignedTrust) -> None:
        """Replace the trust list."""
        make_durable_directory(self._fs, self._directory)
        write_durably(self._fs, self.trust, to_canonical_json(signed))

    def _text(self, path: Path) -> str:
        try:
            if self._fs.size(path) > _FILE_BYTES_MAX:
                raise self._lost(path, f"it is longer than {_FILE_BYTES_MAX} bytes")
            return self._fs.read(path).decode()
        except (OSError, UnicodeDecodeError) as error:
            raise self._lost(path, str(getattr(error, "strerror", None) or error)) from error

    def _lost(self, path: Path, why: str) -> CorruptDataError:
        return CorruptDataError(
            f"the identity of this device cannot be used: {path}: {why}.",
            next_step=f"Remove {self._directory} and enrol the device again.",
        )
