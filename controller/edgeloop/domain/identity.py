"""Where the identity of a controller or an observer stands, and who signs for devices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgeloop_protocol.types.identity import Enrolment, Identity

__all__ = ["HOLDER_DIRECTORY", "HolderFiles", "Signer"]

HOLDER_DIRECTORY = "identity"
"""Name of the directory below the controller's home."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HolderFiles:
    """The directory that a controller or an observer is given."""

    #: Its place.
    directory: Path

    @property
    def identity(self) -> Path:
        """Key and certificate chain in one file, mode 0600."""
        return self.directory / "identity.pem"

    @property
    def roots(self) -> Path:
        """The authorities of the fleet, PEM."""
        return self.directory / "roots.pem"

    @property
    def trust(self) -> Path:
        """The fleet's trust list as it was signed."""
        return self.directory / "trust.json"

    @property
    def there(self) -> bool:
        """Whether there is an identity."""
        return self.identity.is_file()


class Signer(Protocol):
    """The fleet's authority, as far as enrolling and renewing needs it."""

    def sign(self, request_pem: str, identity: Identity) -> Enrolment:
        """Return the certificate for a request that names exactly this identity, with the trust list."""
        ...
