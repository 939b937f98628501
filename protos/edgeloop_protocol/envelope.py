"""Signed statements in the forms that others know too: an in-toto statement (v1) in a DSSE envelope (v1).

The signature is over the type and the length of the payload as well (DSSE's pre-authentication encoding), so that it
cannot be taken for one over anything else. The certificate of the key travels beside the signature.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass

from edgeloop_foundation.errors import InvalidInputError

from edgeloop_protocol.convert.json import from_json, to_canonical_json, to_json
from edgeloop_protocol.types.attestation import ParityStatement

__all__ = ["PAYLOAD_TYPE", "PREDICATE_TYPE", "Envelope", "read_statement", "signed_bytes", "statement_text"]

PAYLOAD_TYPE = "application/vnd.in-toto+json"
PREDICATE_TYPE = "urn:edgeloop:parity:v1"
_STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
_BYTES_MAX = 1 << 20


def signed_bytes(payload: bytes) -> bytes:
    """Return what is signed for a payload."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """One statement with one signature."""

    #: The statement, canonical JSON.
    payload: bytes
    #: SHA-256 of the public key, in hexadecimal; a hint.
    key_id: str
    #: ECDSA over P-256 and SHA-256, DER.
    signature: bytes
    #: Certificate chain of the key, PEM.
    chain: str

    def to_text(self) -> str:
        """Return the envelope as JSON."""
        signature = {
            "keyid": self.key_id,
            "sig": base64.b64encode(self.signature).decode(),
            "certificate": self.chain,
        }
        tree = {
            "payloadType": PAYLOAD_TYPE,
            "payload": base64.b64encode(self.payload).decode(),
            "signatures": [signature],
        }
        return json.dumps(tree, indent=1)

    @classmethod
    def parse(cls, text: str | bytes) -> Envelope:
        """Read an envelope; its signature is not checked here.

        Raises:
            InvalidInputError: it is none, it is too long, or it holds something else than one signed statement.
        """
        if len(text) > _BYTES_MAX:
            raise InvalidInputError(f"the certificate is longer than {_BYTES_MAX} bytes.")
        try:
            tree = json.loads(text)
            (signature,) = tree["signatures"]
            if tree["payloadType"] != PAYLOAD_TYPE:
                raise InvalidInputError(f"the envelope holds {tree['payloadType']!r}, not {PAYLOAD_TYPE}.")
            return cls(
                payload=base64.b64decode(tree["payload"], validate=True),
                key_id=str(signature["keyid"]),
                signature=base64.b64decode(signature["sig"], validate=True),
                chain=str(signature["certificate"]),
            )
        except InvalidInputError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, binascii.Error) as error:
            raise InvalidInputError(
                f"this is no DSSE envelope with one signature ({type(error).__name__})."
            ) from error


def statement_text(statement: ParityStatement) -> str:
    """Return the in-toto statement, canonical JSON."""
    tree = {
        "_type": _STATEMENT_TYPE,
        "subject": [{"name": statement.deployment, "digest": {"sha256": statement.artifact_digest}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": to_json(statement),
    }
    return to_canonical_json(tree).decode()


def read_statement(payload: str | bytes) -> ParityStatement:
    """Return what a payload states.

    Raises:
        InvalidInputError: it is another statement, or its subject is not what it states.
    """
    try:
        tree = json.loads(payload)
        kinds = (tree["_type"], tree["predicateType"])
        statement = from_json(tree["predicate"], ParityStatement)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, InvalidInputError):
            raise
        raise InvalidInputError(f"this is no in-toto statement ({type(error).__name__}).") from error
    if kinds != (_STATEMENT_TYPE, PREDICATE_TYPE):
        raise InvalidInputError(f"this states {kinds[1]!r}, not {PREDICATE_TYPE}.")
    again = json.loads(statement_text(statement))
    if again["subject"] != tree.get("subject"):
        raise InvalidInputError("the statement is about another artifact than it says.")
    return statement
