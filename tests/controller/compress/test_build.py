from __future__ import annotations

import pickle
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import onnx
import pytest
from edgeloop.compress.build import BuildRequest, _refusal, build_candidate
from edgeloop.compress.items import write_items
from edgeloop.compress.packaging import Decision
from edgeloop.compress.passes import make_pass
from edgeloop.compress.passes.base import PassContext
from edgeloop.compress.passes.quantize_static import QuantizeStatic
from edgeloop.compress.recipe_runner import RecipeRunner
from edgeloop.compress.sources import load_source
from edgeloop.domain.candidate import CandidateState
from edgeloop.domain.dataset import Dataset
from edgeloop.domain.recipe import ORIGINAL, PassSpec, Recipe
from edgeloop_protocol.convert import from_json, to_canonical_json
from edgeloop_protocol.types.artifact import Artifact, StateBinding

PORTS = """
import numpy as np
import onnxruntime
from edgeloop.compress.describe import describe
from edgeloop.compress.items import run_items
from edgeloop_protocol.types.artifact import Tolerance

def evaluate(path, data):
    runs = run_items(path, data, describe(path, state=data.state).inputs)
    return {name: np.concatenate([run[name] for run in runs]) for name in runs[0]}

def tolerances(precision):
    wide = Tolerance(name=precision, absolute=0.1, relative=0.1, flip_rate_max=0.1)
    return (("host", wide), ("original", wide))

def write_golden(path, data, host, original):
    arrays = {f"input/{k}": v for k, v in data.inputs.items()}
    arrays |= {f"host/{k}": v for k, v in host.items()} | {f"original/{k}": v for k, v in original.items()}
    np.savez(path, **arrays)
"""
STATIC = Recipe(label="static", passes=(PassSpec.of("quantize_static"),))


@pytest.fixture
def ports(tmp_path, monkeypatch):
    """A module with plain functions in place of the other rooms' ports."""
    folder = tmp_path / "path"
    folder.mkdir()
    name = f"ports_{abs(hash(str(tmp_path)))}"
    (folder / f"{name}.py").write_text(PORTS)
    monkeypatch.syspath_prepend(str(folder))
    return {
        "evaluator": f"{name}:evaluate",
        "tolerances": f"{name}:tolerances",
        "golden_writer": f"{name}:write_golden",
    }


@pytest.fixture
def request_for(zoo, tmp_path, ports, image_data):
    """Makes a request for the CNN."""
    write_items(tmp_path / "calibration.npz", image_data)
    write_items(tmp_path / "golden.npz", Dataset(name="g", inputs={"x": zoo.images(5, seed=4)}))

    def make(recipe, path=None, **more):
        source = load_source(str(path or zoo.cnn(tmp_path / "m.onnx")), tmp_path / "source")
        settings = {"calibration_path": tmp_path / "calibration.npz", "golden_path": tmp_path / "golden.npz"}
        settings |= {"cache_directory": tmp_path / "cache"} | ports | more
        return BuildRequest(source=source, recipe=recipe, **settings)

    return make


def test_the_original_is_shipped_byte_for_byte(request_for):
    request = request_for(ORIGINAL, decision=Decision(output="y", rule="argmax"))
    result = build_candidate(request)
    assert result.state is CandidateState.BUILT
    files = dict(result.files)
    assert files["model.onnx"].read_bytes() == request.source.path.read_bytes()
    artifact = result.artifact
    assert artifact is not None
    assert artifact.precision == "fp32"
    assert artifact.source_digest == request.source.description.digest == artifact.files[1].digest
    assert (artifact.model_file, artifact.golden_file) == ("model.onnx", "golden.npz")
    assert (artifact.decision_output, artifact.decision_rule) == ("y", "argmax")
    assert artifact.recipe == "[]"
    assert artifact.weight_bytes == 4 * request.source.description.parameter_count
    assert artifact.activation_peak_bytes > 0
    assert {"onnx", "onnxruntime", "edgeloop"} <= set(dict(artifact.libraries))
    assert from_json(to_canonical_json(artifact), Artifact) == artifact
    golden = np.load(files["golden.npz"])
    assert (golden["host/y"] == golden["original/y"]).all()


def test_a_compressed_candidate_says_what_it_is(request_for):
    result = build_candidate(request_for(STATIC))
    artifact = result.artifact
    assert artifact is not None
    assert artifact.precision == "int8"
    assert artifact.recipe == '[{"pass":"quantize_static"}]'
    assert artifact.tolerances[0][1].name == "int8"
    assert {k.encoding for k in artifact.kernels if k.macs} == {"U8S8"}
    assert result.build_s is not None
    golden = np.load(dict(result.files)["golden.npz"])
    assert 0 < np.abs(golden["host/y"] - golden["original/y"]).max() < 1


def test_the_second_time_comes_from_the_cache(request_for, zoo, tmp_path):
    first = build_candidate(request_for(STATIC))
    again = build_candidate(request_for(replace(STATIC, label="other words")))
    assert again.build_s is None
    assert again.files == first.files
    assert first.artifact is not None
    assert again.artifact == replace(first.artifact, label="other words")
    # Other golden items are another candidate.
    write_items(tmp_path / "golden.npz", Dataset(name="g", inputs={"x": zoo.images(5, seed=5)}))
    third = build_candidate(request_for(STATIC))
    assert third.build_s is not None
    assert third.files != first.files


