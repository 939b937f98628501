"""Two resident forms of one model, switched by a signal, in a real serving process."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import numpy as np
import pytest
from edgeloop_agent.served_models import ServedModels
from edgeloop_agent.serving.forms import DWELL_S, Gate, signal_of
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.serving import ServingSpec, SwitchRule
from edgeloop_protocol.v1 import open_inference_grpc_pb2 as pb
from edgeloop_protocol.v1 import open_inference_grpc_pb2_grpc as pb_grpc

from scripts.bench.serving_slots import SlotBoard, linear

from .conftest import serving

X = np.arange(1, 5, dtype=np.float32).reshape(1, 4)
RULE = SwitchRule(signal="temperature", high=80.0, low=70.0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "temperature",
        "temperature:70:80",
        "heat:80:70",
        "queue:nan:1",
        "file:relative:1:0",
        "queue:/x:2:1",
        "queue:3",
    ],
)
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="no rule"):
        SwitchRule.parse(text)


def test_rules_are_read() -> None:
    assert SwitchRule.parse("temperature:80:70") == RULE
    assert SwitchRule.parse("file:/run/regime:0.5:0.1") == SwitchRule(
        signal="file", high=0.5, low=0.1, path="/run/regime"
    )
    with pytest.raises(InvalidInputError, match="go together"):
        ServingSpec(name="demo", second="small")


def test_between_the_bounds_and_too_soon_nothing_changes() -> None:
    gate = Gate(RULE)
    seen = []
    steps = [(0.0, 79.9), (1.0, 80.0), (2.0, 60.0), (1.0 + DWELL_S, 75.0)]
    for now_s, signal in (*steps, (7.0, None), (8.0, 70.0), (9.0, 95.0), (14.0, 95.0)):
        gate.look(signal, now_s)
        seen.append(gate.wanted)
    assert seen == [False, True, True, True, True, False, False, True]


def test_a_temperature_is_that_of_the_hottest_zone(tmp_path: Path) -> None:
    for number, millidegrees in enumerate((41_000, 83_500)):
        zone = tmp_path / f"sys/class/thermal/thermal_zone{number}"
        zone.mkdir(parents=True)
        (zone / "type").write_text(f"cpu{number}\n")
        (zone / "temp").write_text(f"{millidegrees}\n")
    assert signal_of(RULE, lambda: 0, tmp_path)() == pytest.approx(83.5)
    assert signal_of(SwitchRule.parse("queue:8:1"), lambda: 5)() == 5.0
    assert signal_of(SwitchRule.parse(f"file:{tmp_path}/none:1:0"), lambda: 0)() is None


async def until_form(served: ServedModels, form: str, counter: int) -> None:
    async with asyncio.timeout(60):
        while True:
            (status,) = served.list()
            if (status.form, status.counter) == (form, counter):
                return
            await asyncio.sleep(0.02)


async def test_the_second_form_answers_while_the_signal_is_high(board: SlotBoard, tmp_path: Path) -> None:
    board.install("demo", 1, linear(2.0))
    board.install("small", 4, linear(3.0))
    signal = tmp_path / "regime"
    spec = ServingSpec(name="demo", second="small", switch=f"file:{signal}:1:0")
    tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=(1, 4))
    request = pb.ModelInferRequest(model_name="demo", inputs=[tensor], raw_input_contents=[X.tobytes()])
    async with serving(board, spec) as (served, status):
        assert status.form == "demo"
        async with grpc.aio.insecure_channel(status.spec.grpc_address) as channel:
            infer = pb_grpc.GRPCInferenceServiceStub(channel).ModelInfer  # type: ignore[no-untyped-call]
            assert (await infer(request, timeout=30)).raw_output_contents[0] == (2 * X).tobytes()
            signal.write_text("1\n")
            await until_form(served, "small", 4)
            answer = await infer(request, timeout=30)
            assert (answer.model_version, answer.raw_output_contents[0]) == ("4", (3 * X).tobytes())
            signal.write_text("0\n")
            await until_form(served, "demo", 1)
            assert (await infer(request, timeout=30)).raw_output_contents[0] == (2 * X).tobytes()


async def test_a_second_form_of_another_shape_never_answers_and_it_is_said(
    board: SlotBoard, tmp_path: Path
) -> None:
    board.install("demo", 1, linear(2.0))
    board.install("small", 4, linear(3.0, features=3))
    signal = tmp_path / "regime"
    signal.write_text("1")
    async with serving(board, ServingSpec(name="demo", second="small", switch=f"file:{signal}:1:0")) as (
        served,
        _,
    ):
        async with asyncio.timeout(60):
            while True:
                (status,) = served.list()
                if "not that of the usual form" in status.reason:
                    break
                await asyncio.sleep(0.02)
        assert status.form == "demo"
