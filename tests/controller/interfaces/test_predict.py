"""``edgeloop predict``: one table over boards, one document, and sentences for what cannot be."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from edgeloop.domain.prediction import BoardPrediction
from edgeloop.interfaces.api import DeviceSpec, Edgeloop
from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import Source

from .conftest import Call


def row(board: str, threads: int, **changes: Any) -> BoardPrediction:
    values: dict[str, Any] = {
        "profile": board, "profile_digest": "0" * 64, "model": "m.onnx", "artifact_digest": "1" * 64,
        "runtime_version": "onnxruntime 1.31.1", "batch_size": 1, "source": Source.SIMULATED,
        "tier": "calibrated here", "basis": "calibrated here, in family",
        "latency": Estimate(value=0.002, low=0.001, high=0.004, confidence=0.9),
        "peak_memory": Estimate(value=5e7, low=4e7, high=6e7, confidence=0.9),
        "available_memory_bytes": 10**9, "interval_factor": 2.0, "nearest_family": "mobile",
        "family_distance": 0.25,
    }  # fmt: skip
    return BoardPrediction(board=board, threads=threads, **{**values, **changes})


class Api(Edgeloop):
    """Answers with rows of its own and remembers what it was asked."""

    def __init__(self, *rows: BoardPrediction) -> None:
        super().__init__()
        self.rows, self.asked = rows, []

    asked: list[tuple[str, list[str], dict[str, Any]]]

    def predict(  # type: ignore[override]
        self, model: str, devices: Sequence[DeviceSpec], **how: Any
    ) -> tuple[BoardPrediction, ...]:
        self.asked.append((model, [device.address for device in devices], how))
        return self.rows


def session(api: Edgeloop, call: Call, *words: str) -> Any:
    return call("predict", "m.onnx", *words, api=api)


def test_several_boards_and_threads_stand_in_one_table(call: Call) -> None:
    api = Api(
        row("a", 1),
        row("a", 4, extrapolations=("4 threads were not measured, 1 were",), basis="calibrated here, out of family"),
        row("b", 1, source=Source.MEASURED, tier="measured on this device", basis="measured on this device",
            notes=("Measured in run r.",), latency=Estimate(value=0.003, low=0.0029, high=0.0031, confidence=0.95)),
    )  # fmt: skip
    found = session(api, call, "--on", "a=sim:nuc11,b=sim:raspberry_pi_5", "--threads", "1,4,1")
    assert found.exit_code == 0, found.stderr
    ((model, addresses, how),) = api.asked
    assert (model, addresses, how["threads"]) == ("m.onnx", ["nuc11", "raspberry_pi_5"], (1, 4))
    lines = found.stdout.splitlines()
    first = next(line for line in lines if "calibrated here, in family" in line)
    for text in ("2.00 ms", "1.00 to 4.00", "mobile", "0.25", "50.0 MB (40.0 to 60.0)", "simulated"):
        assert text in first
    assert "a, 4 threads: extrapolated: 4 threads were not measured, 1 were." in lines
    assert "b, 1 thread: Measured in run r. Its interval is at 95 %." in lines


def test_one_document_holds_every_field(call: Call) -> None:
    found = session(Api(row("a", 1)), call, "--on", "sim:nuc11", "--json")
    (told,) = json.loads(found.stdout)["predictions"]
    assert set(told) == set(BoardPrediction.__dataclass_fields__)
    assert (told["tier"], told["latency"]["confidence"], told["source"]) == (
        "calibrated here",
        0.9,
        "simulated",
    )


def test_a_board_that_cannot_run_it_exits_3_with_the_reason(call: Call) -> None:
    away = row("a", 1, latency=Estimate.absent("too big"), reason="too big", interval_factor=None)
    found = session(Api(away, row("b", 1)), call, "--on", "a=sim:nuc11,b=sim:nuc11")
    assert found.exit_code == 3
    assert "a, 1 thread: too big" in found.stdout


def test_threads_that_are_no_counts_are_a_sentence(call: Call) -> None:
    for words in ("0", "two", "1,,2", ""):
        found = session(Api(), call, "--on", "sim:nuc11", "--threads", words)
        assert found.exit_code == 2
        assert "--threads: found" in found.stderr
        assert "Traceback" not in found.stderr
