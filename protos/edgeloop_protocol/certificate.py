"""What both sides must know of a certificate without a library: its public key, its names, its last moment.

Only for certificates whose signature somebody has verified: this reads where the fields stand (RFC 5280, DER),
it does not judge them.
"""

from __future__ import annotations

import base64
import binascii
import calendar
import hashlib
import re
from dataclasses import dataclass

from edgeloop_foundation.errors import InvalidInputError

__all__ = ["CertificateFields", "certificates_in", "private_keys_in", "read_certificate"]

_PEM = re.compile(r"-----BEGIN ([A-Z ]+)-----[^-]+-----END \1-----\n?")
_CONTEXT_0, _CONTEXT_3, _URI = 0xA0, 0xA3, 0x86
_UTC_TIME, _OCTETS = 0x17, 0x04
# id-ce-subjectAltName, 2.5.29.17, as DER.
_SUBJECT_ALT_NAME = bytes.fromhex("0603551d11")


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFields:
    """Some fields of a certificate."""

    #: SHA-256 of its SubjectPublicKeyInfo, in hexadecimal.
    public_key: str
    #: Name of who signed it, as DER.
    issuer: bytes
    #: First moment of its validity, in seconds since 1970.
    not_before_s: float
    #: Last moment of its validity, in seconds since 1970.
    not_after_s: float
    #: Its URIs.
    uris: tuple[str, ...]


def certificates_in(pem: str) -> tuple[str, ...]:
    """Return every certificate of a PEM text, each as PEM."""
    return _blocks(pem, "CERTIFICATE")


def private_keys_in(pem: str) -> tuple[str, ...]:
    """Return every private key of a PEM text, each as PEM."""
    return _blocks(pem, "PRIVATE KEY")


def _blocks(pem: str, kind: str) -> tuple[str, ...]:
    found = (match for match in _PEM.finditer(pem) if match[1].endswith(kind))
    return tuple(match[0].rstrip("\n") + "\n" for match in found)


def read_certificate(certificate: str | bytes) -> CertificateFields:
    """Return fields of a certificate, PEM text or DER bytes.

    Raises:
        InvalidInputError: it is none.
    """
    try:
        der = _der_of(certificate) if isinstance(certificate, str) else certificate
        return _fields(der)
    except (IndexError, ValueError, binascii.Error) as error:
        raise InvalidInputError("this is no X.509 certificate.") from error


def _der_of(pem: str) -> bytes:
    body = certificates_in(pem)[0].splitlines()[1:-1]
    return base64.b64decode("".join(body), validate=True)


def _element(data: bytes, at: int) -> tuple[int, int, int]:
    """Return tag, begin and end of the content of the element at an offset."""
    tag, length, begin = data[at], data[at + 1], at + 2
    if length & 0x80:
        count = length & 0x7F
        length = int.from_bytes(data[begin : begin + count], "big")
        begin += count
    if begin + length > len(data):
        raise ValueError("an element is longer than what holds it")
    return tag, begin, begin + length


def _children(data: bytes) -> list[tuple[int, bytes, bytes]]:
    """Return tag, whole bytes and content of the elements that follow each other in ``data``."""
    found, at = [], 0
    while at < len(data):
        tag, begin, end = _element(data, at)
        found.append((tag, data[at:end], data[begin:end]))
        at = end
    return found


def _fields(der: bytes) -> CertificateFields:
    outer = _children(der)[0][2]
    fields = _children(_children(outer)[0][2])
    if fields[0][0] == _CONTEXT_0:
        fields = fields[1:]
    # serial, signature algorithm, issuer, validity, subject, public key, then optional ones.
    validity = _children(fields[3][2])
    extensions = next((content for tag, _, content in fields[6:] if tag == _CONTEXT_3), b"")
    return CertificateFields(
        public_key=hashlib.sha256(fields[5][1]).hexdigest(),
        issuer=fields[2][1],
        not_before_s=_time(validity[0]),
        not_after_s=_time(validity[1]),
        uris=tuple(_uris(extensions)),
    )


def _time(element: tuple[int, bytes, bytes]) -> float:
    tag, _, content = element
    text = content.decode("ascii")
    if tag == _UTC_TIME:
        text = ("19" if int(text[:2]) >= 50 else "20") + text
    parts = [int(text[:4]), *(int(text[i : i + 2]) for i in range(4, 14, 2))]
    return float(calendar.timegm((*parts, 0, 0, 0)))


def _uris(extensions: bytes) -> list[str]:
    if not extensions:
        return []
    for _, _, extension in _children(_children(extensions)[0][2]):
        if extension.startswith(_SUBJECT_ALT_NAME):
            value = next(content for tag, _, content in _children(extension) if tag == _OCTETS)
            names = _children(_children(value)[0][2])
            return [content.decode("ascii") for tag, _, content in names if tag == _URI]
    return []
