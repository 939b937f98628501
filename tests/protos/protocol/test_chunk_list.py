"""Lists of chunks as bytes: what comes back, and what is refused."""

from __future__ import annotations

import pytest
from edgeloop_foundation.errors import CorruptDataError, InvalidInputError
from edgeloop_protocol.chunk_list import (
    CHUNK_BYTES_MAX,
    CHUNKS_MAX,
    Chunk,
    check_chunks,
    chunk_places,
    decode_chunks,
    encode_chunks,
    encoded_bytes,
    list_end,
)
from hypothesis import given
from hypothesis import strategies as st

chunks = st.lists(
    st.builds(
        Chunk,
        digest=st.binary(min_size=32, max_size=32),
        size_bytes=st.integers(min_value=1, max_value=CHUNK_BYTES_MAX),
    ),
    min_size=1,
    max_size=20,
)


@given(chunks, st.binary(max_size=50))
def test_a_list_comes_back_whatever_follows_it(listed: list[Chunk], rest: bytes) -> None:
    data = encode_chunks(listed)
    assert len(data) == encoded_bytes(len(listed)) == list_end(data)
    assert decode_chunks(data + rest) == tuple(listed)
    places = [place for _, _, place in chunk_places(data)]
    assert places == [sum(c.size_bytes for c in listed[:n]) for n in range(len(listed))]


@given(chunks, st.data())
def test_any_changed_or_missing_byte_is_found(listed: list[Chunk], draw: st.DataObject) -> None:
    data = encode_chunks(listed)
    place = draw.draw(st.integers(min_value=0, max_value=len(data) - 1))
    changed = data[:place] + bytes([data[place] ^ draw.draw(st.integers(1, 255))]) + data[place + 1 :]
    for bad in (changed, data[:place]):
        with pytest.raises(CorruptDataError):
            decode_chunks(bad)


@given(st.binary(max_size=200))
def test_rubbish_is_no_list(data: bytes) -> None:
    with pytest.raises(CorruptDataError):
        decode_chunks(data)


def test_a_list_of_nothing_or_of_too_much_is_none() -> None:
    head = encode_chunks([Chunk(digest=b"x" * 32, size_bytes=1)])[:16]
    for count in (0, CHUNKS_MAX + 1, 2**32 - 1):
        with pytest.raises(CorruptDataError):
            list_end(head + count.to_bytes(4, "little"))


def test_chunks_make_up_their_blob() -> None:
    one = Chunk(digest=b"x" * 32, size_bytes=3000)
    check_chunks([one, one], 6000)
    for listed, size in (([], 0), ([one], 2999), ([one, one], 3000), ([one] * 3, 6000)):
        with pytest.raises(InvalidInputError):
            check_chunks(listed, size)
    with pytest.raises(InvalidInputError, match="1 to 1 chunks"):
        check_chunks([Chunk(digest=b"x" * 32, size_bytes=1)] * 2, 2)
