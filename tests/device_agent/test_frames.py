from __future__ import annotations

import pytest
from edgeloop_agent.frames import PREFIX, decode_header, decode_prefix, encode_frame
from edgeloop_foundation.errors import CorruptDataError


def test_a_frame_is_two_lengths_header_and_payload() -> None:
    frame = encode_frame({"command": "infer", "count": 3}, b"\1\2")
    header_bytes, payload_bytes = decode_prefix(frame[: PREFIX.size])
    assert (frame[:4], payload_bytes) == (header_bytes.to_bytes(4, "little"), 2)
    assert decode_header(frame[PREFIX.size : PREFIX.size + header_bytes]) == {"command": "infer", "count": 3}
    assert frame[-2:] == b"\1\2"


@pytest.mark.parametrize("lengths", [((1 << 20) + 1, 0), (0, (16 << 20) + 1), (0xFFFFFFFF, 0xFFFFFFFF)])
def test_lengths_beyond_the_limits_are_refused(lengths: tuple[int, int]) -> None:
    with pytest.raises(CorruptDataError, match="exceeds"):
        decode_prefix(PREFIX.pack(*lengths))


@pytest.mark.parametrize("data", [b"", b"[1]", b"\xff", b"[" * 100_000])
def test_a_header_that_is_no_object_is_refused(data: bytes) -> None:
    with pytest.raises(CorruptDataError, match="header"):
        decode_header(data)
