from __future__ import annotations

import struct

import pytest
from edgeloop_foundation.errors import CorruptDataError
from edgeloop_foundation.packed import BLOCKS, LITERAL, MAGIC, TABLE, expand


def literal(data: bytes) -> bytes:
    return struct.pack("<BQ", LITERAL, len(data)) + data


def opened(packed: bytes, size: int, piece: int = 7) -> bytes:
    return b"".join(expand([packed[i : i + piece] for i in range(0, len(packed), piece)], size))


def test_a_literal_is_itself() -> None:
    data = bytes(range(256)) * 600
    assert opened(MAGIC + literal(data[:5]) + literal(data[5:]), len(data), 1 << 12) == data
    assert opened(MAGIC, 0) == b""


@pytest.mark.parametrize("count", [1, 2, 7, 300_001])
def test_a_table_gives_a_byte_for_four_bits(count: int) -> None:
    table = bytes(range(100, 116))
    indices = [i * 7 % 16 for i in range(count)]
    even = [*indices, 0]
    halves = bytes(even[i] << 4 | even[i + 1] for i in range(0, count, 2))
    packed = MAGIC + struct.pack("<BQ", TABLE, count) + table + halves
    assert opened(packed, count, 1 << 12) == bytes(table[i] for i in indices)


def test_blocks_give_scale_times_level_and_no_negative_zero() -> None:
    # bfloat16 of 0.5 is 0x3f00 and of -2 is 0xc000; levels 7, -8, 0, 1 | -1, 2 in a last block of two.
    body = bytes([0x00, 0x3F, 0x78, 0x01, 0x00, 0xC0, 0xF2])
    packed = MAGIC + struct.pack("<BQH", BLOCKS, 24, 4) + body
    assert struct.unpack("<6f", opened(packed, 24)) == (3.5, -4.0, 0.0, 0.5, 2.0, -4.0)
    zero = MAGIC + struct.pack("<BQH", BLOCKS, 4, 4) + bytes([0x00, 0xC0, 0x00])
    assert opened(zero, 4) == bytes(4)


def test_many_blocks_over_pieces() -> None:
    blocks = 9000
    body = b"".join(struct.pack("<H", 0x3F80) + bytes([i % 256] * 16) for i in range(blocks))
    packed = MAGIC + struct.pack("<BQH", BLOCKS, blocks * 128, 32) + body
    values = struct.unpack(f"<{blocks * 32}f", opened(packed, blocks * 128, 4096))
    signed = [*range(8), *range(-8, 0)]
    assert values[32 * 300] == signed[300 % 256 >> 4]
    assert values[-1] == signed[(blocks - 1) % 256 & 15]


@pytest.mark.parametrize(
    ("packed", "size", "said"),
    [
        (b"PK" + bytes(30), 10, "does not begin as one"),
        (MAGIC[:5], 10, "ends in the middle"),
        (MAGIC + literal(b"abc"), 10, "gives 3 bytes, 10 were declared"),
        (MAGIC + literal(b"abcdefgh"), 4, "up to byte 8 of 4 declared"),
        (MAGIC + literal(b"abcdefgh")[:-2], 8, "ends in the middle"),
        (MAGIC + struct.pack("<BQ", 9, 1) + b"x", 1, "segment of kind 9"),
        (MAGIC + struct.pack("<BQH", BLOCKS, 8, 0) + bytes(9), 8, "blocks of no length"),
        (MAGIC + struct.pack("<BQHH", BLOCKS, 4, 1, 0x7F7F) + b"\x70", 4, "scale that no float32"),
        (MAGIC + struct.pack("<BQ", LITERAL, 1 << 60), 1 << 20, "declared"),
    ],
)
def test_what_is_not_of_the_layout_is_refused(packed: bytes, size: int, said: str) -> None:
    with pytest.raises(CorruptDataError, match=said):
        opened(packed, size)
