"""What every transport promises, whatever its driver lets through."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
from edgeloop.domain.device import DeviceSpec
from edgeloop.transport import base
from edgeloop.transport.base import BUILTIN, TRANSPORTS, Transport, connect
from edgeloop.transport.client import AgentClient
from edgeloop_foundation.errors import DeadlineError, NotFoundError, UnavailableError, UnsupportedError

SPEC = DeviceSpec(name="bench", transport="broken")


class Broken(Transport):
    """Fails as told."""

    name: ClassVar[str] = "broken"

    def __init__(self, error: BaseException | AgentClient) -> None:
        super().__init__(SPEC, Path("unused"))
        self.outcome = error
        self.closed = 0

    async def _open(self) -> AgentClient:
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome

    async def _close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize(
    ("raised", "promised"),
    [
        (OSError(111, "Connection refused"), UnavailableError),
        (RuntimeError("odd"), UnavailableError),
        (TimeoutError(), DeadlineError),
        (UnsupportedError("no."), UnsupportedError),
    ],
)
async def test_a_driver_can_only_fail_with_our_errors(raised: Exception, promised: type[Exception]) -> None:
    transport = Broken(raised)
    with pytest.raises(promised):
        await transport.open()
    assert transport.closed == 1


async def test_an_agent_of_another_version_is_let_go_of(agent: Any) -> None:
    agent.script.protocol_version = 99
    client = agent.client()
    transport = Broken(client)
    with pytest.raises(UnsupportedError):
        async with transport:
            pytest.fail("entered")
    assert transport.closed == 1
    with pytest.raises(RuntimeError, match="closed"):
        await client.describe()


async def test_the_block_closes_what_it_opened(agent: Any) -> None:
    transport = Broken(agent.client())
    async with transport as client:
        await client.describe()
    assert transport.closed == 1


def test_files_table_and_names_agree() -> None:
    room = Path(base.__file__).parent
    for name in BUILTIN:
        assert TRANSPORTS.load(name).name == name
        assert (room / f"{name}.py").is_file()
    drivers = {path.stem for path in room.glob("*.py")} - {"__init__", "advert", "base", "client", "collect"}
    assert drivers == set(BUILTIN)


def test_an_unknown_transport_is_named() -> None:
    with pytest.raises(NotFoundError, match="'carrier-pigeon'; known are local, simulated, fleet, grpc, ssh"):
        connect(DeviceSpec(name="x", transport="carrier-pigeon"), Path())