def test_a_damaged_cache_entry_is_built_again(request_for):
    first = build_candidate(request_for(STATIC))
    dict(first.files)["model.onnx"].write_bytes(b"damaged")
    again = build_candidate(request_for(STATIC))
    assert again.build_s is not None
    assert again.artifact is not None
    assert first.artifact is not None
    assert {f.digest for f in again.artifact.files if f.name == "model.onnx"} == {
        f.digest for f in first.artifact.files if f.name == "model.onnx"
    }


def test_refusal_and_failure_are_results(request_for, tmp_path):
    refused = build_candidate(request_for(STATIC, calibration_path=None))
    assert refused.state is CandidateState.SKIPPED
    assert "there is no calibration data" in refused.reason
    broken = build_candidate(request_for(Recipe(label="x", passes=(PassSpec.of("quantize_static", bits=2),))))
    assert broken.state is CandidateState.FAILED
    assert "no setting 'bits'" in broken.reason
    assert broken.artifact is None


def test_what_was_rolled_back_does_not_carry_the_name(request_for, zoo, tmp_path):
    """Calibrated on nearly nothing, every activation is clipped and the answers are lost."""
    tiny = Dataset(name="z", inputs={"x": np.full((4, 3, 16, 16), 1e-3, np.float32)})
    path = zoo.save(
        tmp_path / "plain.onnx",
        [onnx.helper.make_node("Conv", ["x", "w"], ["y"])],
        [zoo.value("x", ["n", 3, 16, 16])],
        [zoo.value("y", ["n", 8, 14, 14])],
        [zoo.weight((8, 3, 3, 3), "w")],
    )
    write_items(tmp_path / "tiny.npz", tiny)
    source = load_source(str(path), tmp_path)
    made = build_candidate(request_for(STATIC, path, calibration_path=tmp_path / "tiny.npz"))
    assert made.state is CandidateState.BUILT  # on what it was calibrated for it is right
    both = Recipe(label="both", passes=(PassSpec.of("optimize_graph"), *STATIC.passes))
    request = request_for(both, path, calibration_path=tmp_path / "tiny.npz")
    runner = RecipeRunner(
        directory=tmp_path / "stages",
        context=PassContext(
            work_directory=tmp_path, calibration=Dataset(name="x", inputs={"x": zoo.images(4)})
        ),
        make=lambda spec: (
            Deaf(make_pass(spec).settings) if spec.name == "quantize_static" else make_pass(spec)
        ),
    )
    result = runner.run(source, both)
    assert [s.state for s in result.stages] == ["applied", "rolled back"]
    assert _refusal(result, request.recipe).startswith(
        "quantize_static was rolled back: the error of output 'y'"
    )


class Deaf(QuantizeStatic):
    """Calibrates on a thousandth of what it is given."""

    def _run(self, source, target, context, source_model, note):
        small = {name: array * np.float32(1e-3) for name, array in context.calibration.inputs.items()}
        context = replace(context, calibration=replace(context.calibration, inputs=small))
        super()._run(source, target, context, source_model, note)


def test_external_data_is_flattened(request_for, zoo, tmp_path):
    folder = tmp_path / "big"
    folder.mkdir()
    path = zoo.external(folder / "m.onnx")
    result = build_candidate(request_for(ORIGINAL, path))
    assert result.artifact is not None
    names = [entry.name for entry in result.artifact.files]
    assert names == ["data-0-big-file.bin", "golden.npz", "model.onnx"]
    model = onnx.load(dict(result.files)["model.onnx"])
    np.testing.assert_array_equal(
        onnx.numpy_helper.to_array(model.graph.initializer[0]),
        onnx.numpy_helper.to_array(onnx.load(path).graph.initializer[0]),
    )
    # A name that is flat already stays, and so do the bytes of the model.
    plain = zoo.external(folder / "n.onnx", location="n.data")
    kept = build_candidate(request_for(ORIGINAL, plain))
    assert dict(kept.files)["model.onnx"].read_bytes() == plain.read_bytes()


def test_a_stateful_model(zoo, tmp_path, ports):
    state = (StateBinding(input="state", output="next"),)
    source = load_source(str(zoo.stateful(tmp_path / "s.onnx")), tmp_path, state)
    x = np.random.default_rng(0).standard_normal((6, 4, 1, 6)).astype(np.float32)
    write_items(tmp_path / "x.npz", Dataset(name="d", inputs={"x": x}, state=state))
    request = BuildRequest(
        source=source,
        recipe=STATIC,
        calibration_path=tmp_path / "x.npz",
        golden_path=tmp_path / "x.npz",
        cache_directory=tmp_path / "cache",
        **ports,
    )
    result = build_candidate(request)
    assert result.state is CandidateState.BUILT, result.reason
    assert result.artifact is not None
    assert result.artifact.state == state
    assert np.load(dict(result.files)["golden.npz"])["host/y"].shape == (24, 6)


def test_it_runs_in_another_process(request_for):
    request = request_for(STATIC)
    assert pickle.loads(pickle.dumps(request)) == request
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        result = pool.submit(build_candidate, request).result(60)
    assert result.state is CandidateState.BUILT, result.reason
    assert build_candidate(request).build_s is None  # the cache is shared
