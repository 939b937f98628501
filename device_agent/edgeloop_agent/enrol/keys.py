"""Keys and requests for certificates."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from edgeloop_foundation.errors import CorruptDataError
from edgeloop_protocol.types.identity import Identity

__all__ = ["load_key", "new_key", "request_for"]


def new_key() -> str:
    """Return a new private key, PEM; of the curve that every TLS library takes in certificates."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def load_key(pem: str) -> ec.EllipticCurvePrivateKey:
    """Read a key that ``new_key`` made.

    Raises:
        CorruptDataError: it is none.
    """
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError) as error:
        raise CorruptDataError("the device's key file holds no private key.") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CorruptDataError("the device's key is not of an elliptic curve.")
    return key


def request_for(identity: Identity, key_pem: str) -> str:
    """Return the request for a certificate, PKCS #10 as PEM, that names exactly this identity."""
    names = x509.SubjectAlternativeName(
        [x509.UniformResourceIdentifier(identity.uri), x509.DNSName(identity.server_name)]
    )
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    request = builder.add_extension(names, critical=True).sign(load_key(key_pem), hashes.SHA256())
    return request.public_bytes(Encoding.PEM).decode()
