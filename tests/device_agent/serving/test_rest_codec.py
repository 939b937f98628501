"""HTTP bodies: what the protocol allows, and what a hostile client claims."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from edgeloop_agent.serving.batcher import Ride
from edgeloop_agent.serving.engine import Answer
from edgeloop_agent.serving.model import ServedModel, load_slot
from edgeloop_agent.serving.rest_codec import decode, encode
from edgeloop_foundation.errors import InvalidInputError

from scripts.bench.serving_slots import SlotBoard, linear

ALONE = Ride(wait_s=0.001, row_count=1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ServedModel:
    board = SlotBoard(tmp_path_factory.mktemp("board"))
    return ServedModel(load_slot(board.slots, "demo", board.install("demo", 1, linear()), 1), 1, "")


def tensor(**words: Any) -> dict[str, Any]:
    return {"name": "x", "datatype": "FP32", "shape": [1, 4], **words}


def body(*inputs: dict[str, Any], raw: bytes = b"", **words: Any) -> tuple[bytes, int | None]:
    text = json.dumps({"inputs": list(inputs), **words}).encode()
    return text + raw, len(text) if raw else None


@pytest.mark.parametrize("data", [[1, 2, 3, 4], [[1, 2, 3, 4]]])
def test_elements_come_flat_or_nested(model: ServedModel, data: list[Any]) -> None:
    request = decode(model, *body(tensor(data=data), id="a"))
    assert np.array_equal(request.feeds["x"], np.array([[1, 2, 3, 4]], np.float32))
    assert (request.id, request.wanted) == ("a", ())


def test_raw_elements_follow_the_json_and_answers_come_as_asked(model: ServedModel) -> None:
    x = np.arange(4, dtype=np.float32).reshape(1, 4)
    given = tensor(parameters={"binary_data_size": 16})
    wanted = [{"name": "y", "parameters": {"binary_data": True}}]
    request = decode(model, *body(given, raw=x.tobytes(), outputs=wanted))
    assert np.array_equal(request.feeds["x"], x)
    assert request.wanted == ("y",)
    encoded, json_bytes = encode(
        "demo", request, Answer(version="3", outputs=(("y", 2 * x),), ride=ALONE, precision="fp32")
    )
    assert encoded[json_bytes:] == (2 * x).tobytes()
    told = json.loads(encoded[:json_bytes])
    assert told["model_version"] == "3"
    assert told["outputs"][0]["parameters"] == {"binary_data_size": 16}


def test_numbers_that_json_lacks_are_no_silent_nonsense(model: ServedModel) -> None:
    request = decode(model, *body(tensor(data=[1, 2, 3, 4])))
    with pytest.raises(InvalidInputError, match="binary_data"):
        encode(
            "demo",
            request,
            Answer(version="1", outputs=(("y", np.array([np.nan])),), ride=ALONE, precision="fp32"),
        )


@pytest.mark.parametrize(
    ("sent", "complaint"),
    [
        ((b"", None), "no JSON"),
        ((b"[" * 100_000, None), "no JSON"),
        ((b"[]", None), "JSON object"),
        ((b"{}", 9), "JSON part has 9 bytes"),
        ((b'{"inputs": 3}', None), "inputs is a JSON list"),
        (body(tensor(name="z", data=[1])), "is no input"),
        (body(tensor(data=[1, 2, 3, 4]), tensor(data=[1, 2, 3, 4])), "came twice"),
        (body(tensor(data=[1, 2, 3])), "4 elements, 3 were sent"),
        (body(tensor(data=["a"] * 4)), "holds no float32"),
        (body(tensor(data=[[1, 2], [3]])), "holds no float32"),
        (body(tensor(datatype="INT8", data=[1, 2, 3, 4])), "of FP32, not 'INT8'"),
        (body(tensor(shape=[4], data=[1, 2, 3, 4])), "has the shape"),
        (body(tensor(shape=[-1, 4], data=[1, 2, 3, 4])), "has the shape"),
        (body(tensor(shape=[0, 4], data=[])), "has the shape"),
        (body(tensor(shape=[True, 4], data=[1, 2, 3, 4])), "whole numbers"),
        (
            body(tensor(shape=[1 << 62, 4], parameters={"binary_data_size": 16}), raw=bytes(16)),
            "16 were sent",
        ),
        (body(tensor(parameters={"binary_data_size": 1 << 40}), raw=bytes(16)), "raw bytes, 16 are there"),
        (body(tensor(parameters={"binary_data_size": -1}), raw=bytes(16)), "raw bytes"),
        (body(tensor(parameters={"binary_data_size": 16}), raw=bytes(17)), "1 bytes are left over"),
        (body(tensor(data=[1, 2, 3, 4]), outputs={}), "outputs is a JSON list"),
        (body(tensor(data=[1, 2, 3, 4]), parameters=[]), "parameters is a JSON object"),
    ],
)
def test_hostile_bodies_are_one_sentence(
    model: ServedModel, sent: tuple[bytes, int | None], complaint: str
) -> None:
    with pytest.raises(InvalidInputError, match=complaint):
        decode(model, *sent)
