"""What a push sends: parts of what the device has, within a budget and a rate, read once for all."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from edgeloop.domain.device import DeviceSpec
from edgeloop.store.artifacts import ArtifactDirectory
from edgeloop.transport.base import connect
from edgeloop.transport.client import AgentClient, PushLimits
from edgeloop.transport.rpc.pace import OverBudgetError, Pace
from edgeloop.transport.rpc.source import BLOCK_BYTES, Pack, SharedFile, open_shared
from edgeloop_foundation.errors import CorruptDataError, InvalidInputError
from edgeloop_protocol.chunk_list import Chunk, decode_chunks, encoded_bytes
from edgeloop_protocol.types.artifact import Artifact, FileEntry

DESK = DeviceSpec(name="desk", transport="local")


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


class Kept:
    """A store to which contents are added as artifacts of one file."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = ArtifactDirectory(root / "artifacts")

    def add(self, data: bytes) -> tuple[str, FileEntry]:
        file = self.root / "model.bin"
        file.write_bytes(data)
        entry = FileEntry(name="model.bin", digest=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
        manifest = Artifact(
            format="onnx", label="m", files=(entry,), model_file="model.bin", source_digest=entry.digest
        )
        return self.store.put(manifest, {"model.bin": file}), entry


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[AgentClient]:
    async with connect(DESK, tmp_path / "home") as client:
        yield client


def device_store(tmp_path: Path) -> Path:
    (blobs,) = (tmp_path / "home").rglob("store/blobs")
    return blobs.parent


async def test_a_changed_copy_costs_its_changes_even_when_the_device_is_wrong_about_what_it_has(
    client: AgentClient, kept: Kept, tmp_path: Path
) -> None:
    data = noise(3_000_000)
    first, entry = kept.add(data)
    whole = await client.push_artifact(first, kept.store)
    assert whole.spliced_bytes == 0
    # The content once, and the list of its chunks twice: in the question and to be kept there.
    manifest_bytes = kept.store.blob(first).stat().st_size
    assert whole.sent_bytes - whole.list_bytes == entry.size_bytes + manifest_bytes
    assert 0 < whole.list_bytes < 0.02 * entry.size_bytes
    second, changed = kept.add(data[:900_000] + b"new words" + data[900_000:])
    result = await client.push_artifact(second, kept.store)
    assert result.sent_bytes < 0.1 * changed.size_bytes
    assert result.spliced_bytes > 0.95 * changed.size_bytes
    # The disk rots: what was a chunk is none any more. It is found out, and what is lacking is sent.
    for blob in (entry, changed):
        path = device_store(tmp_path) / "blobs" / blob.digest
        path.chmod(0o600)
        with path.open("r+b") as file:
            file.seek(2_000_000)
            file.write(bytes(200_000))
    grown = data + noise(500_000, seed=1)
    third, last = kept.add(grown)
    result = await client.push_artifact(third, kept.store)
    assert result.retries >= 1
    assert await client.read_blob(last.digest, last.size_bytes) == grown
    assert not list((device_store(tmp_path) / "packs").iterdir())


async def test_what_is_compressed_counts_as_what_went_over_the_wire(
    client: AgentClient, kept: Kept, tmp_path: Path
) -> None:
    (socket,) = (path for path in (tmp_path / "home").rglob("*") if path.is_socket())
    base = noise(1_200_000)
    (first, _), head = kept.add(base), bytes(byte & 15 for byte in noise(300_000, seed=1))
    await client.push_artifact(first, kept.store)
    second, changed = kept.add(base[:600_000] + head + base[900_000:])
    async with counting_relay(tmp_path / "relay", socket) as count:
        spec = DeviceSpec.parse(f"relayed=unix:{tmp_path}/relay")
        async with connect(spec, tmp_path / "other") as relayed:
            before = count[0]
            result = await relayed.push_artifact(second, kept.store)
            sent = count[0] - before
    # Frames and heads come on top; uncompressed, the changed part alone is more than this.
    assert result.sent_bytes <= sent < 1.02 * result.sent_bytes + 10_000
    assert sent < 0.75 * len(head)
    assert (
        await client.read_blob(changed.digest, changed.size_bytes) == base[:600_000] + head + base[900_000:]
    )


@pytest.mark.parametrize(
    ("size", "mask", "compressed"),
    [(300_000, 127, True), (1_500_000, 127, False), (1_500_000, 15, True)],
)
async def test_a_large_pack_is_compressed_where_that_saves_much(
    client: AgentClient, kept: Kept, size: int, mask: int, compressed: bool
) -> None:
    """It takes processor time for every device, which an eighth less is not worth."""
    base = noise(2_500_000)
    (first, _), part = kept.add(base), bytes(byte & mask for byte in noise(size, seed=1))
    await client.push_artifact(first, kept.store)
    second, _ = kept.add(base[:600_000] + part + base[600_000 + size :])
    result = await client.push_artifact(second, kept.store)
    assert result.spliced_bytes > 0
    assert (result.sent_bytes - result.list_bytes < size) == compressed


@contextlib.asynccontextmanager
async def counting_relay(path: Path, socket: Path) -> AsyncIterator[list[int]]:
    """Carry bytes between a socket and an agent's, and count those on their way to the agent."""
    count = [0]

    async def carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, counted: bool) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(1 << 16):
                count[0] += len(data) if counted else 0
                sink.write(data)
                await sink.drain()
        sink.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection(str(socket))
        await asyncio.gather(
            carry(reader, far_writer, counted=True), carry(far_reader, writer, counted=False)
        )

    async with await asyncio.start_unix_server(relay, str(path)):
        yield count


