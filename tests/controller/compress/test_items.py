from __future__ import annotations

import numpy as np
import pytest
from edgeloop.compress.items import feeds_of, first_feed, read_items, run_items, synthetic_feed, write_items
from edgeloop.domain.dataset import Dataset
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.artifact import StateBinding, TensorSpec


def test_rank_decides_whether_the_first_axis_stays():
    data = Dataset(name="d", inputs={"x": np.arange(12, dtype=np.float32).reshape(3, 4)})
    batched = (TensorSpec(name="x", dtype="float32", shape=(-1, 4)),)
    whole = (TensorSpec(name="x", dtype="float32", shape=(4,)),)
    assert [f["x"].shape for f in feeds_of(data, batched)] == [(1, 4)] * 3
    assert [f["x"].shape for f in feeds_of(data, whole)] == [(4,)] * 3
    assert first_feed(data, whole)["x"].tolist() == [0, 1, 2, 3]


def test_state_runs_from_step_to_step(zoo, tmp_path):
    state = (StateBinding(input="state", output="next"),)
    path = zoo.stateful(tmp_path / "m.onnx")
    specs = tuple(TensorSpec(name=n, dtype="float32", shape=(-1, 6)) for n in ("x", "state"))
    data = Dataset(name="d", inputs={"x": np.ones((2, 4, 6), np.float32)}, state=state)
    runs = run_items(path, data, specs)
    assert len(runs) == 8
    one = runs[0]["next"]
    np.testing.assert_allclose(runs[3]["next"], 4 * one, rtol=1e-5)
    np.testing.assert_allclose(runs[4]["next"], one, rtol=1e-6)  # the next item starts at zero


def test_items_survive_the_disk(tmp_path):
    data = Dataset(name="d", inputs={"a/b": np.arange(4), "c": np.ones((4, 2), np.float32)})
    write_items(tmp_path / "i.npz", data)
    found = read_items(tmp_path / "i.npz")
    assert found.inputs["a/b"].tolist() == [0, 1, 2, 3]
    assert found.inputs["c"].dtype == np.float32
    with pytest.raises(InvalidInputError, match="Python objects"):
        write_items(tmp_path / "o.npz", Dataset(name="o", inputs={"x": np.array([{}, {}])}))


def test_synthetic_numbers_repeat_and_fit():
    specs = (
        TensorSpec(name="f", dtype="float16", shape=(-1, 3)),
        TensorSpec(name="i", dtype="int64", shape=(2, -1)),
        TensorSpec(name="b", dtype="bool", shape=()),
    )
    one, two = synthetic_feed(specs, 3), synthetic_feed(specs, 3)
    assert {n: (str(a.dtype), a.shape) for n, a in one.items()} == {
        "f": ("float16", (1, 3)),
        "i": ("int64", (2, 1)),
        "b": ("bool", ()),
    }
    assert all((one[n] == two[n]).all() for n in one)


def test_a_number_per_item_is_fed_as_an_array():
    data = Dataset(name="d", inputs={"rate": np.full(3, 16000, np.int64)})
    feed = first_feed(data, (TensorSpec(name="rate", dtype="int64", shape=()),))
    assert isinstance(feed["rate"], np.ndarray)
    assert feed["rate"].shape == ()
