"""What every runtime driver owes the runner; each installed one goes through all of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.runner import runtimes
from edgeloop_agent.runner.runtimes import BUILTIN, RUNTIMES
from edgeloop_protocol.types.artifact import Artifact, FileEntry
from edgeloop_protocol.types.run import FailureKind, Outcome
from edgeloop_protocol.types.trial import RuntimeSettings


def inputs(items: int, width: int = 16) -> Any:
    return np.random.default_rng(5).standard_normal((items, width)).astype(np.float32)


def check_sentence(failure: RunnerFailure, directory: Path) -> None:
    """One sentence for people: one line, no stack trace, nothing of this machine's directories."""
    assert 20 < len(failure.reason) < 500
    assert "\n" not in failure.reason
    assert "Traceback" not in failure.reason
    assert str(directory) not in failure.reason
    assert ".cpp" not in failure.reason


def test_every_file_of_the_room_is_a_driver_of_its_name() -> None:
    files = {path.stem for path in Path(runtimes.__file__).parent.glob("*.py")} - {"__init__", "base"}
    assert files == set(BUILTIN)
    assert {name: RUNTIMES.load(name).name for name in BUILTIN} == {name: name for name in BUILTIN}


@pytest.mark.parametrize("name", BUILTIN)
def test_facts_tell_what_is_there_or_why_not(name: str) -> None:
    facts = RUNTIMES.load(name)().facts()
    assert facts.name == name
    assert facts.formats == RUNTIMES.load(name).formats != ()
    assert bool(facts.version) != bool(facts.reason)
    assert bool(facts.version) == bool(facts.providers)


def test_an_installed_driver_names_its_version_the_same_way_everywhere(driver: str) -> None:
    runtime = RUNTIMES.load(driver)()
    facts = runtime.facts()
    assert facts.reason == ""
    assert runtime.prepare().endswith(" " + facts.version)
    assert facts.version.count(".") >= 2


def test_a_model_runs_and_agrees_with_onnxruntime(
    driver: str, open_model: Any, onnxruntime_says: Any
) -> None:
    x = inputs(1)
    model = open_model(driver)
    outputs = model.executor()({"x": x})
    assert model.output_names == ("y",)
    assert len(outputs) == 1
    assert (outputs[0].dtype, outputs[0].shape) == (np.float32, (1, 4))
    np.testing.assert_allclose(outputs[0], onnxruntime_says(x), atol=1e-5, rtol=0)
    assert len(model.providers) >= 1
    assert set(model.providers) <= set(RUNTIMES.load(driver)().facts().providers)


def test_the_batch_may_change_from_run_to_run(driver: str, open_model: Any, onnxruntime_says: Any) -> None:
    execute = open_model(driver).executor()
    for items in (1, 3, 64, 2, 1):
        x = inputs(items)
        (y,) = execute({"x": x})
        assert y.shape == (items, 4)
        np.testing.assert_allclose(y, onnxruntime_says(x), atol=1e-5, rtol=0)


def test_an_output_is_not_overwritten_by_the_next_run(driver: str, open_model: Any) -> None:
    execute = open_model(driver).executor()
    x = inputs(2)
    (first,) = execute({"x": x[:1]})
    kept = first.copy()
    execute({"x": x[1:]})
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_change_no_result(driver: str, threads: int, open_model: Any, onnxruntime_says: Any) -> None:
    if threads > len(os.sched_getaffinity(0)):
        pytest.skip("this machine has one processor")
    x = inputs(64, 256)
    (y,) = open_model(driver, width=256, intra_op_threads=threads).executor()({"x": x})
    np.testing.assert_allclose(y, onnxruntime_says(x), atol=1e-5, rtol=0)


def test_placement_names_providers_in_force_or_a_reason(driver: str, open_model: Any, tmp_path: Path) -> None:
    model = open_model(driver, profile=tmp_path / "profile")
    execute = model.executor()
    for _ in range(5):
        execute({"x": inputs(1)})
    placement = model.placement(2)
    assert {name for name, _ in placement.nodes_per_provider} <= set(model.providers)
    assert sum(count for _, count in placement.nodes_per_provider) >= 3
    assert placement.nodes or placement.reason
    for node in placement.nodes:
        assert node.name
        assert node.op_type
        assert 0.0 < node.mean_s < 1.0


