"""An authority and a device that asks it."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgeloop.identity.authority import Authority
from edgeloop_agent.enrol.steps import Steps
from edgeloop_protocol.types.identity import Identity, Role

DEVICE = Identity(fleet="lab", role=Role.DEVICE, name="pi")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path / "authority", "lab")


@pytest.fixture
def steps(tmp_path: Path) -> Steps:
    return Steps(tmp_path / "state")


@pytest.fixture
def enrolled(authority: Authority, steps: Steps) -> Steps:
    steps.enrol(DEVICE, authority.sign(steps.request(DEVICE), DEVICE))
    return steps