async def test_a_file_that_repeats_itself_is_sent_once(client: AgentClient, kept: Kept) -> None:
    digest, entry = kept.add(noise(400_000) * 6)
    result = await client.push_artifact(digest, kept.store)
    assert result.sent_bytes < 0.5 * entry.size_bytes
    assert not await client.find_missing([entry])


async def test_nothing_is_sent_over_the_budget(client: AgentClient, kept: Kept, tmp_path: Path) -> None:
    data = noise(2_000_000)
    digest, entry = kept.add(data)
    manifest = kept.store.blob(digest).stat().st_size
    cost = entry.size_bytes + manifest
    with pytest.raises(OverBudgetError, match=f"would send {cost} bytes, at most {cost - 1} are allowed"):
        await client.push_artifact(digest, kept.store, limits=PushLimits(max_bytes=cost - 1))
    assert not list((device_store(tmp_path) / "uploads").iterdir())
    await client.push_artifact(digest, kept.store, limits=PushLimits(max_bytes=cost))
    # What the device has does not count, chunks of it neither.
    second, _ = kept.add(data + b"more")
    await client.push_artifact(second, kept.store, limits=PushLimits(max_bytes=100_000))
    await client.push_artifact(second, kept.store, limits=PushLimits(max_bytes=0))


async def test_a_rate_is_kept(client: AgentClient, kept: Kept) -> None:
    digest, entry = kept.add(noise(200_000))
    result = await client.push_artifact(digest, kept.store, limits=PushLimits(bytes_per_s=200_000))
    # A slower machine takes longer, never shorter: the last message goes when those before have had their time.
    assert result.duration_s >= 0.8 * entry.size_bytes / 200_000


@pytest.mark.parametrize("words", [{"max_bytes": -1}, {"bytes_per_s": 0.0}, {"bytes_per_s": float("inf")}])
def test_limits_that_cannot_be_are_refused(words: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError):
        PushLimits(**words)  # type: ignore[arg-type]


async def test_the_pace_lets_each_message_have_its_time() -> None:
    now, slept = [100.0], list[float]()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    pace = Pace(1000.0, now_s=lambda: now[0], sleep=sleep)
    for _ in range(3):
        await pace.take(500)
    assert slept == [0.5, 0.5]
    now[0] += 60.0
    await pace.take(500)
    assert slept == [0.5, 0.5], "a pause is not made up for by a burst, nor punished"
    await pace.take(1)
    assert slept[2:] == [0.5]
    assert pace.message_bytes(1 << 20) == 4096
    assert Pace(8e6).message_bytes(1 << 20) == 1_000_000
    assert Pace(None).message_bytes(1 << 20) == 1 << 20


