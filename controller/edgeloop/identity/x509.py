"""Certificates as the fleet makes them: P-256, a role by URI and by extended key usage, short-lived."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import InvalidInputError, MissingDependencyError, UnauthenticatedError
from edgeloop_protocol.types.identity import DAY_S, LEAF_LIFE_S, Identity, Role

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

__all__ = [
    "BACKDATED_S",
    "ROOT_LIFE_S",
    "Signing",
    "check_request",
    "load_key",
    "need_cryptography",
    "new_key",
    "public_key_digest",
    "request_for",
]

ROOT_LIFE_S = 3650 * DAY_S

BACKDATED_S = 7 * DAY_S
"""How long before its issue a certificate is valid already: boards without a clock wake up in the past."""

_REQUEST_BYTES_MAX = 16 * 1024


def need_cryptography() -> None:
    """Say what to install where the package is missing.

    Raises:
        MissingDependencyError: it is.
    """
    try:
        import cryptography  # noqa: F401 - whether it is there
    except ImportError as error:
        raise MissingDependencyError(
            "the fleet's authority needs the package cryptography.", next_step="Install edgeloop[identity]."
        ) from error


def new_key(passphrase: str = "") -> tuple[ec.EllipticCurvePrivateKey, bytes]:
    """Return a new key and its PEM, encrypted if there is a passphrase."""
    need_cryptography()
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    lock: s.KeySerializationEncryption = s.NoEncryption()
    if passphrase:
        lock = s.BestAvailableEncryption(passphrase.encode())
    return key, key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, lock)


def load_key(pem: bytes, passphrase: str = "") -> ec.EllipticCurvePrivateKey:
    """Read a key.

    Raises:
        UnauthenticatedError: the passphrase is missing or wrong.
        InvalidInputError: it is no key of ours.
    """
    need_cryptography()
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem, passphrase.encode() if b"ENCRYPTED" in pem else None)
    except (ValueError, TypeError) as error:
        if b"ENCRYPTED" in pem:
            raise UnauthenticatedError(
                "the authority's key is locked and the passphrase does not open it.",
                next_step="Set EDGELOOP_CA_PASSPHRASE.",
            ) from error
        raise InvalidInputError("the authority's key file holds no private key.") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise InvalidInputError("the authority's key is not of an elliptic curve.")
    return key


def public_key_digest(key: ec.EllipticCurvePublicKey) -> str:
    """Return the SHA-256 of the SubjectPublicKeyInfo, in hexadecimal."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def request_for(identity: Identity, key: ec.EllipticCurvePrivateKey) -> str:
    """Return a request for a certificate that names exactly this identity."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding

    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    request = builder.add_extension(_names(identity), critical=True).sign(key, hashes.SHA256())
    return request.public_bytes(Encoding.PEM).decode()


def _names(identity: Identity) -> x509.SubjectAlternativeName:
    from cryptography import x509

    return x509.SubjectAlternativeName(
        [x509.UniformResourceIdentifier(identity.uri), x509.DNSName(identity.server_name)]
    )


def check_request(pem: str, identity: Identity) -> ec.EllipticCurvePublicKey:
    """Return the key of a request that is signed with it and names exactly one identity.

    Whatever else the request asks for is not granted: the authority writes every extension itself.

    Raises:
        InvalidInputError: it is no request, names something else, or its key is of another kind.
    """
    need_cryptography()
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    if len(pem) > _REQUEST_BYTES_MAX:
        raise InvalidInputError(f"the request for a certificate is longer than {_REQUEST_BYTES_MAX} bytes.")
    try:
        request = x509.load_pem_x509_csr(pem.encode())
        names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        key = request.public_key()
    except (ValueError, x509.ExtensionNotFound, UnicodeEncodeError) as error:
        raise InvalidInputError("this is no request for a certificate (PKCS #10, PEM) with names.") from error
    if not request.is_signature_valid:
        raise InvalidInputError("the request for a certificate is not signed with its own key.")
    if sorted(map(repr, names)) != sorted(map(repr, _names(identity))):
        asked = ", ".join(str(getattr(name, "value", name))[:200] for name in names)
        raise InvalidInputError(
            f"the request names {asked!a}, it is to name {identity.uri} and nothing else."
        )
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise InvalidInputError("the request's key is not of the curve P-256.")
    return key


class Signing:
    """One authority: a certificate and its key."""

    def __init__(self, certificate_pem: str, key: ec.EllipticCurvePrivateKey) -> None:
        from cryptography import x509

        #: The certificate, PEM.
        self.certificate_pem = certificate_pem
        self._certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
        self._key = key

    @classmethod
    def create(cls, fleet: str, number: int, key: ec.EllipticCurvePrivateKey, now_s: float) -> Signing:
        """Make a root that may sign leaves and nothing that signs."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.serialization import Encoding

        name = x509.Name(
            [x509.NameAttribute(x509.NameOID.COMMON_NAME, f"edgeloop {fleet} root {number}"[:64])]
        )
        builder = _builder(name, name, key.public_key(), now_s, now_s + ROOT_LIFE_S)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_usage(signs=True), critical=True)
        certificate = builder.sign(key, hashes.SHA256())
        return cls(certificate.public_bytes(Encoding.PEM).decode(), key)

    @property
    def public_key(self) -> str:
        """SHA-256 of its public key, in hexadecimal."""
        return public_key_digest(self._key.public_key())

    def issue(
        self, identity: Identity, key: ec.EllipticCurvePublicKey, now_s: float, life_s: float = LEAF_LIFE_S
    ) -> str:
        """Return a certificate, PEM: a server's for a device, a client's for everybody else."""
        serves = identity.role is Role.DEVICE
        return self._leaf(_names(identity), key, (now_s, now_s + life_s), serves=serves)

    def issue_server(
        self, names: Sequence[str], key: ec.EllipticCurvePublicKey, now_s: float, life_s: float
    ) -> str:
        """Return a certificate, PEM, for a listener that has DNS names or addresses and no identity."""
        from cryptography import x509

        found = x509.SubjectAlternativeName([_general_name(name) for name in dict.fromkeys(names)])
        return self._leaf(found, key, (now_s, now_s + life_s), serves=True)

    def _leaf(
        self,
        names: x509.SubjectAlternativeName,
        key: ec.EllipticCurvePublicKey,
        span_s: tuple[float, float],
        *,
        serves: bool,
    ) -> str:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.serialization import Encoding
        from cryptography.x509.oid import ExtendedKeyUsageOID as Usage

        builder = _builder(x509.Name([]), self._certificate.subject, key, *span_s)
        builder = builder.add_extension(names, critical=True)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(signs=False), critical=True)
        usage = Usage.SERVER_AUTH if serves else Usage.CLIENT_AUTH
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()

    def signature(self, payload: str) -> str:
        """Return an ECDSA signature over text, in hexadecimal."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        return self._key.sign(payload.encode(), ec.ECDSA(hashes.SHA256())).hex()


def _general_name(name: str) -> x509.GeneralName:
    """Return a name as it stands in a certificate: an address as such, anything else as a DNS name."""
    import ipaddress

    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now_s: float, until_s: float
) -> x509.CertificateBuilder:
    from cryptography import x509

    now = datetime.fromtimestamp(now_s, timezone.utc)
    return (
        x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number())
        .not_valid_before(now - timedelta(seconds=BACKDATED_S))
        .not_valid_after(datetime.fromtimestamp(until_s, timezone.utc))
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )
