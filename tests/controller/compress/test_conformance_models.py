"""The models that the package onnx brings along for its own conformance: real files of many operators and
versions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from edgeloop.compress.compare import answers, unrelated
from edgeloop.compress.lowering import lower
from edgeloop.compress.passes import make_pass
from edgeloop.compress.passes.base import PassContext
from edgeloop.compress.sources import load_source
from edgeloop.domain.dataset import Dataset
from edgeloop.domain.recipe import PassSpec
from onnx import numpy_helper

ROOT = Path(onnx.__file__).parent / "backend/test/data"
NAMES = (
    "pytorch-converted/test_Conv1d_groups",
    "pytorch-converted/test_Conv2d_depthwise_with_multiplier",
    "pytorch-converted/test_Conv3d_dilated_strided",
    "pytorch-converted/test_ConvTranspose2d",
    "pytorch-converted/test_Linear_no_bias",
)


@pytest.mark.parametrize("name", NAMES)
def test_lowered_optimised_and_quantised(tmp_path, name):
    folder = ROOT / name
    if not (folder / "model.onnx").is_file():
        pytest.skip("this version of onnx does not bring the model along")
    source = load_source(str(folder / "model.onnx"), tmp_path)
    feeds = {}
    for position, spec in enumerate(source.description.inputs):
        tensor = onnx.TensorProto()
        tensor.ParseFromString((folder / f"test_data_set_0/input_{position}.pb").read_bytes())
        feeds[spec.name] = numpy_helper.to_array(tensor)
    assert lower(source.path, feeds).macs > 0
    data = Dataset(name="d", inputs={key: np.stack([array, -array]) for key, array in feeds.items()})
    reference = answers(source.path, source.description, data)
    for number, step in enumerate((PassSpec.of("optimize_graph"), PassSpec.of("quantize_static"))):
        work = tmp_path / str(number)
        work.mkdir()
        context = PassContext(work_directory=work, calibration=data)
        result = make_pass(step).run(source.path, work / "out.onnx", context, source.description)
        assert not unrelated(answers(result.path, result.description, data), reference)
