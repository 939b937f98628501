"""What the passes for forests and neighbours do to a model, and what they refuse."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from edgeloop.compress.classic import estimator_to_onnx
from edgeloop.compress.classic.forest import find_forest
from edgeloop.compress.classic.neighbours import TABLE, VOTES
from edgeloop.compress.classic.rewrite import constant
from edgeloop.compress.graph import save_model
from edgeloop.compress.passes import make_pass
from edgeloop.compress.passes.base import PassContext
from edgeloop.domain.dataset import Dataset
from edgeloop.domain.recipe import PassSpec
from edgeloop_foundation.errors import UnsupportedError

pytest.importorskip("sklearn", reason="install it: pip install 'edgeloop[classic]'")


@pytest.fixture(scope="module")
def digits():
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return x.astype(np.float32), y


@pytest.fixture(scope="module")
def models(digits, tmp_path_factory):
    import threadpoolctl
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.neighbors import KNeighborsClassifier

    x, y = digits
    # Threads that wait by spinning take minutes on a loaded machine.
    limit = threadpoolctl.threadpool_limits(1)
    made = {}
    for name, estimator in (
        ("forest", RandomForestClassifier(24, random_state=0)),
        ("boosting", HistGradientBoostingClassifier(max_iter=8, random_state=0)),
        ("nearest", KNeighborsClassifier(3, weights="distance")),
        ("wide", KNeighborsClassifier(3)),
    ):
        rows = x[:900] + (1e-9 if name == "wide" else 0) * np.arange(64, dtype=np.float64)
        made[name] = tmp_path_factory.mktemp("models") / f"{name}.onnx"
        save_model(estimator_to_onnx(estimator.fit(rows, y[:900]), name), made[name])
    limit.unregister()
    return made


def run(load, path, digits, tmp_path, name, **settings):
    source = load(path)
    calibration = Dataset(name="rows", inputs={"features": digits[0][:200]})
    context = PassContext(work_directory=tmp_path, calibration=calibration)
    return make_pass(PassSpec.of(name, **settings)).run(
        path, tmp_path / "out.onnx", context, source.description
    )


def accuracy(path, digits):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return float((session.run(["label"], {"features": digits[0][900:1300]})[0] == digits[1][900:1300]).mean())


def depths(forest):
    depth = np.zeros(len(forest.feature), int)
    for row in np.flatnonzero(~forest.is_leaf):
        depth[forest.yes[row]] = depth[forest.no[row]] = depth[row] + 1
    return depth


def test_trees_read_back_answer_as_the_runtime_does(models, digits):
    for name in ("forest", "boosting"):
        model = onnx.load(models[name])
        _, forest = find_forest(model)
        model.graph.output.append(onnx.helper.make_tensor_value_info("sums", 1, None))
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        sums = session.run(["sums"], {"features": digits[0][:50]})[0]
        assert np.abs(forest.raw(digits[0][:50]) - sums).max() < 1e-4


@pytest.mark.parametrize(("name", "loss"), [("forest", 0.03), ("boosting", 0.05)])
def test_fewer_trees_keep_the_quality_and_beat_the_first_ones(models, digits, tmp_path, load, name, loss):
    before = find_forest(onnx.load(models[name]))[1]
    result = run(load, models[name], digits, tmp_path, "prune_forest", keep=0.5)
    after = find_forest(onnx.load(result.path))[1]
    assert len(after.roots) == len(before.roots) // 2
    assert result.description.size_bytes < 0.65 * load(models[name]).description.size_bytes
    assert accuracy(result.path, digits) > accuracy(models[name], digits) - loss
    # The chosen half comes nearer to the whole than the first half, scaled, does.
    rows, whole = digits[0][:200], before.raw(digits[0][:200])
    first = before.keep_trees(np.arange(len(before.roots) // 2)).raw(rows)
    scaled = 2 * (first - before.base) + before.base
    assert np.square(after.raw(rows) - whole).mean() < np.square(scaled - whole).mean()


def test_no_path_is_longer_than_the_limit(models, digits, tmp_path, load):
    before = find_forest(onnx.load(models["forest"]))[1]
    assert depths(before).max() > 7
    result = run(load, models["forest"], digits, tmp_path, "limit_depth", depth=7)
    after = find_forest(onnx.load(result.path))[1]
    assert depths(after).max() == 7
    assert len(after.feature) < len(before.feature)
    assert accuracy(result.path, digits) > accuracy(models["forest"], digits) - 0.05
    # Leaves of a classifier's tree are shares, and stay shares when they are averaged.
    assert np.allclose(after.values[after.is_leaf].sum(axis=1), 1.0, atol=1e-5)
    with pytest.raises(UnsupportedError, match="no tree is deeper than 60"):
        run(load, models["forest"], digits, tmp_path, "limit_depth", depth=60)


def test_unimportant_features_are_asked_no_more(models, digits, tmp_path, load):
    result = run(load, models["forest"], digits, tmp_path, "drop_features", keep=0.5)
    before = find_forest(onnx.load(models["forest"]))[1]
    after = find_forest(onnx.load(result.path))[1]
    asked = set(after.feature[~after.is_leaf].tolist())
    assert len(asked) <= 32
    assert len(after.feature) < len(before.feature)
    assert result.description.inputs[0].shape == (-1, 64)
    # The other half of the features, the important ones dropped, would be worse.
    from edgeloop.compress.passes.drop_features import importances, without_features

    rows = digits[0][:200]
    order = np.argsort(importances(before, rows, 1, 0))
    reverse = without_features(before, set(order[32:].tolist()), before.visits(rows))
    error = np.square(after.raw(rows) - before.raw(rows)).mean()
    assert error < 0.5 * np.square(reverse.raw(rows) - before.raw(rows)).mean()


def test_prototypes_are_fewer_and_beat_a_random_choice(models, digits, tmp_path, load):
    result = run(load, models["nearest"], digits, tmp_path, "reduce_neighbours", keep=0.1)
    model = onnx.load(result.path)
    table, votes = constant(model, TABLE), constant(model, VOTES)
    assert table.shape[0] == votes.shape[0]
    assert 85 <= table.shape[0] <= 95
    assert result.description.size_bytes < 0.15 * load(models["nearest"]).description.size_bytes
    chosen = np.random.default_rng(0).choice(900, len(table), replace=False)
    from sklearn.neighbors import KNeighborsClassifier

    drawn = KNeighborsClassifier(3, weights="distance").fit(digits[0][chosen], digits[1][chosen])
    assert accuracy(result.path, digits) > drawn.score(digits[0][900:1300], digits[1][900:1300])


@pytest.mark.parametrize(("word", "smaller"), [("float32", 1.8), ("float16", 3.0), ("int8", 5.0)])
def test_a_table_in_fewer_bits(models, digits, tmp_path, load, word, smaller):
    result = run(load, models["wide"], digits, tmp_path, "narrow_table", table=word)
    assert constant(onnx.load(models["wide"]), TABLE).dtype == np.float64
    assert constant(onnx.load(result.path), TABLE).dtype == np.dtype(word)
    assert load(models["wide"]).description.size_bytes > smaller * result.description.size_bytes
    assert abs(accuracy(result.path, digits) - accuracy(models["wide"], digits)) <= 0.005


def test_passes_keep_to_their_kind(models, digits, tmp_path, load):
    with pytest.raises(UnsupportedError, match="it has no summed trees"):
        run(load, models["nearest"], digits, tmp_path, "prune_forest")
    with pytest.raises(UnsupportedError, match="it is no nearest-neighbour model"):
        run(load, models["forest"], digits, tmp_path, "narrow_table")
    with pytest.raises(UnsupportedError, match="its table is float32 already"):
        run(load, models["nearest"], digits, tmp_path, "narrow_table", table="float32")
