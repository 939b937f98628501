"""Numbers and fields on the wire: the same as the protobuf library reads and writes."""

from __future__ import annotations

import pytest
from edgeloop_protocol.v1 import open_inference_grpc_pb2 as pb
from edgeloop_protocol.wire_format import decode_varint, encode_varint, fields_of, tag_of
from hypothesis import given
from hypothesis import strategies as st


@given(st.integers(0, 2**64 - 1), st.binary(max_size=4))
def test_a_number_comes_back(number: int, around: bytes) -> None:
    written = encode_varint(number)
    assert decode_varint(around + written + around, len(around)) == (number, len(around) + len(written))


@given(st.integers(0, 2**63 - 1))
def test_a_number_is_written_as_by_the_library(number: int) -> None:
    message = pb.InferParameter(int64_param=number)
    tag = encode_varint(pb.InferParameter.INT64_PARAM_FIELD_NUMBER << 3)
    assert message.SerializeToString() == tag + encode_varint(number)


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xff" * 10, b"\x80" * 10 + b"\x01"])
def test_a_number_that_does_not_end_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="does not end"):
        decode_varint(data, 0)


def test_fields_lie_side_by_side_and_hold_what_was_written() -> None:
    message = pb.ModelInferRequest(model_name="demo", id="7", raw_input_contents=[b"a" * 300, b""])
    data = message.SerializeToString()
    fields = list(fields_of(data))
    assert [field.begin for field in fields] == [0, *(field.end for field in fields[:-1])]
    assert fields[-1].end == len(data)
    raw = tag_of(pb.ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER)
    assert [data[one.content : one.end] for one in fields if one.tag == raw] == [b"a" * 300, b""]


@pytest.mark.parametrize(
    ("data", "why"),
    [(b"\x0a\x05abc", "cut off"), (b"\x09abc", "cut off"), (b"\x0b", "kind 3"), (b"\x08", "does not end")],
)
def test_what_is_no_message_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        list(fields_of(data))
