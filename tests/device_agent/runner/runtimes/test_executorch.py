"""ExecuTorch: its pure parts always, the driver itself where the package is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeloop_agent.execute import execute
from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.runner.runtimes import executorch
from edgeloop_agent.runner.runtimes.executorch import ExecuTorch, backends_in, error_name
from edgeloop_protocol.types.artifact import TensorSpec, Tolerance
from edgeloop_protocol.types.run import FailureKind, Outcome, Verdict
from edgeloop_protocol.types.trial import RuntimeSettings

MODELS = Path(__file__).parents[3] / "fixtures" / "models"
BACKENDS = ("XnnpackBackend", "QnnBackend", "VgfBackend")

installed = pytest.mark.skipif(
    importlib.util.find_spec("executorch") is None, reason="the package executorch is not installed"
)


@pytest.mark.parametrize(("kind", "found"), [("portable", ()), ("xnnpack", ("XnnpackBackend",))])
def test_a_program_names_the_backends_of_its_delegates(kind: str, found: tuple[str, ...]) -> None:
    assert backends_in(MODELS / f"classifier_{kind}.pte", BACKENDS) == found


def test_an_empty_file_names_none(tmp_path: Path) -> None:
    (tmp_path / "m.pte").touch()
    assert backends_in(tmp_path / "m.pte", BACKENDS) == ()


# Messages as executorch 1.4.1 gave them.
@pytest.mark.parametrize(
    ("text", "name", "kind"),
    [
        ("Failed to load program, error: 0x:23", "InvalidProgram", FailureKind.LOAD_FAILED),
        ("Failed to load program, error: 0x:12", "InvalidArgument", FailureKind.LOAD_FAILED),
        ("method->execute() failed with error 0x14", "OperatorMissing", FailureKind.UNSUPPORTED_MODEL),
        ("method->execute() failed with error 0x21", "MemoryAllocationFailed", FailureKind.OUT_OF_MEMORY),
        ("method->execute() failed with error 0x77", "", FailureKind.LOAD_FAILED),
        ("something else", "", FailureKind.LOAD_FAILED),
    ],
)
def test_codes_have_names(text: str, name: str, kind: FailureKind) -> None:
    assert error_name(text) == name
    failure = executorch._explain(RuntimeError(text), "executorch 1.4.1", loading=True)
    assert failure.failure_kind is kind
    assert name in failure.reason or kind is FailureKind.OUT_OF_MEMORY


@pytest.fixture
def opened(workshop: Any) -> Callable[..., Any]:
    """Open a committed program, or ``content`` in its place."""

    def load(kind: str, content: bytes | None = None, outputs: int = 1, **fields: Any) -> Any:
        whole = (MODELS / f"classifier_{kind}.pte").read_bytes()
        spec = TensorSpec(name="y", dtype="float32", shape=(-1, 4))
        artifact = workshop.mlp(format="pte", outputs=tuple(replace(spec, name=n) for n in "yz"[:outputs]))
        directory = workshop.directory(artifact)
        (directory / artifact.model_file).write_bytes(whole if content is None else content)
        return ExecuTorch().load(directory, artifact, RuntimeSettings(runtime="executorch", **fields))

    return load


@installed
@pytest.mark.parametrize(("kind", "backend"), [("portable", "portable"), ("xnnpack", "XnnpackBackend")])
@pytest.mark.parametrize("threads", [1, 2])
def test_it_agrees_with_onnxruntime(
    kind: str, backend: str, threads: int, opened: Any, onnxruntime_says: Any
) -> None:
    model = opened(kind, intra_op_threads=threads)
    assert (model.output_names, model.providers[0]) == (("y",), backend)
    run = model.executor()
    for items in (1, 64, 3):
        x = np.random.default_rng(items).standard_normal((items, 16)).astype(np.float32)
        (y,) = run({"x": x})
        kept = y.copy()
        np.testing.assert_allclose(y, onnxruntime_says(x), atol=1e-5, rtol=0)
        run({"x": -x})
        np.testing.assert_array_equal(y, kept)
    assert "neither operators nor their times" in model.placement(0).reason


@installed
@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"providers": ("XnnpackBackend",)}, "chosen when it is made"),
        ({"inter_op_threads": 2}, "threads across operators"),
        ({"allow_spinning": True}, "spinning"),
        ({"graph_optimization": "basic"}, "'basic'"),
        ({"memory_arena": False}, "arena"),
        ({"inference_precision": "fp16"}, "fp16"),
        ({"options": (("abacus", "1"),)}, "abacus"),
        ({"affinity": (999,)}, "[999]"),
    ],
)
def test_settings_that_cannot_be_applied_are_refused(fields: dict[str, Any], told: str, opened: Any) -> None:
    with pytest.raises(RunnerFailure) as caught:
        opened("portable", **fields)
    assert caught.value.outcome is Outcome.UNSUPPORTED
    assert told in caught.value.reason


@installed
@pytest.mark.parametrize("content", [b"", b"this is no model", b"half"])
def test_a_file_that_is_no_program_is_one_sentence(content: bytes, opened: Any, tmp_path: Path) -> None:
    if content == b"half":
        content = (MODELS / "classifier_portable.pte").read_bytes()[:1500]
    with pytest.raises(RunnerFailure, match="cannot load the model") as caught:
        opened("portable", content=content)
    assert (caught.value.outcome, caught.value.failure_kind) == (Outcome.USER_ERROR, FailureKind.LOAD_FAILED)
    assert str(tmp_path) not in caught.value.reason
    assert "\n" not in caught.value.reason


@installed
def test_a_manifest_that_does_not_fit_is_told(opened: Any) -> None:
    with pytest.raises(RunnerFailure, match=r"1 outputs, the manifest names 2: y, z") as caught:
        opened("portable", outputs=2)
    assert caught.value.failure_kind is FailureKind.CORRUPT_ARTIFACT


@installed
def test_a_wrong_feed_is_explained(opened: Any) -> None:
    model = opened("portable")
    run = model.executor()
    for feed, told in (({"z": None}, "inputs x"), ({"x": np.ones((2, 5), np.float32)}, "InvalidArgument")):
        with pytest.raises(Exception) as caught:
            run(feed)
        assert told in model.explain(caught.value).reason


@installed
async def test_a_whole_job_runs_on_it(bench: Any, workshop: Any, quick: Any, opened: Any) -> None:
    opened("xnnpack")
    (directory,) = workshop.root.iterdir()
    data = (directory / "model.pte").read_bytes()
    golden = dict(np.load(directory / "golden.npz").items())
    artifact = workshop.artifact(
        data,
        golden,
        [TensorSpec(name="x", dtype="float32", shape=(-1, 16))],
        format="pte",
        outputs=(TensorSpec(name="y", dtype="float32", shape=(-1, 4)),),
        decision_output="y",
        decision_rule="argmax",
        tolerances=(("host", Tolerance(name="fp32", absolute=1e-5, relative=1e-5, flip_rate_max=0.01)),),
    )
    benchmark = replace(quick, measure_memory=True, measure_nodes=True, check_parity=True)
    context = bench.context(artifact, benchmark=benchmark)
    trial = replace(context.spec.trials[0], settings=RuntimeSettings(runtime="executorch"))
    run: Any
    (run,) = await execute(replace(context, spec=replace(context.spec, trials=(trial,))))
    assert (run.outcome, run.failure_reason) == (Outcome.SUCCESS, "")
    assert run.runtime_version.startswith("executorch 1.")
    assert run.timing.steady.sample_count >= 64
    assert run.parity.comparisons[0].verdict is Verdict.PASSED
    assert run.memory.load_peak_rss_bytes > run.memory.baseline_rss_bytes
    assert "neither operators nor their times" in run.placement.reason
