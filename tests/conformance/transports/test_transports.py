"""What every way of reaching an agent must do; each stands before the real agent, started as a program."""

from __future__ import annotations

import asyncio
import hashlib
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from edgeloop.domain.device import DeviceSpec
from edgeloop.store.artifacts import ArtifactDirectory
from edgeloop.transport.base import BUILTIN, connect
from edgeloop.transport.client import AgentClient
from edgeloop_foundation.errors import EdgeloopError, InvalidInputError, NotFoundError, UnavailableError
from edgeloop_protocol.types.artifact import Artifact, FileEntry
from edgeloop_protocol.types.lease import LeaseState

from tests.controller.transport.ssh_fixtures import client_key, make_server

__all__ = ["client_key", "make_server"]

NOBODY = {
    "fleet": "/nonexistent/agent.sock",
    "grpc": "unix:/nonexistent/agent.sock",
    "ssh": "pi@127.0.0.1:1",
}
"""Addresses at which there is nobody; the other transports start the agent themselves."""


@pytest.fixture(scope="module")
def running_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the socket of an agent that runs already."""
    home = tmp_path_factory.mktemp("agent")
    command = [sys.executable, "-m", "edgeloop_agent", "serve", "--state", home / "state"]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--socket", home / "a.sock"], stdout=subprocess.PIPE, stderr=log
        )
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"ready ")
        yield home / "a.sock"
        process.terminate()
        process.wait()
        process.stdout.close()


@pytest.fixture(params=list(BUILTIN))
def spec(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DeviceSpec:
    """Return a device, by each transport."""
    if request.param == "local":
        return DeviceSpec(name="bench", transport="local")
    if request.param == "simulated":
        return DeviceSpec(name="bench", transport="simulated", address="raspberry_pi_5")
    socket = request.getfixturevalue("running_agent")
    if request.param == "grpc":
        return DeviceSpec(name="bench", transport="grpc", address=f"unix:{socket}")
    if request.param == "fleet":
        return DeviceSpec(name="bench", transport="fleet", address=str(socket))
    server, key = request.getfixturevalue("make_server")(), request.getfixturevalue("client_key")
    known = tmp_path / "known_hosts"
    known.write_text(server.known_line)
    config = tmp_path / "ssh_config"
    config.write_text(f"Host *\n UserKnownHostsFile {known}\n GlobalKnownHostsFile /dev/null\n")
    options = {"key": str(key), "socket": str(socket), "ssh_config": str(config)}
    return DeviceSpec(
        name="bench",
        transport="ssh",
        address=f"pi@127.0.0.1:{server.port}",
        options=tuple(sorted(options.items())),
    )


async def test_it_greets_carries_leases_and_ends(spec: DeviceSpec, tmp_path: Path) -> None:
    # One test: starting the real agent is what takes the time.
    transport = connect(spec, tmp_path / "home")
    async with transport as client:
        assert client.device == "bench"
        assert client.capabilities
        assert (await client.describe()).hardware.logical_cores > 0
        assert await client.health()
        await carries_an_artifact_once(client, spec, tmp_path)
        await holds_one_lease(client)
        assert len(await asyncio.gather(*(client.list_leases() for _ in range(8)))) == 8
    await transport.close()
    with pytest.raises(EdgeloopError):
        await client.describe()


async def carries_an_artifact_once(client: AgentClient, spec: DeviceSpec, tmp_path: Path) -> None:
    data = random.Random(spec.transport).randbytes(3_200_000)
    store = ArtifactDirectory(tmp_path / "artifacts")
    digest, entry = _stored(store, data, tmp_path)
    first = await client.push_artifact(digest, store)
    again = await client.push_artifact(digest, store)
    assert not await client.find_missing([entry])
    assert first.sent_bytes >= len(data)
    assert again.sent_bytes == 0
    # A changed copy costs what has changed, and a list.
    changed = data[:1_000_000] + b"three words more" + data[1_000_000:-100_000] + bytes(100_000)
    digest, entry = _stored(store, changed, tmp_path)
    third = await client.push_artifact(digest, store)
    assert not await client.find_missing([entry])
    assert await client.read_blob(entry.digest, entry.size_bytes) == changed
    assert third.sent_bytes < 0.1 * len(changed) < third.spliced_bytes


def _stored(store: ArtifactDirectory, data: bytes, tmp_path: Path) -> tuple[str, FileEntry]:
    file = tmp_path / "model.bin"
    file.write_bytes(data)
    entry = FileEntry(name="model.bin", digest=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
    manifest = Artifact(
        format="onnx", label="m", files=(entry,), model_file="model.bin", source_digest=entry.digest
    )
    return store.put(manifest, {"model.bin": file}), entry


async def holds_one_lease(client: AgentClient) -> None:
    async with client.lease("conformance") as lease:
        assert lease.fencing_token > 0
        held = [other for other in await client.list_leases() if other.state is LeaseState.GRANTED]
        assert [other.lease_id for other in held] == [lease.lease_id]
    assert not [one for one in await client.list_leases() if one.state is LeaseState.GRANTED]


def test_an_unknown_option_is_refused(spec: DeviceSpec, tmp_path: Path) -> None:
    odd = DeviceSpec(name="bench", transport=spec.transport, address=spec.address, options=(("odd", "1"),))
    with pytest.raises(InvalidInputError, match=r"bench.*'odd'"):
        connect(odd, tmp_path)


@pytest.mark.parametrize("name", NOBODY)
async def test_nobody_there_is_a_sentence_that_names_who(name: str, tmp_path: Path) -> None:
    spec = DeviceSpec(name="bench", transport=name, address=NOBODY[name])
    with pytest.raises((UnavailableError, NotFoundError), match=r"bench|127\.0\.0\.1") as caught:
        await connect(spec, tmp_path / "home").open()
    assert caught.value.next_step
