"""Files of an identity: damaged is never taken for new."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgeloop_agent.device_identity import DeviceIdentity
from edgeloop_agent.enrol.steps import Steps
from edgeloop_agent.identity_files import IdentityFiles
from edgeloop_foundation.errors import CorruptDataError, NotFoundError
from edgeloop_foundation.ports.clock import SystemClock
from edgeloop_foundation.ports.fs import OsFileSystem
from edgeloop_foundation.ports.process import SystemProcesses

from tests.device_agent.enrol.conftest import authority, enrolled, steps

__all__ = ["authority", "enrolled", "steps"]


def test_a_device_without_files_is_not_enrolled(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"not enrolled.*edgeloop device enrol"):
        IdentityFiles(OsFileSystem(), tmp_path).credentials()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("identity.pem", None),
        ("identity.pem", ""),
        ("identity.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        ("trust.json", None),
        ("trust.json", "{}"),
        ("trust.json", "nothing"),
        ("trust.json", "\0" * 300),
    ],
)
def test_an_agent_with_a_damaged_identity_does_not_start_as_a_new_one(
    name: str, content: str | None, enrolled: Steps, tmp_path: Path
) -> None:
    path = tmp_path / "state" / "identity" / name
    path.unlink()
    if content is not None:
        path.write_text(content)
    identity = DeviceIdentity(OsFileSystem(), SystemClock(), tmp_path / "state", SystemProcesses())
    assert identity.enrolled
    with pytest.raises(CorruptDataError, match=r"cannot be used.*enrol the device again"):
        identity.open()
