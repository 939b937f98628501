"""What is counted of requests: after the answer is on its way, and before anybody reads it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from edgeloop_agent.serving.engine import Engine
from edgeloop_agent.serving.model import ServedModel, load_slot, warm
from edgeloop_agent.serving.request_log import RequestLog
from edgeloop_agent.serving.versions import Versions
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.serving import ServingSpec

from scripts.bench.serving_slots import SlotBoard, linear


@pytest.fixture
def engine(board: SlotBoard, tmp_path: Path) -> Engine:
    board.install("demo", 1, linear())
    spec = ServingSpec(name="demo")

    def load(slot: str) -> ServedModel:
        return warm(load_slot(board.slots, "demo", slot, 1), spec)

    versions: Versions[ServedModel] = Versions(board.slots, "demo", load, lambda: None)
    versions.look()
    engine = Engine(spec, versions, RequestLog(tmp_path / "log", "demo", 1 << 20))
    assert versions.current is not None
    engine.took_over(versions.current)
    return engine


def ask(engine: Engine) -> None:
    with engine.counted("grpc") as counted:
        model = engine.model("demo", "")
        counted.answer = engine.infer(model, {"x": np.ones((1, 4), np.float32)}, [], lambda: True)


def requests_in(scraped: bytes) -> int:
    lines = [line for line in scraped.decode().splitlines() if "request_seconds_count{" in line]
    return int(lines[0].rpartition(" ")[2]) if lines else 0


def test_a_request_is_counted_once_and_nothing_of_it_before_the_answer_is_handed_over(engine: Engine) -> None:
    ask(engine)
    # Neither its run nor itself: each would hold the answer up.
    assert len(engine._uncounted) == 2
    engine.settle()
    engine.settle()
    assert not engine._uncounted
    assert requests_in(engine.scrape()) == 1


def test_whoever_reads_the_counts_finds_every_answer_in_them(engine: Engine, tmp_path: Path) -> None:
    ask(engine)
    assert requests_in(engine.scrape()) == 1
    ask(engine)
    told = engine.telemetry()
    assert (told.request_count, told.latency.total_count, told.run.total_count) == (2, 2, 2)
    ask(engine)
    assert engine.close(1.0) is True
    lines = [line for path in (tmp_path / "log").iterdir() for line in path.read_text().splitlines()]
    assert len(lines) == 3


def test_an_error_is_counted_at_once_and_leaves_its_place(engine: Engine) -> None:
    with pytest.raises(InvalidInputError), engine.counted("grpc"):
        engine.infer(engine.model("demo", ""), {}, [], lambda: True)
    assert engine.telemetry().error_count == 1
    assert b"requests_under_way" in engine.scrape()
    assert engine._inside == 0
