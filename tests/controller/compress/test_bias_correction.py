from __future__ import annotations

import numpy as np
import onnx
import pytest
from edgeloop.compress.compare import answers
from edgeloop.compress.passes import make_pass
from edgeloop.compress.passes.base import PassContext
from edgeloop.domain.dataset import Dataset
from edgeloop.domain.recipe import PassSpec


def run(source, tmp_path, data, **settings):
    work = tmp_path / f"work-{len(list(tmp_path.iterdir()))}"
    work.mkdir()
    context = PassContext(work_directory=work, calibration=data)
    step = make_pass(PassSpec.of("quantize_static", **settings))
    return step.run(source.path, work / "out.onnx", context, source.description)


def skewed(zoo, path, kind):
    """One product whose inputs have means far from zero, so that rounded weights shift every channel."""
    if kind == "Gemm":
        node = onnx.helper.make_node("Gemm", ["x", "w"], ["y"], name="p", transB=1)
        return zoo.save(
            path,
            [node],
            [zoo.value("x", ["n", 96])],
            [zoo.value("y", ["n", 12])],
            [zoo.weight((12, 96), "w")],
        )
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"], name="p", group=2)
    inputs, outputs = [zoo.value("x", ["n", 8, 9, 9])], [zoo.value("y", ["n", 12, 7, 7])]
    return zoo.save(path, [node], inputs, outputs, [zoo.weight((12, 4, 3, 3), "w")])


@pytest.mark.parametrize("kind", ["Gemm", "Conv"])
def test_the_mean_error_of_each_channel_shrinks(zoo, tmp_path, load, rng, kind):
    source = load(skewed(zoo, tmp_path / "m.onnx", kind))
    shape = (32, 96) if kind == "Gemm" else (32, 8, 9, 9)
    x = (
        rng.uniform(2, 4, shape[1:2])[(...,) + (None,) * (len(shape) - 2)] + rng.uniform(0, 0.5, shape)
    ).astype(np.float32)
    data = Dataset(name="d", inputs={"x": x})

    def shift(**settings):
        # A processor without VNNI saturates sums of full-range products, an error that no bias takes back.
        made = run(source, tmp_path, data, per_channel=False, reduce_range=True, **settings)
        outputs = [
            answers(p, source.description, data, limit=32)["y"].reshape(32, 12, -1)
            for p in (made.path, source.path)
        ]
        return np.abs((outputs[0] - outputs[1]).mean(axis=(0, 2))).mean(), made

    plain, _ = shift()
    corrected, made = shift(bias_correction=True)
    assert corrected < 0.6 * plain
    assert "bias correction: 1 of 1 Conv and Gemm shifted" in made.notes
