"""TensorRT's layer profiles, over output that trtexec wrote on real GPUs (see tests/fixtures/tensorrt/SOURCE)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from edgeloop_agent.runner.tensorrt_profile import (
    LayerRecorder,
    LayerTime,
    layer_types,
    parse_profile,
    placement_from_layers,
)

FIXTURES = Path(__file__).parents[2] / "fixtures" / "tensorrt"
PROFILE = (FIXTURES / "resnet_qat_a100.profile.json").read_bytes()
LAYERS = (FIXTURES / "resnet_qat_a100.layers.json").read_bytes()

ELEVEN_RUNS = b"""[
  { "count" : 11 }
, { "name" : "[trainStation1]", "timeMs" : 16.72, "averageMs" : 1.52, "medianMs" : 1.08902, "percentage" : 0.376409 }
, { "name" : "/neck/Resize", "timeMs" : 2.96694, "averageMs" : 0.269722, "percentage" : 0.0667934 }
]"""


def test_a_recorded_profile_is_read_whole() -> None:
    layers = parse_profile(PROFILE)
    assert len(layers) == 37
    assert layers[1] == LayerTime(
        name="conv1.weight + QuantizeLinear_7 + Conv_9", mean_s=pytest.approx(0.000201728)
    )
    total_s = sum(layer.mean_s for layer in layers)
    recorded = json.loads(PROFILE)[1:]
    for layer, entry in zip(layers, recorded, strict=True):
        # trtexec's own shares: what it printed beside the times.
        assert 100 * layer.mean_s / total_s == pytest.approx(entry["percentage"], rel=1e-4)


def test_means_are_per_run() -> None:
    first, second = parse_profile(ELEVEN_RUNS)
    assert (first.name, first.mean_s) == ("[trainStation1]", pytest.approx(0.00152))
    assert second.mean_s == pytest.approx(2.96694e-3 / 11, rel=1e-5)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"[]", "begins with the count"),
        (b"{}", "begins with the count"),
        (b'[{"name": "a"}]', "count of runs"),
        (b'[{"count": 0}]', "count of runs"),
        (b'[{"count": 1}, "a"]', "has a name"),
        (b'[{"count": 1}, {"name": "a"}]', "'a' has no time"),
        (b'[{"count": 1}, {"name": "a", "timeMs": -1, "averageMs": -1}]', "'a' has no time"),
        (b'[{"count": 1}, {"name": "a", "timeMs": NaN, "averageMs": 1}]', "'a' has no time"),
        (b'[{"count": 2}, {"name": "a", "timeMs": 4, "averageMs": 4}]', "in 2 runs"),
        (b"not json", "Expecting value"),
    ],
)
def test_other_files_are_refused(content: bytes, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse_profile(content)


def test_types_come_from_the_layer_information() -> None:
    types = layer_types(LAYERS)
    assert types == {
        "QuantizeLinear_2": "Reformat",
        "conv1.weight + QuantizeLinear_7 + Conv_9": "CaskConvolution",
        "MaxPool_12": "TiledPooling",
        "Reformatting CopyNode for Output Tensor 0 to MaxPool_12": "Reformat",
    }


def test_an_engine_without_details_lists_names() -> None:
    types = layer_types((FIXTURES / "detector_names.layers.json").read_text())
    assert len(types) == 7
    assert set(types.values()) == {""}
    assert "/NonMaxSuppression_246" in types


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"Layers": 3}', '{"Layers": [3]}', '{"Layers": [{"a": 1}]}']
)
def test_other_layer_information_is_refused(content: str) -> None:
    with pytest.raises(ValueError, match="layer information"):
        layer_types(content)


def test_layers_become_nodes_without_those_that_took_no_time() -> None:
    placement = placement_from_layers(parse_profile(PROFILE), layer_types(LAYERS), "cuda:0")
    assert len(placement.nodes) == 35
    assert placement.nodes_per_provider == (("cuda:0", 35),)
    assert [node.op_type for node in placement.nodes[:5]] == [
        "Reformat",
        "CaskConvolution",
        "TiledPooling",
        "Reformat",
        "layer",
    ]
    assert placement.reason == ""


def test_no_layer_is_a_reason() -> None:
    placement = placement_from_layers([LayerTime(name="a", mean_s=0.0)], {}, "cuda:0")
    assert (placement.nodes, placement.nodes_per_provider) == ((), ())
    assert "no layer" in placement.reason


def recorded(runs: list[dict[str, float]]) -> LayerRecorder:
    recorder = LayerRecorder()
    for run in runs:
        for name, time_ms in run.items():
            recorder.report(name, time_ms)
        recorder.end_run()
    return recorder


def test_the_recorder_leaves_early_runs_out() -> None:
    recorder = recorded(
        [{"a": 100.0, "b": 9.0}, {"a": 50.0, "b": 1.0}, {"a": 2.0, "b": 1.0}, {"a": 4.0, "b": 1.0}]
    )
    means: Any = {layer.name: layer.mean_s for layer in recorder.means(2)}
    assert means == {"a": pytest.approx(0.003), "b": pytest.approx(0.001)}
    assert recorder.means(0)[0].mean_s == pytest.approx(0.039)
    assert recorder.means(4) == ()


def test_a_layer_that_reports_twice_in_a_run_is_added_up() -> None:
    recorder = LayerRecorder()
    recorder.report("loop body", 1.0)
    recorder.report("loop body", 2.0)
    recorder.end_run()
    assert recorder.means(0) == (LayerTime(name="loop body", mean_s=pytest.approx(0.003)),)


def test_more_early_runs_than_are_kept_apart_are_an_error() -> None:
    recorder = recorded([{"a": 1.0}] * 20)
    assert recorder.means(8)[0].mean_s == pytest.approx(0.001)
    with pytest.raises(ValueError, match="at most 8"):
        recorder.means(9)
