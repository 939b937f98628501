from __future__ import annotations

import getpass
import os

import pytest
from edgeloop.orchestrate.leasing import holder_name


def test_a_user_without_a_name_holds_a_lease_under_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.setattr(getpass, "getuser", nameless)
    assert holder_name().startswith(f"user {os.getuid()}@")
