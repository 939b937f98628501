"""A ladder on a model that was really trained (least squares on separable data): what breaks the quality is undone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from edgeloop.app import App
from edgeloop.compress.ladder_file import load_ladder
from edgeloop.domain.experiment import SilentListener
from edgeloop.domain.ladder import Ladder, Rung, Stage
from edgeloop.domain.recipe import PassSpec
from edgeloop.orchestrate.ladder import ClimbRequest, climb
from edgeloop_foundation.errors import InvalidInputError
from onnx import TensorProto, helper, numpy_helper

WIDTH = 256


def trained(path: Path, data: Path) -> tuple[str, str]:
    """Random features and a least-squares read-out over four noisy classes."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((4, 32))
    labels = np.arange(900) % 4
    x = (centres[labels] + 0.8 * rng.standard_normal((900, 32))).astype(np.float32)
    front = (rng.standard_normal((32, WIDTH)) / 6).astype(np.float32)
    hidden = np.maximum(x @ front, 0)
    back = np.linalg.lstsq(hidden[:300], np.eye(4)[labels[:300]], rcond=None)[0].astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "front"], ["h"], name="front"),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Identity", ["r"], ["i"]),
        helper.make_node("MatMul", ["i", "back"], ["y"], name="back"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 32])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(front, "front"), numpy_helper.from_array(back, "back")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    np.savez(data, x=x[300:], labels=labels[300:])
    return str(path), str(data)


def rung(label: str, *passes: PassSpec) -> Rung:
    return Rung(label=label, passes=passes)


LADDER = Ladder(
    name="test",
    stages=(
        Stage(name="idle", rungs=(rung("dropped", PassSpec.of("drop_identities")),)),
        Stage(
            name="int8",
            rungs=(
                # Ranges cut at the median of the activations: builds, and answers far worse.
                rung(
                    "ruinous",
                    PassSpec.of("quantize_static", calibration="percentile", percentile=75.0, items=32),
                ),
                rung("static", PassSpec.of("quantize_static")),
            ),
        ),
        Stage(name="again", rungs=(rung("static again", PassSpec.of("quantize_static")),)),
    ),
)


@pytest.fixture
def request_(tmp_path: Path) -> ClimbRequest:
    model, data = trained(tmp_path / "m.onnx", tmp_path / "d.npz")
    return ClimbRequest(model=model, data=data, ladder=LADDER, keep=0.95)


async def test_the_rung_is_picked_and_what_ruins_the_model_never_replaces_the_last_good_one(
    tmp_path: Path, request_: ClimbRequest
) -> None:
    with App.open(tmp_path / "home") as app:
        found = await climb(app, request_, SilentListener())
        assert [(s.rung, s.taken) for s in found.steps] == [
            ("dropped", True),
            ("ruinous", False),
            ("static", True),
            ("static again", False),
        ]
        ruinous = found.steps[1]
        assert "it keeps at least 0." in ruinous.reason
        assert ruinous.candidate.artifact_digest
        assert "quantised already" in found.steps[3].reason
        assert [p.name for p in found.chosen.recipe.passes] == ["drop_identities", "quantize_static"]
        assert found.chosen.artifact_digest == found.steps[2].candidate.artifact_digest
        assert found.chosen.quality is not None
        assert found.chosen.quality.retention is not None
        assert (found.chosen.quality.retention.low or 0) >= 0.95
        # Climbed again, nothing is built anew: what was built is found under its digest.
        again = await climb(app, request_, SilentListener())
        assert [s.candidate.build_s for s in again.steps if s.candidate.artifact_digest] == [None] * 3
        assert again.chosen.artifact_digest == found.chosen.artifact_digest


async def test_a_stricter_share_keeps_the_original_and_a_limit_stops(
    tmp_path: Path, request_: ClimbRequest
) -> None:
    with App.open(tmp_path / "home") as app:
        none = await climb(app, replace(request_, keep=1.0), SilentListener())
        assert none.chosen.original
        assert not any(step.taken for step in none.steps)
        late = await climb(app, replace(request_, limit_s=1e-9), SilentListener())
        assert not late.steps
        assert "time limit of 1e-09 s was over before 'dropped'" in late.stopped


async def test_data_without_labels_is_refused(tmp_path: Path, request_: ClimbRequest) -> None:
    np.savez(tmp_path / "bare.npz", x=np.load(request_.data)["x"])
    with App.open(tmp_path / "home") as app, pytest.raises(InvalidInputError, match="has no labels"):
        await climb(app, replace(request_, data=str(tmp_path / "bare.npz")), SilentListener())
    with pytest.raises(InvalidInputError, match="none was given"):
        replace(request_, data="")
    with pytest.raises(InvalidInputError, match="at most 1, not 1\\.5"):
        replace(request_, keep=1.5)


@pytest.mark.parametrize("name", ["quantization", "at_rest", "progressive"])
def test_shipped_ladders_are_sound(name: str) -> None:
    assert load_ladder(name).name == name
