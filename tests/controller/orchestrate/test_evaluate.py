from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from edgeloop.app import App
from edgeloop.domain.experiment import SilentListener
from edgeloop.orchestrate.evaluate import EvaluationRequest, evaluate
from edgeloop_foundation.errors import InvalidInputError
from onnx import TensorProto, helper, numpy_helper


def model(path: Path, factor: float) -> str:
    """Decides for the larger of two features, the second one weighed by a factor."""
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(np.array([1.0, factor], np.float32), "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return str(path)


async def test_a_model_beside_another(tmp_path: Path) -> None:
    x = np.random.default_rng(0).uniform(0, 1, (200, 2)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=x, labels=x.argmax(axis=1))
    good, worse = model(tmp_path / "a.onnx", 1.0), model(tmp_path / "b.onnx", 0.7)
    request = EvaluationRequest(model=worse, against=good, data=str(tmp_path / "d.npz"))
    with App.open(tmp_path / "home") as app:
        found = await evaluate(app, request, SilentListener())
        (first, second) = found.classes
        # Too rarely decided for the second class: what is decided for it is right, but much of it is missed.
        assert second.precision == 1.0
        assert second.recall is not None
        assert second.recall < 0.9
        assert first.recall == 1.0
        assert [(c.label, c.decided) for c in found.confusions] == [(1, 0)]
        assert found.quality.retention is not None
        assert found.quality.retention.value == pytest.approx(found.quality.value.value or 0)
        assert found.stability[0].repeatable
        np.savez(tmp_path / "bare.npz", x=x)
        with pytest.raises(InvalidInputError, match="no labels to judge by"):
            await evaluate(
                app, EvaluationRequest(model=good, data=str(tmp_path / "bare.npz")), SilentListener()
            )