@pytest.fixture
def shared(tmp_path: Path) -> tuple[Path, bytes]:
    data = noise(40 * BLOCK_BYTES + 77)
    (tmp_path / "file").write_bytes(data)
    return tmp_path / "file", data


def test_many_read_a_file_together_and_the_disk_is_read_once(shared: tuple[Path, bytes]) -> None:
    path, data = shared
    together = threading.Barrier(8)
    digests: list[str] = []

    def read(file: SharedFile) -> None:
        hasher, place = hashlib.sha256(), 0
        while place < file.size_bytes:
            if place % BLOCK_BYTES == 0:
                together.wait(60)
            piece = file.read(place, 300_000)
            hasher.update(piece)
            place += len(piece)
        digests.append(hasher.hexdigest())

    with open_shared(path) as file, open_shared(path) as same:
        assert file is same
        threads = [threading.Thread(target=read, args=(file,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert digests == [hashlib.sha256(data).hexdigest()] * 8
        assert file.block_reads == 41
    with open_shared(path) as other:
        assert other is not file


def test_who_falls_behind_reads_alone_and_holds_up_nobody(shared: tuple[Path, bytes]) -> None:
    path, data = shared
    with open_shared(path) as file:
        assert bytes(file.read(5, 10)) == data[5:15]
        for place in range(0, file.size_bytes, BLOCK_BYTES):
            file.read(place, BLOCK_BYTES)
        assert file.block_reads == 41
        assert bytes(file.read(20, 10)) == data[20:30]
        assert file.block_reads == 42


def test_a_file_that_became_shorter_is_told(shared: tuple[Path, bytes]) -> None:
    path, _ = shared
    with open_shared(path) as file:
        path.write_bytes(b"short")
        with pytest.raises(CorruptDataError, match="shorter"):
            file.read(30 * BLOCK_BYTES, 10)


def test_a_pack_is_its_list_and_its_chunks_from_any_place(shared: tuple[Path, bytes]) -> None:
    path, data = shared
    rng = random.Random(1)
    parts, content = [], b""
    for place in sorted(rng.sample(range(len(data) - BLOCK_BYTES), 9)):
        piece = data[place : place + rng.randrange(1, 200_000)]
        parts.append((place, Chunk(digest=hashlib.sha256(piece).digest(), size_bytes=len(piece))))
        content += piece
    with open_shared(path) as file:
        pack = Pack(file, parts)
        whole = pack.read(0, pack.size_bytes)
        assert decode_chunks(whole) == tuple(chunk for _, chunk in parts)
        assert whole[encoded_bytes(9) :] == content
        assert pack.digest() == hashlib.sha256(whole).hexdigest()
        for _ in range(50):
            place, size = rng.randrange(len(whole)), rng.randrange(1, 300_000)
            assert pack.read(place, size) == whole[place : place + size]
        assert pack.read(len(whole), 10) == b""


async def test_pushes_to_several_devices_share_one_reader(kept: Kept, tmp_path: Path) -> None:
    data = noise(24 << 20)
    digest, entry = kept.add(data)
    path = kept.store.blob(entry.digest)
    specs = [DeviceSpec(name=f"d{n}", transport="simulated", address="raspberry_pi_5") for n in range(3)]
    with open_shared(path) as file:
        transports = [connect(spec, tmp_path / "home") for spec in specs]
        clients = [await transport.open() for transport in transports]
        try:
            results = await asyncio.gather(*(client.push_artifact(digest, kept.store) for client in clients))
        finally:
            for transport in transports:
                await transport.close()
        assert all(result.sent_bytes >= len(data) for result in results)
        # Together they are within the 16 MiB that are kept, mostly; three readers would need 72.
        assert 24 <= file.block_reads < 72
