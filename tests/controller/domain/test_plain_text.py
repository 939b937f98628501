"""Hostile text on a terminal."""

from __future__ import annotations

import pytest
from edgeloop.domain.plain_text import plain_text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Küche 3 – 好", "Küche 3 – 好"),
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("a\r\nb\x00", "a\\x0d\\x0ab\\x00"),
        ("a\u202eb\u2028", "a\\u202eb\\u2028"),
        ("\U000e0041", "\\U000e0041"),
        ("\udc80", "\\udc80"),
        ("abcdef", "abcd…"),
    ],
)
def test_what_does_more_than_show_is_escaped(text: str, shown: str) -> None:
    assert plain_text(text, 4 if text == "abcdef" else 400) == shown
