"""A profile says why a runtime has no figures."""

from __future__ import annotations

import pytest
from edgeloop_foundation.errors import UnsupportedError
from edgeloop_profiles import load_profile


@pytest.mark.parametrize("board", ["jetson_nano", "jetson_xavier_nx", "jetson_orin_nano"])
def test_the_gpu_of_a_jetson_has_no_figures_and_says_why(board: str) -> None:
    profile = load_profile(board)
    with pytest.raises(UnsupportedError, match=r"'tensorrt': no figures exist for the .*only be measured"):
        profile.runtime("tensorrt")
    for provider in ("CUDAExecutionProvider", "TensorrtExecutionProvider"):
        assert "no figures exist" in profile.absence_of(provider)
        assert provider not in profile.runtime("onnxruntime").providers


def test_of_other_runtimes_nothing_is_said() -> None:
    assert load_profile("nuc11").absence_of("tensorrt") == ""


@pytest.mark.parametrize(
    ("board", "version", "python", "opset"),
    [
        ("jetson_nano", "1.10.0", "3.6", 15),
        ("jetson_xavier_nx", "1.19.2", "3.8", 21),
        ("jetson_orin_nano", "1.23.2", "3.10", 23),
    ],
)
def test_a_jetson_has_the_last_runtime_of_its_python(
    board: str, version: str, python: str, opset: int
) -> None:
    profile = load_profile(board)
    runtime = profile.runtime("onnxruntime")
    assert (runtime.version, runtime.max_opset) == (version, opset)
    assert profile.operating_system.python_version.startswith(f"{python}.")
