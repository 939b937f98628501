from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from edgeloop.domain.dataset import Dataset
from edgeloop.evaluate.inference import run_model
from edgeloop_foundation.errors import InvalidInputError, UnsupportedError
from edgeloop_protocol.types.artifact import StateBinding

WEIGHTS = np.arange(12, dtype=np.float32).reshape(4, 3) - 5
X = np.random.default_rng(0).standard_normal((21, 4)).astype(np.float32)


def data(**inputs: np.ndarray) -> Dataset:
    return Dataset(name="d", inputs=inputs)


@pytest.mark.parametrize("batch_size", [0, 1, 5])
def test_free_batch_gives_one_row_per_item(linear: Path, batch_size: int) -> None:
    outputs = run_model(linear, data(x=X), batch_size=batch_size)
    np.testing.assert_allclose(outputs["scores"], X @ WEIGHTS, rtol=1e-5, atol=1e-5)


def test_a_batch_of_one_is_fed_item_by_item(fixed: Path) -> None:
    np.testing.assert_allclose(run_model(fixed, data(x=X))["scores"], X @ WEIGHTS, rtol=1e-5, atol=1e-5)


def test_items_are_not_stacked_where_that_changes_their_answers(coupled: Path) -> None:
    positive = np.abs(X) + 1
    expected = positive / positive.max(axis=1, keepdims=True)
    np.testing.assert_allclose(run_model(coupled, data(x=positive))["y"], expected, rtol=1e-6)
    stacked = run_model(coupled, data(x=positive), batch_size=21)["y"]
    assert np.abs(stacked - expected).max() > 0.1


def test_an_item_that_is_a_whole_feed(sequence_model: Path) -> None:
    items = X.reshape(-1)[:80].reshape(8, 5, 2)
    np.testing.assert_allclose(
        run_model(sequence_model, data(x=items))["total"], items.sum(axis=(1, 2)), rtol=1e-5
    )


@pytest.mark.parametrize("batch_size", [0, 1])
def test_state_starts_at_zero_and_is_carried(running_sum: Path, batch_size: int) -> None:
    x = np.random.default_rng(1).standard_normal((5, 7, 2)).astype(np.float32)
    sequences = Dataset(
        name="d",
        inputs={"x": x, "gain": np.full((5, 7), 2, np.float32)},
        state=(StateBinding(input="state", output="state_out"),),
    )
    outputs = run_model(running_sum, sequences, batch_size=batch_size)
    assert list(outputs) == ["y"]
    np.testing.assert_allclose(outputs["y"], 2 * x.cumsum(axis=1), rtol=1e-5, atol=1e-5)


def test_what_cannot_be_loaded_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"not a model")
    with pytest.raises(UnsupportedError, match=r"cannot load broken\.onnx"):
        run_model(tmp_path / "broken.onnx", data(x=X))


def test_a_missing_input_is_named(linear: Path) -> None:
    with pytest.raises(InvalidInputError, match="lacks the input 'x'"):
        run_model(linear, data(other=X))


def test_a_model_that_fails_on_an_item_names_it(linear: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"linear\.onnx fails on item 0"):
        run_model(linear, data(x=X[:, :3]), batch_size=1)
