"""Files that the libraries themselves wrote answer as the library does; other files are one sentence."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from edgeloop.compress.sources import load_source
from edgeloop_foundation.errors import InvalidInputError, NotFoundError

ROWS = np.random.default_rng(0).normal(size=(400, 5)).astype(np.float32)
LABELS = (ROWS[:, 0] + ROWS[:, 1] ** 2 > 0.5).astype(np.int64)
HELD = np.where(np.random.default_rng(1).random((200, 5)) < 0.1, np.nan, ROWS[200:]).astype(np.float32)


def write(path):
    """Train on half of the rows, save in the library's own format; return its probabilities of ``HELD``."""
    library = "lightgbm" if path.suffix == ".txt" else "xgboost"
    module = pytest.importorskip(library, reason=f"install {library}: pip install 'edgeloop[classic]'")
    x, y = ROWS[:200], LABELS[:200]
    if library == "lightgbm":
        settings = {"objective": "binary", "num_threads": 1, "verbose": -1}
        booster = module.train(settings, module.Dataset(x, y), 6)
        booster.save_model(str(path))
        return booster.predict(HELD)
    settings = {"objective": "binary:logistic", "nthread": 1}
    booster = module.train(settings, module.DMatrix(x, y), 6)
    booster.save_model(str(path))
    return booster.predict(module.DMatrix(HELD))


@pytest.mark.parametrize("name", ["m.json", "m.ubj", "m.txt"])
def test_a_saved_model_answers_as_its_library_does(tmp_path, name):
    expected = write(tmp_path / name)
    found = load_source(str(tmp_path / name), tmp_path / "work")
    assert found.description.takes_missing_values
    session = onnxruntime.InferenceSession(str(found.path), providers=["CPUExecutionProvider"])
    labels, probabilities = session.run(None, {session.get_inputs()[0].name: HELD})
    assert set(labels.tolist()) == {0, 1}
    assert np.array_equal(labels, expected > 0.5)
    assert np.abs(probabilities[:, 1] - expected).max() < 2e-6


@pytest.mark.parametrize(
    ("name", "damage"),
    [("m.json", "half"), ("m.ubj", "half"), ("m.txt", "half"), ("m.json", "other")],
)
def test_a_damaged_file_is_one_sentence(tmp_path, name, damage):
    path = tmp_path / name
    write(path)
    whole = path.read_bytes()
    path.write_bytes({"half": whole[: len(whole) // 2], "other": b'{"learner": [1, "x"]}'}[damage])
    library = "lightgbm" if path.suffix == ".txt" else "xgboost"
    with pytest.raises(InvalidInputError, match=f"{name} is not a model that {library} reads") as caught:
        load_source(str(path), tmp_path / "work")
    assert "\n" not in str(caught.value)
    assert "save_model" in caught.value.next_step


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(NotFoundError, match="does not exist"):
        load_source(str(tmp_path / "m.ubj"), tmp_path / "work")
