"""A candidate that gets copies of requests, in a real serving process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import grpc
import numpy as np
import pytest
from edgeloop_agent.served_models import ServedModels
from edgeloop_agent.serving.shadow import WAITING_MAX, Shadow, ShadowModel
from edgeloop_agent.serving.versions import Versions
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.artifact import Tolerance
from edgeloop_protocol.types.serving import ServingSpec
from edgeloop_protocol.types.telemetry import ShadowTelemetry
from edgeloop_protocol.v1 import open_inference_grpc_pb2 as pb
from edgeloop_protocol.v1 import open_inference_grpc_pb2_grpc as pb_grpc

from scripts.bench.serving_slots import SlotBoard, linear

from .conftest import serving

X = np.arange(1, 9, dtype=np.float32).reshape(2, 4)
LOOSE = Tolerance(name="int8", absolute=0.0, relative=0.02, flip_rate_max=0.01)


def request(factor: float) -> pb.ModelInferRequest:
    tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=(2, 4))
    data = (factor * X).astype(np.float32).tobytes()
    return pb.ModelInferRequest(model_name="demo", inputs=[tensor], raw_input_contents=[data])


async def seen(served: ServedModels, enough: Callable[[ShadowTelemetry], bool]) -> ShadowTelemetry:
    async with asyncio.timeout(60):
        while True:
            (counted,) = await served.telemetry()
            if counted.shadow is not None and enough(counted.shadow):
                return counted.shadow
            await asyncio.sleep(0.02)


def all_judged(count: int) -> Callable[[ShadowTelemetry], bool]:
    return lambda one: one.compared_count + one.failed_count + one.dropped_count == count


async def test_a_candidate_is_counted_and_its_answers_are_never_returned(board: SlotBoard) -> None:
    board.install("demo", 1, linear(2.0))
    board.install("next", 7, linear(2.01), tolerance=LOOSE)
    async with serving(board, ServingSpec(name="demo", shadow="next")) as (served, status):
        await seen(served, lambda one: one.counter == 7)
        async with grpc.aio.insecure_channel(status.spec.grpc_address) as channel:
            infer = pb_grpc.GRPCInferenceServiceStub(channel).ModelInfer  # type: ignore[no-untyped-call]
            for factor in range(1, 6):
                answer = await infer(request(factor), timeout=30)
                assert answer.raw_output_contents[0] == (2 * np.float32(factor) * X).tobytes()
                await seen(served, all_judged(factor))
            near = await seen(served, all_judged(5))
            assert (near.compared_count, near.outside_count, near.failed_count) == (5, 0, 0)
            assert near.relative_error_max == pytest.approx(0.005, rel=0.05)
            assert near.run.total_count == 5

            board.install("next", 8, linear(2.5), tolerance=LOOSE)
            await seen(served, lambda one: one.counter == 8)
            await infer(request(1.0), timeout=30)
            far = await seen(served, all_judged(1))
            assert (far.compared_count, far.outside_count) == (1, 1)
            assert far.relative_error_max == pytest.approx(0.25, rel=0.01)

            board.install("next", 9, linear(2.0, features=3), tolerance=LOOSE)
            await seen(served, lambda one: one.counter == 9)
            answer = await infer(request(3.0), timeout=30)
            assert answer.raw_output_contents[0] == (6 * X).tobytes()
            odd = await seen(served, all_judged(1))
            assert odd.failed_count == 1
            assert odd.reason


async def test_without_a_candidate_it_says_why_and_serves_all_the_same(board: SlotBoard) -> None:
    board.install("demo", 1, linear(2.0))
    async with serving(board, ServingSpec(name="demo", shadow="nobody")) as (served, status):
        assert status.counter == 1
        missing = await seen(served, lambda one: bool(one.reason))
        assert (missing.counter, missing.compared_count) == (0, 0)


def _never(slot: str) -> ShadowModel:
    raise AssertionError(slot)


def test_what_comes_faster_than_it_is_tried_is_dropped_and_counted(board: SlotBoard) -> None:
    told: list[str] = []
    # Nobody follows the versions, so that none is ever ready.
    versions: Versions[ShadowModel] = Versions(board.slots, "next", _never, lambda: None)
    shadow = Shadow("next", versions, told.append)
    for _ in range(WAITING_MAX + 3):
        shadow.offer({"x": X}, {"y": X})
    assert told == ["dropped"] * 3
    assert shadow.value().dropped_count == 3
    shadow.stop()


def test_a_model_is_not_tried_against_itself() -> None:
    with pytest.raises(InvalidInputError, match="against itself"):
        ServingSpec(name="demo", shadow="demo")