REFUSED: dict[str, list[tuple[dict[str, Any], str]]] = {
    "onnxruntime": [
        ({"providers": ("CUDAExecutionProvider",)}, "CUDAExecutionProvider"),
        ({"inference_precision": "bf16"}, "bf16"),
        ({"options": (("abacus", "1"),)}, "'abacus'"),
        ({"options": (("session.intra_op.alow_spinning", "1"),)}, "'session.intra_op.alow_spinning'"),
        ({"options": (("session.intra_op.allow_spinning", "1"),)}, "allow_spinning"),
        (
            {"options": (("provider.CUDAExecutionProvider.device_id", "0"),)},
            "CUDAExecutionProvider.device_id",
        ),
        ({"options": (("provider.CPUExecutionProvider.x", "1"),)}, "takes no options"),
    ],
    "openvino": [
        ({"providers": ("NPU",)}, "lacks NPU"),
        ({"providers": ("CPU", "GPU")}, "one device"),
        ({"inter_op_threads": 2}, "threads across operators"),
        ({"allow_spinning": True}, "spinning"),
        ({"graph_optimization": "basic"}, "'basic'"),
        ({"memory_arena": False}, "arena"),
        ({"intra_op_threads": 4096}, "threads here, not 4096"),
        ({"options": (("ABACUS", "1"),)}, "ABACUS"),
        ({"options": (("NUM_STREAMS", "several"),)}, "several"),
        ({"options": (("ENABLE_CPU_PINNING", "maybe"),)}, "ENABLE_CPU_PINNING"),
        ({"options": (("INFERENCE_PRECISION_HINT", "bf16"),)}, "INFERENCE_PRECISION_HINT"),
    ],
    "litert": [
        ({"providers": ("GPU",)}, "not GPU"),
        ({"providers": ("XNNPACK", "builtin")}, "XNNPACK"),
        ({"inter_op_threads": 2}, "threads across operators"),
        ({"allow_spinning": True}, "spinning"),
        ({"graph_optimization": "none"}, "'none'"),
        ({"memory_arena": False}, "arena"),
        ({"inference_precision": "fp16"}, "fp16"),
        ({"options": (("abacus", "1"),)}, "abacus"),
    ],
}


@pytest.mark.parametrize(
    ("name", "fields", "told"), [(name, *case) for name, cases in REFUSED.items() for case in cases]
)
def test_a_setting_that_cannot_be_applied_is_refused(
    name: str, fields: dict[str, Any], told: str, open_model: Any, tmp_path: Path
) -> None:
    with pytest.raises(RunnerFailure) as caught:
        open_model(name, **fields)
    assert (caught.value.outcome, caught.value.failure_kind) == (
        Outcome.UNSUPPORTED,
        FailureKind.LOAD_FAILED,
    )
    assert told in caught.value.reason
    check_sentence(caught.value, tmp_path)


def test_processors_that_are_not_there_are_refused(driver: str, open_model: Any, tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    with pytest.raises(RunnerFailure, match=r"pinned to the processors \[999\]") as caught:
        open_model(driver, affinity=(999,))
    assert caught.value.outcome is Outcome.UNSUPPORTED
    check_sentence(caught.value, tmp_path)
    assert os.sched_getaffinity(0) == before


@pytest.mark.parametrize("damage", ["text", "half", "empty", "noise"])
def test_a_file_that_is_no_model_is_one_sentence(
    driver: str, damage: str, open_model: Any, workshop: Any, tmp_path: Path
) -> None:
    artifact = workshop.mlp(format="tflite" if driver == "litert" else "onnx", seed=9)
    whole = (workshop.directory(artifact) / artifact.model_file).read_bytes()
    content = {
        "text": b"this is no model",
        "half": whole[: len(whole) // 2],
        "empty": b"",
        "noise": np.random.default_rng(1).bytes(2000),
    }[damage]
    with pytest.raises(RunnerFailure, match="cannot load the model") as caught:
        open_model(driver, content=content)
    assert (caught.value.outcome, caught.value.failure_kind) == (Outcome.USER_ERROR, FailureKind.LOAD_FAILED)
    assert driver in caught.value.reason
    check_sentence(caught.value, tmp_path)


@pytest.mark.parametrize("name", BUILTIN)
def test_a_format_of_another_runtime_is_unsupported(name: str, tmp_path: Path) -> None:
    entry = FileEntry(name="m", digest="0" * 64, size_bytes=1)
    artifact = Artifact(format="gguf", label="m", files=(entry,), model_file="m", source_digest="0" * 64)
    with pytest.raises(RunnerFailure, match=f"{name} opens .* not the format 'gguf'") as caught:
        RUNTIMES.load(name)().load(tmp_path, artifact, RuntimeSettings(runtime=name))
    assert (caught.value.outcome, caught.value.failure_kind) == (
        Outcome.UNSUPPORTED,
        FailureKind.UNSUPPORTED_MODEL,
    )


@pytest.mark.parametrize(
    "feed", [{"x": np.zeros((1, 5), np.float32)}, {"z": np.zeros((1, 16), np.float32)}], ids=["shape", "name"]
)
def test_a_wrong_feed_is_explained(
    driver: str, feed: dict[str, Any], open_model: Any, tmp_path: Path
) -> None:
    model = open_model(driver)
    with pytest.raises(Exception) as caught:
        model.executor()(feed)
    failure = model.explain(caught.value)
    assert (failure.outcome, failure.failure_kind) == (Outcome.USER_ERROR, FailureKind.INFERENCE_FAILED)
    check_sentence(failure, tmp_path)
