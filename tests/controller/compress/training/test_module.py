from __future__ import annotations

import numpy as np
import pytest
from edgeloop.compress.runtime import open_session
from edgeloop.compress.training.module import build_trainable, export_onnx

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.needs_torch]


def test_an_example_that_is_one_tensor_twice_is_two_inputs(trained_net, tmp_path):
    export_onnx(build_trainable(trained_net("one_tensor_twice")), tmp_path / "m.onnx")
    session = open_session(tmp_path / "m.onnx")
    x, y = np.full((2, 3), 5, np.float32), np.full((2, 3), 1, np.float32)
    first, second = (one.name for one in session.get_inputs())
    assert (session.run(None, {first: x, second: y})[0] == 3).all()
