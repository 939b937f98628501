"""A state directory with deployments, and serving processes on it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from edgeloop_agent.served_models import ServedModels
from edgeloop_foundation.ports.fs import OsFileSystem
from edgeloop_foundation.ports.process import SystemProcesses
from edgeloop_protocol.types.serving import ServingSpec, ServingState, ServingStatus

from scripts.bench.serving_slots import SlotBoard


@pytest.fixture
def board(tmp_path: Path) -> SlotBoard:
    return SlotBoard(tmp_path / "state")


def models_of(board: SlotBoard) -> ServedModels:
    return ServedModels(OsFileSystem(), board.state, board.slots, SystemProcesses())


async def until_ready(served: ServedModels, counter: int = 0, timeout_s: float = 90.0) -> ServingStatus:
    """Wait until the only deployment answers, with the version of ``counter`` if one is given."""
    async with asyncio.timeout(timeout_s):
        while True:
            (status,) = served.list()
            if status.state is ServingState.READY and counter in (0, status.counter):
                return status
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def serving(board: SlotBoard, spec: ServingSpec) -> AsyncIterator[tuple[ServedModels, ServingStatus]]:
    """Serve one deployment, warm, until the end."""
    served = models_of(board)
    try:
        await served.serve(spec)
        yield served, await until_ready(served)
    finally:
        await served.stop()
