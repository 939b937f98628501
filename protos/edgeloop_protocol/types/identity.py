"""Who somebody is in a fleet, and whom the fleet trusts."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from edgeloop_foundation.errors import InvalidInputError

__all__ = [
    "DAY_S",
    "JOIN_SERVER_NAME",
    "LEAF_LIFE_S",
    "RENEWAL_DUE_S",
    "Enrolment",
    "Identity",
    "IdentityStatus",
    "Revoked",
    "Role",
    "SignedTrust",
    "TrustList",
]

DAY_S = 86_400.0
LEAF_LIFE_S = 30 * DAY_S
"""How long a certificate of a device, controller or observer is valid after it was issued."""

RENEWAL_DUE_S = LEAF_LIFE_S / 3
"""A certificate with less life than this left is renewed: at two thirds of its life."""

JOIN_SERVER_NAME = "join.edgeloop.internal"
"""DNS name in the certificate of a controller that waits for a device with a join token."""

# Labels of DNS (RFC 1035): both also become part of the name in the certificate.
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_SCHEME = "spiffe://"
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Role(enum.Enum):
    """What a certificate entitles to."""

    DEVICE = "device"
    CONTROLLER = "controller"
    OBSERVER = "observer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A name with a role in one fleet; in a certificate it is the one URI, ``spiffe://FLEET/ROLE/NAME``."""

    #: Name of the fleet.
    fleet: str
    #: Role in it.
    role: Role
    #: Name, unique among those of that role.
    name: str

    def __post_init__(self) -> None:
        for what, text in (("fleet", self.fleet), ("name", self.name)):
            if not _LABEL.fullmatch(text):
                raise InvalidInputError(
                    f"{what} {text[:80]!r} is not possible: 1 to 63 lower-case letters, digits and inner hyphens."
                )

    @property
    def uri(self) -> str:
        """The text in certificates."""
        return f"{_SCHEME}{self.fleet}/{self.role.value}/{self.name}"

    @property
    def server_name(self) -> str:
        """The DNS name in certificates: it stays when the address changes, and no public server can have it."""
        return f"{self.name}.{self.role.value}.{self.fleet}.edgeloop.internal"

    @classmethod
    def parse(cls, uri: str) -> Identity:
        """Read a URI.

        Raises:
            InvalidInputError: it is none of ours.
        """
        parts = uri.removeprefix(_SCHEME).split("/")
        roles = {role.value: role for role in Role}
        if not uri.startswith(_SCHEME) or len(parts) != 3 or parts[1] not in roles:
            raise InvalidInputError(
                f"{uri[:200]!r} is no identity of a fleet; one is {_SCHEME}FLEET/{'|'.join(roles)}/NAME."
            )
        return cls(fleet=parts[0], role=roles[parts[1]], name=parts[2])


def _checked_digest(text: str) -> None:
    if not _DIGEST.fullmatch(text):
        raise InvalidInputError(f"{text[:80]!r} is no SHA-256 in 64 hexadecimal digits.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """A key that is not trusted any more."""

    #: SHA-256 of its SubjectPublicKeyInfo, in hexadecimal.
    public_key: str
    #: Whose it was, for people.
    uri: str
    #: When its last certificate runs out, in seconds since 1970; afterwards the entry may go.
    until_s: float

    def __post_init__(self) -> None:
        _checked_digest(self.public_key)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustList:
    """The authorities and the revoked keys of a fleet, complete; a higher number replaces a lower one."""

    #: Name of the fleet.
    fleet: str
    #: Rises with every change.
    number: int
    #: When it was signed, in seconds since 1970; no clock that is right shows less.
    issued_s: float
    #: Certificates of the authorities, PEM; two during a rollover.
    roots: tuple[str, ...]
    #: Keys that are refused.
    revoked: tuple[Revoked, ...] = ()

    def __post_init__(self) -> None:
        if self.number < 1 or not self.roots or self.issued_s < 0:
            raise InvalidInputError("a trust list has a number above 0, a time and at least one authority.")


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedTrust:
    """A trust list as it travels and as it is kept."""

    #: Canonical JSON of the trust list, the bytes that are signed.
    payload: str
    #: ECDSA signatures over its UTF-8 with SHA-256, in hexadecimal, one of each authority's key.
    signatures: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """What a device is given when its certificate was signed."""

    #: Its certificate chain, PEM, its own first.
    chain: str
    #: The fleet's trust list, signed.
    trust: SignedTrust


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityStatus:
    """How an agent stands in its fleet."""

    #: Its identity; empty when it is not enrolled.
    uri: str = ""
    #: SHA-256 of its public key; empty when it is not enrolled.
    public_key: str = ""
    #: When its certificate runs out, in seconds since 1970; absent when it is not enrolled.
    not_after_s: float | None = None
    #: Number of its trust list; 0 when it is not enrolled.
    trust_number: int = 0
    #: Its clock, in seconds since 1970.
    wall_time_s: float = 0.0
    #: False when its clock shows a time before the trust list was signed.
    clock_trusted: bool = True
