"""Requests taken apart: the same as the library reads, and tensors that are not copied."""

from __future__ import annotations

import gc
import random
import weakref

import pytest
from edgeloop_agent.serving import raw_request
from edgeloop_agent.serving.raw_request import RequestReader
from edgeloop_protocol.v1 import open_inference_grpc_pb2 as pb
from google.protobuf.message import DecodeError


def parse_request(data: bytes) -> raw_request.RawRequest:
    return RequestReader().read(data)


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
    assert found.head.message == request()


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
    assert found.head.message.SerializeToString(deterministic=True) == whole.SerializeToString(
        deterministic=True
    )


@pytest.mark.parametrize("message", [request(b"abcd"), request(*[b"a" * 1000] * 40), request(inputs=400)])
def test_small_requests_and_those_of_many_fields_are_read_by_the_library(
    message: pb.ModelInferRequest,
) -> None:
    found = parse_request(message.SerializeToString())
    assert list(found.raw) == list(message.raw_input_contents)
    assert not any(isinstance(raw, memoryview) for raw in found.raw)


def test_requests_that_differ_in_tensors_alone_share_their_head() -> None:
    reader = RequestReader()
    first = reader.read(request(b"a" * 4096, b"b" * 4096).SerializeToString())
    second = reader.read(request(b"c" * 4096, b"d" * 4096).SerializeToString())
    assert second.head is first.head
    assert [bytes(raw) for raw in second.raw] == [b"c" * 4096, b"d" * 4096]
    assert [bytes(raw) for raw in first.raw] == [b"a" * 4096, b"b" * 4096]


def test_what_is_around_tensors_makes_another_head() -> None:
    reader = RequestReader()
    plain, named = request(b"a" * 4096, b"b" * 4096), request(b"a" * 4096, b"b" * 4096)
    named.id = "8"
    shifted = request(b"a" * 4095, b"b" * 4097)
    # As long as the first one, and what follows the tensors is another model's name.
    late = [
        message.SerializeToString() + b"\x0a\x01" + name for message, name in ((plain, b"p"), (plain, b"q"))
    ]
    data = [*(message.SerializeToString() for message in (plain, named, shifted)), *late]
    heads = [reader.read(one).head for one in data]
    assert len({id(head) for head in heads}) == len(data)
    for one, head in zip(data, heads, strict=True):
        expected = pb.ModelInferRequest.FromString(one)
        found = reader.read(one)
        assert found.head is head
        assert [bytes(raw) for raw in found.raw] == list(expected.raw_input_contents)
        expected.ClearField("raw_input_contents")
        assert head.message == expected


def test_few_layouts_are_kept_and_none_that_is_long() -> None:
    reader = RequestReader()
    for number in range(100):
        message = request(b"a" * 4096)
        message.id = str(number)
        reader.read(message.SerializeToString())
    long = request(b"a" * 4096)
    long.id = "x" * 5000
    head = reader.read(long.SerializeToString()).head
    assert len(reader._layouts) == raw_request._LAYOUTS_KEPT
    assert reader.read(long.SerializeToString()).head is not head


def test_what_was_checked_holds_for_one_model_and_keeps_none_alive() -> None:
    class Model:
        pass

    head, asked = RequestReader().read(request(b"a" * 4096).SerializeToString()).head, []

    def check(model: Model, message: pb.ModelInferRequest) -> int:
        asked.append(model)
        return len(asked)

    first, second = Model(), Model()
    assert [head.checked(first, check), head.checked(first, check)] == [1, 1]
    assert [head.checked(second, check), head.checked(first, check)] == [2, 3]
    asked.clear()
    gone = weakref.ref(first)
    del first
    gc.collect()
    assert gone() is None


def test_whatever_comes_is_read_or_refused_as_by_the_library() -> None:
    data, random_ = request(b"a" * 3000, b"b" * 3000).SerializeToString(), random.Random(0)
    heads, reader = len(data) - 6000, RequestReader()
    reader.read(data)
    for _ in range(3000):
        spoilt = bytearray(data)
        for _ in range(random_.randint(0, 3)):
            spoilt[random_.choice((random_.randrange(heads), random_.randrange(len(data))))] = (
                random_.randrange(256)
            )
        changed = bytes(
            spoilt[: random_.choice((len(data), random_.randint(raw_request._BYTES_MIN, len(data))))]
        )
        try:
            expected = pb.ModelInferRequest.FromString(changed)
        except DecodeError:
            with pytest.raises(DecodeError):
                reader.read(changed)
            continue
        found = reader.read(changed)
        assert list(map(bytes, found.raw)) == list(expected.raw_input_contents)
        expected.ClearField("raw_input_contents")
        expected_bytes = expected.SerializeToString(deterministic=True)
        assert found.head.message.SerializeToString(deterministic=True) == expected_bytes
