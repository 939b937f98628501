"""Text of others on a terminal: nothing in it may move the cursor, change direction or hide."""

from __future__ import annotations

import unicodedata

__all__ = ["plain_text"]

_LENGTH_MAX = 400


def plain_text(text: str, length_max: int = _LENGTH_MAX) -> str:
    """Return the text with control, format and unassigned characters shown as escapes, cut to a length.

    Args:
        text: from anybody.
        length_max: characters that are kept; a longer text ends in "…".
    """
    cut = text[:length_max]
    shown = "".join(
        character
        if unicodedata.category(character)[0] not in "CZ" or character == " "
        else _escape(character)
        for character in cut
    )
    return shown + "…" if len(text) > length_max else shown


def _escape(character: str) -> str:
    number = ord(character)
    return (
        f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}" if number < 65536 else f"\\U{number:08x}"
    )
