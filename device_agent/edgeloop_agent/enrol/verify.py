"""What a device checks before it believes a trust list or a certificate."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from edgeloop_foundation.errors import InvalidInputError, StateError
from edgeloop_protocol.certificate import certificates_in
from edgeloop_protocol.convert.json import from_json
from edgeloop_protocol.types.identity import Identity, SignedTrust, TrustList

from edgeloop_agent.enrol.keys import load_key

__all__ = ["check_certificate", "public_key_digest", "verified_trust"]


def public_key_digest(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of a certificate's SubjectPublicKeyInfo, in hexadecimal."""
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()


def _load(pem: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem.encode())
    except ValueError as error:
        raise InvalidInputError("this is no certificate in PEM.") from error


def verified_trust(signed: SignedTrust, roots: Iterable[str]) -> TrustList:
    """Return the trust list, if the key of one of these authorities signed it.

    Raises:
        InvalidInputError: none did.
        InvalidInputError: signed, but not a trust list.
    """
    keys = [_load(root).public_key() for root in roots]
    if not any(_signed_by(key, signed) for key in keys):
        raise InvalidInputError(
            "the trust list was not signed by an authority that this device trusts.",
            next_step="Enrol the device with the authority that it is to belong to.",
        )
    return from_json(signed.payload, TrustList)


def _signed_by(key: object, signed: SignedTrust) -> bool:
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return False
    for text in signed.signatures:
        try:
            key.verify(bytes.fromhex(text), signed.payload.encode(), ec.ECDSA(hashes.SHA256()))
        except (InvalidSignature, ValueError):
            continue
        return True
    return False


def check_certificate(
    chain: str, key_pem: str, identity: Identity, trust: TrustList, now_s: float
) -> x509.Certificate:
    """Check that a chain is this identity's, for this key, by an authority of the trust list; return its first.

    A clock that shows less than the time at which the trust list was signed is wrong; the later of the two counts.

    Raises:
        InvalidInputError: there is no certificate in it, or it is not for this key or this identity.
        InvalidInputError: no authority of the trust list signed it, or its key is revoked.
        StateError: it has run out.
    """
    certificates = [_load(pem) for pem in certificates_in(chain)]
    if not certificates:
        raise InvalidInputError("there is no certificate in what the authority sent.")
    leaf = certificates[0]
    if leaf.public_key() != load_key(key_pem).public_key():
        raise InvalidInputError("the certificate is for another key than the device's.")
    _check_names(leaf, identity)
    if not any(_issued_by(leaf, _load(root)) for root in trust.roots):
        raise InvalidInputError("the certificate was not signed by an authority of the trust list.")
    if public_key_digest(leaf) in {revoked.public_key for revoked in trust.revoked}:
        raise InvalidInputError("the certificate's key is revoked.")
    if leaf.not_valid_after_utc.timestamp() <= max(now_s, trust.issued_s):
        raise StateError("the certificate has run out already.", next_step="Set both clocks right.")
    return leaf


def _issued_by(leaf: x509.Certificate, root: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _check_names(leaf: x509.Certificate, identity: Identity) -> None:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (x509.ExtensionNotFound, ValueError) as error:
        raise InvalidInputError("the certificate names nobody or no usage.") from error
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if uris != [identity.uri] or list(usage) != [ExtendedKeyUsageOID.SERVER_AUTH]:
        raise InvalidInputError(f"the certificate is not that of {identity.uri} as a server.")
