"""Warm-up: which batches are formed, and that rows which mix are found out."""

from __future__ import annotations

import numpy as np
import pytest
from edgeloop_agent.serving.model import ServedModel, load_slot, warm
from edgeloop_foundation.errors import CorruptDataError
from edgeloop_protocol.types.serving import ServingSpec

from scripts.bench.serving_slots import SlotBoard, linear


def warmed(board: SlotBoard, slot: str, **words: object) -> ServedModel:
    return warm(load_slot(board.slots, "demo", slot, 1), ServingSpec(name="demo", **words))


def test_rows_of_a_free_axis_share_a_run(board: SlotBoard) -> None:
    model = warmed(board, board.install("demo", 7, linear(2.0)), batch_max=4)
    assert model.batch_limit in (2, 4)
    assert (model.unbatched, model.version) == ("", "7")
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert np.array_equal(model.run({"x": x})[0], 2 * x)


def test_rows_that_mix_are_never_run_together(board: SlotBoard) -> None:
    model = warmed(board, board.install("demo", 1, linear(2.0, mixes=True)))
    assert model.batch_limit == 1
    assert "changes with the other rows" in model.unbatched


@pytest.mark.parametrize(
    ("model", "items", "words", "reason"),
    [
        (linear(rows=1), 1, {}, "no free batch axis"),
        (linear(), 1, {}, "holds one item"),
        (linear(), 2, {"batch_max": 1}, "turned off"),
        (linear(), 2, {"batch_s_max": 0.0}, "fastest within the time"),
    ],
)
def test_without_batches_there_is_a_reason(
    board: SlotBoard, model: object, items: int, words: dict[str, object], reason: str
) -> None:
    served = warmed(board, board.install("demo", 1, model, items=items), **words)  # type: ignore[arg-type]
    assert served.batch_limit == 1
    assert reason in served.unbatched


def test_a_slot_that_was_changed_is_not_loaded(board: SlotBoard) -> None:
    slot = board.install("demo", 1, linear(2.0))
    file = board.slots.directory("demo", slot) / "model.onnx"
    file.chmod(0o600)
    file.write_bytes(linear(3.0).SerializeToString())
    with pytest.raises(CorruptDataError, match="not what was signed"):
        load_slot(board.slots, "demo", slot, 1)
