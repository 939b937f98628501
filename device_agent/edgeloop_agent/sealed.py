"""Small JSON files that know whether the disk changed them: one line of JSON, one line with its SHA-256."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from edgeloop_foundation.errors import CorruptDataError

__all__ = ["seal", "unseal", "unseal_object"]


def seal(body: bytes) -> bytes:
    """Return ``body``, which holds no line break, with its SHA-256 in a second line."""
    return body + b"\n" + hashlib.sha256(body).hexdigest().encode() + b"\n"


def unseal(data: bytes) -> bytes:
    """Return the body of sealed data.

    Raises:
        CorruptDataError: it does not match its SHA-256, or a part is missing.
    """
    body, _, check = data.removesuffix(b"\n").rpartition(b"\n")
    if not data.endswith(b"\n") or hashlib.sha256(body).hexdigest().encode() != check:
        raise CorruptDataError("the file does not match the SHA-256 at its end.")
    return body


def unseal_object(data: bytes) -> dict[str, Any]:
    """Return the JSON object in sealed data.

    Raises:
        CorruptDataError: it is spoiled or holds something else.
    """
    try:
        tree = json.loads(unseal(data))
    except ValueError as error:
        raise CorruptDataError(f"the file is not what it was: {error}") from error
    if not isinstance(tree, dict):
        raise CorruptDataError(f"the file holds a {type(tree).__name__}, not an object.")
    return tree
