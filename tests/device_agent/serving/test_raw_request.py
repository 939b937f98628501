"""Requests taken apart: the same as the library reads, and tensors that are not copied."""

from __future__ import annotations

import random

import pytest
from edgeloop_agent.serving import raw_request
from edgeloop_agent.serving.raw_request import parse_request
from edgeloop_protocol.v1 import open_inference_grpc_pb2 as pb
from google.protobuf.message import DecodeError


def request(*raw: bytes, inputs: int = 2) -> pb.ModelInferRequest:
    message = pb.ModelInferRequest(model_name="demo", model_version="3", id="7")
    for index in range(inputs):
        message.inputs.add(name=f"x{index}", datatype="FP32", shape=[1, 2048])
    message.outputs.add(name="y")
    message.parameters["priority"].int64_param = -1
    message.raw_input_contents.extend(raw)
    return message


def test_tensors_stay_where_they_came() -> None:
    first, second = bytes(range(256)) * 32, b"\xff" * 8192
    data = request(first, second).SerializeToString()
    found = parse_request(data)
    assert [bytes(raw) for raw in found.raw] == [first, second]
    assert all(isinstance(raw, memoryview) and raw.obj is data for raw in found.raw)
    assert found.message == request()


def test_fields_may_come_in_any_order_and_be_unknown() -> None:
    raw, name = request(b"a" * 5000, inputs=0), pb.ModelInferRequest(model_name="late")
    # Fields 90 to 93 of the four kinds that there are.
    unknown = b"\xd0\x05\x96\x01" + b"\xd9\x05" + bytes(8) + b"\xe2\x05\x03abc" + b"\xed\x05" + bytes(4)
    data = raw.SerializeToString() + unknown + name.SerializeToString()
    found = parse_request(data)
    assert [bytes(one) for one in found.raw] == [b"a" * 5000]
    assert isinstance(found.raw[0], memoryview)
    whole = pb.ModelInferRequest.FromString(data)
    whole.ClearField("raw_input_contents")
    assert found.message.SerializeToString(deterministic=True) == whole.SerializeToString(deterministic=True)


@pytest.mark.parametrize("message", [request(b"abcd"), request(*[b"a" * 1000] * 40), request(inputs=400)])
def test_small_requests_and_those_of_many_fields_are_read_by_the_library(
    message: pb.ModelInferRequest,
) -> None:
    found = parse_request(message.SerializeToString())
    assert list(found.raw) == list(message.raw_input_contents)
    assert not any(isinstance(raw, memoryview) for raw in found.raw)


def test_whatever_comes_is_read_or_refused_as_by_the_library() -> None:
    data, random_ = request(b"a" * 3000, b"b" * 3000).SerializeToString(), random.Random(0)
    heads = len(data) - 6000
    for _ in range(3000):
        spoilt = bytearray(data)
        for _ in range(random_.randint(1, 3)):
            spoilt[random_.randrange(heads)] = random_.randrange(256)
        changed = bytes(spoilt[: random_.randint(raw_request._BYTES_MIN, len(data))])
        try:
            expected = pb.ModelInferRequest.FromString(changed)
        except DecodeError:
            with pytest.raises(DecodeError):
                parse_request(changed)
            continue
        assert list(map(bytes, parse_request(changed).raw)) == list(expected.raw_input_contents)
