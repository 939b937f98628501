"""Wrong data of each kind ends in one sentence; what is safe is done and noted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from edgeloop.domain.dataset import Dataset
from edgeloop.domain.model import ModelDescription
from edgeloop.evaluate.datasets.fit import fit
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.artifact import StateBinding

Model = Callable[..., ModelDescription]
X = ("x", (-1, 4))


def data(labels: object = None, **settings: object) -> Dataset:
    known = {"task", "output", "state", "calibration_indices"}
    arrays = {k: np.asarray(v) for k, v in settings.items() if k not in known}
    rest = {k: v for k, v in settings.items() if k in known}
    return Dataset(name="d", inputs=arrays, labels=None if labels is None else np.asarray(labels), **rest)  # type: ignore[arg-type]


def ones(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.ones(shape, dtype)


def test_safe_casts_are_done_and_noted(model: Model) -> None:
    fitted = fit(
        data(x=ones(5, 4, dtype="float64"), ids=np.arange(5)[:, None]), model(X, ("ids", (-1, 1), "int32"))
    )
    assert {n: str(a.dtype) for n, a in fitted.inputs.items()} == {"x": "float32", "ids": "int32"}
    assert fitted.notes == ("x: cast from float64 to float32", "ids: cast from int64 to int32")


def test_a_single_array_belongs_to_the_single_input(model: Model) -> None:
    assert list(fit(data(anything=ones(2, 4)), model(X)).inputs) == ["x"]


def test_an_input_without_a_batch_axis_takes_whole_items(model: Model) -> None:
    assert fit(data(x=ones(6, 3, 4)), model(("x", (3, 4)))).inputs["x"].shape == (6, 3, 4)
    assert fit(data(x=ones(6, 9, 4)), model(("x", (-1, 4)))).inputs["x"].shape == (6, 9, 4)


def test_steps_stand_between_items_and_the_rest(model: Model) -> None:
    state = (StateBinding(input="h", output="h2"),)
    stateful = model(X, ("h", (1, -1, 2)), outputs=(("y", (-1, 1)), ("h2", (1, -1, 2))), state=state)
    assert fit(data(x=ones(3, 7, 4)), stateful).state == state
    with pytest.raises(InvalidInputError, match="items of shape"):
        fit(data(x=ones(3, 4)), stateful)


def test_labels_become_class_indices(model: Model) -> None:
    named = fit(data(["b", "a", "b"], x=ones(3, 4)), model(X))
    assert named.labels is not None
    assert named.labels.tolist() == [1, 0, 1]
    assert "alphabetical" in named.notes[-1]
    whole = fit(data([0.0, 2.0], x=ones(2, 4)), model(X))
    assert whole.labels is not None
    assert whole.labels.dtype.kind == "i"


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"y": ones(2, 4), "z": ones(2, 1)}, "lacks x"),
    ({"x": ones(2, 4), "z": ones(2, 1)}, "has z, which the model does not take"),
    ({"x": ones(2, 5)}, r"items of shape \[5\], the model takes \[any, 4\]"),
    ({"x": ones(2, 1, 4, 1)}, r"items of shape \[1, 4, 1\]"),
    ({"x": ones(2, 4, dtype="uint8")}, "is uint8, the model takes float32"),
    ({"x": np.array([[1.0, np.nan, 1, 1], [1, 1, 1, 1]])}, "1 NaN or infinite values in 1 of 2 items"),
    ({"x": np.full((2, 4), 1e39)}, "8 NaN or infinite values"),
    ({"x": np.array([["a"] * 4] * 2)}, "the model takes float32"),
    (
        {"x": ones(2, 4), "labels": [0, 3]},
        "labels run from 0 to 3, output 'scores' of the model has classes 0 to 2",
    ),
    ({"x": ones(2, 4), "labels": [-1, 0]}, "labels run from -1"),
    ({"x": ones(2, 4), "labels": [0.5, np.inf]}, "labels hold infinite values"),
    (
        {"x": ones(2, 4), "labels": [0, 1], "output": "logits"},
        "judged by the output 'logits'; the model has scores",
    ),
    ({"x": ones(2, 4), "calibration_indices": (2,)}, "calibration index 2 is not one of its 2 items"),
    (
        {"x": ones(2, 4), "state": (StateBinding(input="h", output="g"),)},
        "the state g -> h is not of this model",
    ),
]


@pytest.mark.parametrize(("given", "says"), WRONG, ids=[says[:30] for _, says in WRONG])
def test_what_does_not_fit_is_one_sentence(model: Model, given: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInputError, match=says) as caught:
        fit(data(**given), model(X))
    assert "\n" not in str(caught.value)


def test_integers_that_do_not_fit_are_refused(model: Model) -> None:
    with pytest.raises(InvalidInputError, match="values from 0 to 300, the model's int8 holds -128 to 127"):
        fit(data(x=np.array([[300], [0]])), model(("x", (-1, 1), "int8")))


def test_nan_labels_and_no_items_are_refused_by_the_dataset_itself() -> None:
    with pytest.raises(InvalidInputError, match="1 of 2 labels are NaN"):
        data([0.0, np.nan], x=ones(2, 4))
    with pytest.raises(InvalidInputError, match="holds no items"):
        data(x=ones(0, 4))
    with pytest.raises(InvalidInputError, match="differ in their number of items"):
        data([1], x=ones(2, 4))


def test_missing_values_pass_where_the_model_takes_them(model: Model) -> None:
    gaps = ones(3, 4)
    gaps[0, 1] = gaps[2, 3] = np.nan
    trees = replace(model(X), takes_missing_values=True)
    fitted = fit(data(x=gaps), trees)
    assert np.array_equal(fitted.inputs["x"], gaps, equal_nan=True)
    assert fitted.notes == ("x: 2 missing values, which the model's trees take",)
    assert fit(data(x=ones(3, 4)), trees).notes == ()
    gaps[1, 0] = np.inf
    with pytest.raises(InvalidInputError, match="1 NaN or infinite values in 1 of 3 items"):
        fit(data(x=gaps), trees)
    with pytest.raises(InvalidInputError, match="3 NaN or infinite values in 3 of 3 items"):
        fit(data(x=gaps), model(X))
