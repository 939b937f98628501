"""Requests of an upload are read as protobuf reads them, whatever stands in them and in whatever order."""

from __future__ import annotations

import pytest
from edgeloop_agent.services.write_request import decode_write
from edgeloop_protocol.v1.bytestream_pb2 import WriteRequest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st


@given(
    name=st.text(max_size=200),
    offset=st.integers(-(1 << 63), (1 << 63) - 1),
    last=st.booleans(),
    data=st.binary(max_size=5000),
    unknown=st.sampled_from(
        [b"", b"\xa0\x01\x96\x01", b"\xa5\x01abcd", b"\xa1\x01abcdefgh", b"\xa2\x01\x03abc"]
    ),
)
def test_it_says_what_protobuf_says(name: str, offset: int, last: bool, data: bytes, unknown: bytes) -> None:
    head = WriteRequest(resource_name=name, write_offset=offset, finish_write=last).SerializeToString()
    body = WriteRequest(data=data).SerializeToString()
    for message in (head + body, unknown + body + head, body + unknown + head + body):
        frame, wanted = decode_write(message), WriteRequest.FromString(message)
        assert frame.resource_name == wanted.resource_name
        assert frame.write_offset == wanted.write_offset
        assert frame.finish_write == wanted.finish_write
        assert bytes(frame.data) == wanted.data


@given(cut=st.integers(1, 60))
def test_what_is_cut_off_inside_of_a_field_is_refused(cut: int) -> None:
    message = WriteRequest(data=bytes(60)).SerializeToString()
    with pytest.raises(ValueError, match=r"cut off|does not end"):
        decode_write(message[:-cut])


@pytest.mark.parametrize("message", [b"\x53", b"\xff" * 11, b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x02\xff\xfe"])
def test_what_is_no_such_message_is_refused(message: bytes) -> None:
    for read in (WriteRequest.FromString, decode_write):
        with pytest.raises((ValueError, DecodeError)):
            read(message)
