"""The disk of scripts/heavy/power_cuts: a flush keeps what was answered before it, a cut takes the rest."""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path

from scripts.heavy.power_disk import Cut, Disk, Flush, Mark, Recording, Write, serve_disk

SIZE = 8192
_READ, _WRITE, _FLUSH = 0, 1, 3


def write(number: int) -> Write:
    """One sector, filled with its number."""
    return Write(offset=512 * number, data=bytes([number + 1]) * 512)


def sectors(image: bytes | bytearray) -> list[int]:
    """What stands at the beginning of each sector."""
    return [image[at] for at in range(0, SIZE, 512)]


def test_what_a_flush_covers_is_there_after_every_cut() -> None:
    recording = Recording(base=bytes(SIZE))
    recording.entries = [write(0), write(1), Flush(covers=1), write(2), write(3)]
    seen = set()
    for number in range(300):
        image, pending, lost = recording.image(Cut(place=5, seed=str(number)))
        assert sectors(image)[0] == 1
        assert pending == 3
        left = tuple(sectors(image)[1:4])
        seen.add(left)
        assert all(found in (0, place) for found, place in zip(left, (2, 3, 4), strict=True))
        # A sector that a torn write brought counts as lost.
        assert lost >= left.count(0)
    # Any part of the cache may be left, in any order.
    assert len(seen) == 8


def test_a_cut_knows_nothing_of_what_comes_after_it() -> None:
    recording = Recording(base=bytes(SIZE))
    recording.entries = [write(0), write(1), Flush(covers=2), write(2)]
    kept = [sectors(recording.image(Cut(place=2, seed=str(n)))[0]) for n in range(100)]
    assert any(found[0] == 0 for found in kept)
    assert all(found[2] == 0 for found in kept)
    assert all(recording.image(Cut(place=3, seed=str(n)))[1:] == (0, 0) for n in range(20))


def test_a_write_may_be_torn_between_sectors_never_within_one() -> None:
    recording = Recording(base=bytes(SIZE), entries=[Write(offset=0, data=b"\x07" * 4096)])
    torn = 0
    for number in range(300):
        image, _, _ = recording.image(Cut(place=1, seed=str(number)))
        parts = [bytes(image[at : at + 512]) for at in range(0, 4096, 512)]
        assert set(parts) <= {b"\x07" * 512, bytes(512)}
        torn += len(set(parts)) == 2
    assert torn > 10


def test_a_recording_comes_back_from_its_file(tmp_path: Path) -> None:
    recording = Recording(base=bytes(SIZE))
    recording.entries = [write(3), Mark(said={"stored": "run"}), Flush(covers=1), write(1)]
    recording.save(tmp_path / "log")
    again = Recording.load(recording.base, tmp_path / "log")
    assert again.entries == recording.entries
    assert again.marks(4) == [{"stored": "run"}]
    assert again.marks(1) == []


class Client:
    """The machine's side of the wire, by its specification."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def agree(self) -> tuple[int, int]:
        """Shake hands as qemu does; return size and flags."""
        assert await self._reader.readexactly(18) == b"NBDMAGICIHAVEOPT" + struct.pack(">H", 3)
        self._writer.write(struct.pack(">I", 3))
        # Structured replies, which are not offered, then the export.
        self._writer.write(b"IHAVEOPT" + struct.pack(">II", 8, 0))
        assert await self._option() == (8, 0x80000001, b"")
        name = struct.pack(">IH", 0, 0)
        self._writer.write(b"IHAVEOPT" + struct.pack(">II", 7, len(name)) + name)
        option, kind, data = await self._option()
        assert (option, kind) == (7, 3)
        assert await self._option() == (7, 1, b"")
        _, size, flags = struct.unpack(">HQH", data)
        return size, flags

    async def _option(self) -> tuple[int, int, bytes]:
        magic, option, kind, size = struct.unpack(">QIII", await self._reader.readexactly(20))
        assert magic == 0x0003E889045565A9
        return option, kind, await self._reader.readexactly(size)

    def request(self, kind: int, handle: int, offset: int = 0, size: int = 0, data: bytes = b"") -> bytes:
        """Return the bytes of a request."""
        return struct.pack(">IHHQQI", 0x25609513, 0, kind, handle, offset, size) + data

    async def send(self, *requests: bytes) -> None:
        """Send requests in one piece."""
        self._writer.write(b"".join(requests))
        await self._writer.drain()

    async def answer(self, size: int = 0) -> tuple[int, bytes]:
        """Return handle and data of the next answer."""
        magic, error, handle = struct.unpack(">IIQ", await self._reader.readexactly(16))
        assert (magic, error) == (0x67446698, 0)
        return handle, await self._reader.readexactly(size)


async def test_a_flush_on_the_wire_covers_what_was_answered_when_it_was_sent(tmp_path: Path) -> None:
    recording = Recording(base=bytes(SIZE))
    disk = Disk(recording.base, recording)
    server = await serve_disk(disk, tmp_path / "s")
    reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
    try:
        client = Client(reader, writer)
        assert await client.agree() == (SIZE, 5)
        await client.send(client.request(_WRITE, 1, 512, 512, b"a" * 512))
        assert await client.answer() == (1, b"")
        # The second write has no answer yet when the flush is sent.
        await client.send(client.request(_WRITE, 2, 0, 512, b"b" * 512), client.request(_FLUSH, 3))
        assert [await client.answer(), await client.answer()] == [(2, b""), (3, b"")]
        await client.send(client.request(_FLUSH, 4), client.request(_READ, 5, 0, 1024))
        assert await client.answer() == (4, b"")
        assert await client.answer(1024) == (5, b"b" * 512 + b"a" * 512)
    finally:
        writer.close()
        server.close()
    kinds = [entry for entry in recording.entries if isinstance(entry, Flush)]
    assert kinds == [Flush(covers=1), Flush(covers=2)]
