"""Parity certificates, verified offline: everything that is needed stands in the file, except whom to trust.

Refused is what is no envelope, was changed, or was signed by another key than the certificate's; whose certificate no
trusted root issued, names another device or is revoked; what has run out, and what does not say that parity held.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import InvalidInputError, StateError, UnauthenticatedError
from edgeloop_protocol.certificate import certificates_in, read_certificate
from edgeloop_protocol.envelope import Envelope, read_statement, signed_bytes
from edgeloop_protocol.types.attestation import ParityStatement
from edgeloop_protocol.types.identity import Identity, Role
from edgeloop_protocol.types.run import Verdict

from edgeloop.identity.x509 import need_cryptography

if TYPE_CHECKING:
    from cryptography import x509

__all__ = ["Trusted", "verify_certificate"]

_CLOCK_SKEW_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trusted:
    """Whom the reader of a certificate trusts."""

    #: Certificates of the authorities, PEM.
    roots: tuple[str, ...]
    #: SHA-256 of the public keys that are revoked.
    revoked: tuple[str, ...] = ()


def verify_certificate(text: str | bytes, trusted: Trusted, now_s: float) -> ParityStatement:
    """Return what a device stated.

    Args:
        text: the file.
        trusted: authorities and revoked keys.
        now_s: time, seconds since 1970.

    Raises:
        InvalidInputError: it is no parity certificate.
        UnauthenticatedError: it was changed, or nobody who is trusted stands behind it.
        StateError: it has run out, is from the future, or states that parity does not hold.
    """
    need_cryptography()
    envelope = Envelope.parse(text)
    leaf = _leaf(envelope.chain)
    _check_issuer(leaf, trusted.roots)
    key_digest = read_certificate(certificates_in(envelope.chain)[0]).public_key
    if key_digest in _lower(trusted.revoked):
        raise UnauthenticatedError("the key that signed it is revoked.", next_step="Have a new one signed.")
    _check_signature(leaf, envelope)
    statement = read_statement(envelope.payload)
    _check_identity(leaf, statement)
    _check_times(leaf, statement, now_s)
    _check_parity(statement)
    return statement


def _lower(digests: Collection[str]) -> frozenset[str]:
    return frozenset(digest.lower() for digest in digests)


def _leaf(chain: str) -> x509.Certificate:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(certificates_in(chain)[0].encode())
    except (ValueError, IndexError) as error:
        raise InvalidInputError("the envelope brings no certificate of its key.") from error


def _check_issuer(leaf: x509.Certificate, roots: Sequence[str]) -> None:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    for pem in roots:
        try:
            leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(pem.encode()))
        except (ValueError, TypeError, InvalidSignature):
            continue
        return
    raise UnauthenticatedError(
        "no authority that is trusted here issued the device's certificate.",
        next_step="Name the root of its fleet with --root FILE.",
    )


def _check_signature(leaf: x509.Certificate, envelope: Envelope) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    key = leaf.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise UnauthenticatedError("the device's key is not of an elliptic curve.")
    try:
        key.verify(envelope.signature, signed_bytes(envelope.payload), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise UnauthenticatedError(
            "the signature is not that of the device: the certificate was changed after it was signed."
        ) from error


def _check_identity(leaf: x509.Certificate, statement: ParityStatement) -> None:
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        usage = list(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except (x509.ExtensionNotFound, ValueError) as error:
        raise UnauthenticatedError("the device's certificate names nobody.") from error
    if uris != [statement.identity] or usage != [ExtendedKeyUsageOID.SERVER_AUTH]:
        signer = ", ".join(uris) or "nobody"
        raise UnauthenticatedError(f"it speaks for {statement.identity or 'nobody'}, and {signer} signed it.")
    if Identity.parse(statement.identity).role is not Role.DEVICE:
        raise UnauthenticatedError(f"{statement.identity} is no device.")


def _check_times(leaf: x509.Certificate, statement: ParityStatement, now_s: float) -> None:
    begins, ends = leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
    if not begins <= statement.issued_s < statement.expires_s <= ends:
        raise UnauthenticatedError("it was to hold outside the life of the device's certificate.")
    if statement.issued_s > now_s + _CLOCK_SKEW_S:
        raise StateError("it is from the future.", next_step="Set the clocks of device and reader right.")
    if now_s >= statement.expires_s:
        raise StateError("it has run out.", next_step="Have a new one signed: edgeloop certificate issue.")


def _check_parity(statement: ParityStatement) -> None:
    verdicts = {one.against: one.verdict for one in statement.parity.comparisons}
    if verdicts.get("host") is not Verdict.PASSED or Verdict.FAILED in verdicts.values():
        raise StateError(f"it does not state that parity holds on {statement.device_name}.")
    for comparison in statement.parity.comparisons:
        outside = [output.name for output in comparison.outputs if not output.within_tolerance]
        if comparison.verdict is Verdict.PASSED and comparison.decision is None and outside:
            raise StateError(f"it states a parity that output {outside[0]} contradicts.")
