from __future__ import annotations

import numpy as np
import pytest
from edgeloop.compress.runtime import open_session
from edgeloop.compress.training.export import export_onnx
from edgeloop.compress.training.module import build_trainable
from edgeloop_foundation.errors import InvalidInputError

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.needs_torch]


def test_an_example_that_is_one_tensor_twice_is_two_inputs(trained_net, tmp_path):
    export_onnx(build_trainable(trained_net("one_tensor_twice")), tmp_path / "m.onnx")
    session = open_session(tmp_path / "m.onnx")
    x, y = np.full((2, 3), 5, np.float32), np.full((2, 3), 1, np.float32)
    first, second = (one.name for one in session.get_inputs())
    assert (session.run(None, {first: x, second: y})[0] == 3).all()


@pytest.mark.parametrize("net", ["other_factor_when_exported", "constant_when_exported"])
def test_what_was_exported_is_held_to_the_module_on_more_than_its_example(trained_net, tmp_path, net):
    with pytest.raises(InvalidInputError, match="answers otherwise than the module: output"):
        export_onnx(build_trainable(trained_net(net)), tmp_path / "m.onnx")


def test_a_module_that_does_not_answer_alike_twice_is_exported_all_the_same(trained_net, tmp_path):
    export_onnx(build_trainable(trained_net("noisy")), tmp_path / "m.onnx")
    assert open_session(tmp_path / "m.onnx").get_inputs()[0].shape == ["batch", 3]
