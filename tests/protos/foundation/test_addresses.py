"""Which hosts only this machine reaches."""

from __future__ import annotations

import pytest
from edgeloop_foundation.addresses import is_loopback


@pytest.mark.parametrize(
    ("host", "wanted"),
    [
        ("localhost", True), ("127.0.0.1", True), ("127.8.9.10", True), ("::1", True), ("0.0.0.0", False),
        ("::", False), ("192.168.0.7", False), ("localhost.example", False), ("", False),
    ],
)  # fmt: skip
def test_loopback(host: str, wanted: bool) -> None:
    assert is_loopback(host) is wanted
