"""The wire with faults: frames are found however the bytes come, and a flipped byte lands in data."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from edgeloop_agent.simulate.fault_relay import FaultRelay, Frames

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, 0, 0, 0, 0, 1]) + payload


STREAM = [PREFACE, frame(4, b""), frame(1, b"head"), frame(0, b"d" * 5000), frame(0, b"x" * 9)]


@pytest.mark.parametrize("step", [1, 7, 24, 100_000])
def test_frames_are_whole_however_the_bytes_come(step: int) -> None:
    data, frames, found = b"".join(STREAM), Frames(), []
    for start in range(0, len(data), step):
        found += [bytes(part) for part in frames.feed(data[start : start + step])]
    assert found == STREAM


class Board:
    """What stands behind the relay: keeps what comes and answers nothing."""

    def __init__(self) -> None:
        self.received = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            self.received += data
        writer.close()


async def send(tmp_path: Path, relay: FaultRelay, board: Board) -> None:
    server = await asyncio.start_unix_server(board.serve, tmp_path / "in")
    await relay.open()
    reader, writer = await asyncio.open_unix_connection(tmp_path / "out")
    writer.write(b"".join(STREAM))
    await writer.drain()
    writer.write_eof()
    await reader.read()
    writer.close()
    await relay.close()
    server.close()
    assert not (tmp_path / "out").exists()


async def test_a_flipped_byte_lands_in_the_data_of_a_long_message(tmp_path: Path) -> None:
    board, sizes = Board(), list[int]()

    def count(size: int) -> float:
        sizes.append(size)
        return 0.0

    relay = FaultRelay(tmp_path / "out", tmp_path / "in", count)
    relay.corrupt_next()
    await send(tmp_path, relay, board)
    whole = b"".join(STREAM)
    assert sizes == [5000, 9]
    wrong = [at for at, (a, b) in enumerate(zip(whole, board.received, strict=True)) if a != b]
    assert len(wrong) == 1
    assert whole[wrong[0]] == ord("d")


async def test_bytes_pass_unchanged_and_a_cut_is_the_end(tmp_path: Path) -> None:
    board = Board()
    await send(tmp_path, FaultRelay(tmp_path / "out", tmp_path / "in", lambda _: 0.0), board)
    assert board.received == b"".join(STREAM)
    cut = FaultRelay(tmp_path / "out", tmp_path / "in", lambda _: 0.0)
    server = await asyncio.start_unix_server(board.serve, tmp_path / "in")
    await cut.open()
    reader, writer = await asyncio.open_unix_connection(tmp_path / "out")
    writer.write(PREFACE)
    await asyncio.sleep(0.05)
    cut.cut()
    assert await reader.read() == b""
    writer.close()
    await cut.close()
    server.close()


async def test_the_socket_is_open_to_this_user_only(tmp_path: Path) -> None:
    relay = FaultRelay(tmp_path / "out", tmp_path / "in", lambda _: 0.0)
    await relay.open()
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o600
    await relay.close()
