"""Two controllers and one agent that runs by itself: shared leases over the real wire."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from edgeloop.domain.device import DeviceSpec
from edgeloop.store.devices import DeviceBook
from edgeloop.transport.base import connect
from edgeloop.transport.client import AgentClient
from edgeloop_foundation.errors import BusyError, LeaseError
from edgeloop_protocol.types.lease import LeaseState
from edgeloop_protocol.types.trial import Benchmark, JobSpec, RuntimeSettings, Trial

from tests.controller.interfaces.test_drain import Shelf

from .conftest import Cli


@pytest.fixture(scope="module")
def shelf() -> Iterator[Shelf]:
    # A socket's path has at most 107 bytes, and pytest's directories grow with the names of tests.
    with tempfile.TemporaryDirectory() as directory:
        shelf = Shelf(Path(directory))
        yield shelf
        shelf.stop()


@contextlib.asynccontextmanager
async def controllers(shelf: Shelf, home: Path) -> AsyncIterator[tuple[AgentClient, AgentClient]]:
    """Open one connection from each of two homes."""
    spec = DeviceSpec.parse(shelf.word)
    async with connect(spec, home / "one", 0) as one, connect(spec, home / "two", 0) as two:
        yield one, two


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await holds():  # noqa: ASYNC110 - the state is that of another process
            await asyncio.sleep(0.02)


async def standing(client: AgentClient) -> list[tuple[str, str, str]]:
    return [(x.holder, x.kind, x.state.value) for x in await client.list_leases()]


def job(lease_id: str, token: int) -> JobSpec:
    trial = Trial(trial_id="t", label="t", artifact_digest="0" * 64, settings=RuntimeSettings())
    return JobSpec(
        request_id=str(uuid.uuid4()), lease_id=lease_id, fencing_token=token, trials=(trial,),
        benchmark=Benchmark(), deadline_s=60.0, runner_deadline_s=30.0,
    )  # fmt: skip


async def test_two_controllers_share_a_device_and_one_that_measures_waits_for_both(
    shelf: Shelf, tmp_path: Path
) -> None:
    async with controllers(shelf, tmp_path) as (one, two):
        async with contextlib.AsyncExitStack() as first:
            a = await first.enter_async_context(one.lease("a", shared=True))
            async with two.lease("b", shared=True) as b:
                assert b.fencing_token > a.fencing_token
                assert await standing(one) == [("a", "shared", "granted"), ("b", "shared", "granted")]
                vitals = await two.vitals()
                assert (vitals.lease_holder, vitals.lease_shared) == ("a, b", True)
                with pytest.raises(LeaseError, match="needs the device alone"):
                    await two.submit(job(b.lease_id, b.fencing_token))
                alone = asyncio.create_task(held(two, "alone"))
                await eventually(lambda: is_queued(one, "alone"))
                with pytest.raises(BusyError, match="held by a, b"):
                    async with one.lease("late", shared=True):
                        pytest.fail("went past one that waits to measure")
                async with one.lease("urgent", shared=True, priority=5):
                    assert ("urgent", "shared", "granted") in await standing(two)
                assert not alone.done()
        handle, release = await asyncio.wait_for(alone, 60)
        assert await standing(one) == [("alone", "exclusive", "granted")]
        assert (await one.vitals()).lease_shared is False
        with pytest.raises(BusyError, match="held by alone"):
            async with one.lease("beside", shared=True):
                pytest.fail("was granted beside a measurement")
        assert handle > b.fencing_token
        await release()


async def held(client: AgentClient, holder: str) -> tuple[int, Callable[[], Awaitable[object]]]:
    """Hold a device alone and return the token and what gives it back."""
    stack = contextlib.AsyncExitStack()
    lease = await stack.enter_async_context(client.lease(holder, wait_timeout_s=60.0))
    return lease.fencing_token, stack.aclose


async def is_queued(client: AgentClient, holder: str) -> bool:
    return any(x.holder == holder and x.state is LeaseState.QUEUED for x in await client.list_leases())


TAKES = """
import asyncio, sys
from pathlib import Path
from edgeloop.domain.device import DeviceSpec
from edgeloop.transport.base import connect

async def take(word, home):
    async with connect(DeviceSpec.parse(word), Path(home), 0) as client:
        async with client.lease("b", ttl_s=4.0, shared=True):
            print("holds it", flush=True)
            await asyncio.sleep(600)

asyncio.run(take(*sys.argv[1:]))
"""


def take_and_die(word: str, home: Path) -> None:
    """Let a controller of its own process share the device and be killed: nobody gives its lease back."""
    with subprocess.Popen([sys.executable, "-c", TAKES, word, home], stdout=subprocess.PIPE, text=True) as it:
        assert it.stdout is not None
        assert it.stdout.readline() == "holds it\n"
        it.kill()


async def test_a_shared_lease_outlives_the_agent_and_not_its_holder(
    shelf: Shelf, tmp_path: Path, cli: Cli
) -> None:
    async with controllers(shelf, tmp_path) as (one, two):
        async with one.lease("a", shared=True) as lease:
            await asyncio.to_thread(take_and_die, shelf.word, tmp_path / "gone")
            assert ("b", "shared", "granted") in await standing(two)
            await asyncio.to_thread(shelf.stop)
            await asyncio.to_thread(shelf.start)
            kept = await standing(two)
            assert ("a", "shared", "granted") in kept
            with pytest.raises(BusyError):
                async with two.lease("alone"):
                    pytest.fail("was granted beside one that shares the device")
            book = DeviceBook(tmp_path, path=tmp_path / "devices.toml")
            book.put(DeviceSpec.parse(shelf.word))
            words = ("--inventory", tmp_path / "devices.toml", "device", "list", "--live")
            rows = json.loads((await asyncio.to_thread(cli, *words, "--json")).out)["devices"]
            now = next(row["now"] for row in rows if row["name"] == "shelf")
            assert (now["holder"].startswith("a"), now["shared"]) == (True, True)

            async def b_is_gone() -> bool:
                return await standing(two) == [("a", "shared", "granted")]

            await eventually(b_is_gone)
            assert not lease.lost.is_set()
        token, release = await asyncio.wait_for(held(two, "alone"), 60)
        assert token > lease.fencing_token
        await release()
