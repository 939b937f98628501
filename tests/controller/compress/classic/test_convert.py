"""Every library's estimators answer the same labels as ONNX, missing values included."""

from __future__ import annotations

import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
from edgeloop.compress.classic import estimator_to_onnx, is_estimator
from edgeloop_foundation.errors import InvalidInputError, UnsupportedError

pytest.importorskip("sklearn", reason="install it: pip install 'edgeloop[classic]'")


@pytest.fixture(autouse=True)
def _quiet():
    import threadpoolctl

    # Threads that wait by spinning take minutes on a loaded machine.
    with warnings.catch_warnings(), threadpoolctl.threadpool_limits(1):
        warnings.simplefilter("ignore")
        yield


def data(missing=False, classes=3):
    from sklearn.datasets import make_classification

    x, y = make_classification(1600, 10, n_informative=6, n_classes=classes, random_state=0)
    if missing:
        x[np.random.default_rng(1).random(x.shape) < 0.1] = np.nan
    return x, y


def answers(model, rows):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"features": rows})


def make(kind):
    from sklearn import ensemble, linear_model, neighbors, pipeline, preprocessing, tree

    if kind in ("xgboost", "lightgbm", "catboost"):
        library = pytest.importorskip(kind, reason=f"install {kind}: pip install 'edgeloop[classic]'")
        return {
            "xgboost": lambda: library.XGBClassifier(n_estimators=10, n_jobs=1),
            "lightgbm": lambda: library.LGBMClassifier(n_estimators=10, n_jobs=1, verbose=-1),
            "catboost": lambda: library.CatBoostClassifier(
                iterations=15, thread_count=1, verbose=0, allow_writing_files=False
            ),
        }[kind]()
    nearest = neighbors.KNeighborsClassifier(5, weights="distance")
    if kind in ("linear", "scaled"):
        pytest.importorskip("skl2onnx", reason="install it: pip install 'edgeloop[classic]'")
    return {
        "tree": lambda: tree.DecisionTreeClassifier(random_state=0),
        "forest": lambda: ensemble.RandomForestClassifier(10, random_state=0),
        "boosting": lambda: ensemble.GradientBoostingClassifier(n_estimators=5, random_state=0),
        "histogram": lambda: ensemble.HistGradientBoostingClassifier(max_iter=10, random_state=0),
        "nearest": lambda: nearest,
        "scaled": lambda: pipeline.make_pipeline(preprocessing.StandardScaler(), nearest),
        "linear": lambda: linear_model.LogisticRegression(),
    }[kind]()


WITH_MISSING = ("tree", "forest", "histogram", "xgboost", "lightgbm", "catboost")


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(
    ("kind", "missing"),
    [(kind, False) for kind in (*WITH_MISSING, "boosting", "nearest", "scaled", "linear")]
    + [(kind, True) for kind in WITH_MISSING],
)
def test_labels_are_those_of_the_native_model(kind, missing, classes):
    x, y = data(missing, classes)
    fitted = make(kind).fit(x[:600], y[:600])
    held = x[600:].astype(np.float32)
    model = estimator_to_onnx(fitted, kind)
    labels, probabilities = answers(model, held)
    expected = np.ravel(fitted.predict(held))
    assert len(set(expected.tolist())) == classes
    assert np.array_equal(labels, expected)
    assert np.abs(probabilities - fitted.predict_proba(held)).max() < 2e-6
    assert max(entry.version for entry in model.opset_import if not entry.domain) <= 21


def test_missing_values_where_training_had_none():
    """LightGBM then reads NaN as 0; others send it where they always would."""
    x, y = data()
    held = data(missing=True)[0][600:].astype(np.float32)
    for kind in ("lightgbm", "xgboost", "histogram", "forest"):
        fitted = make(kind).fit(x[:600], y[:600])
        assert np.array_equal(answers(estimator_to_onnx(fitted, kind), held)[0], fitted.predict(held)), kind


def test_a_threshold_between_two_float32_values_is_rounded_down():
    from edgeloop.compress.classic.forest import below, round_down

    low = np.float32(0.1)
    high = np.nextafter(low, np.float32(1))
    assert round_down((float(low) + float(high)) / 2) == float(low)
    assert round_down(float(high)) == float(high)
    assert below(float(high)) == float(low)


@pytest.mark.parametrize("kind", ["forest", "nearest", "linear"])
def test_classes_that_are_words_become_their_places(kind):
    x, y = data()
    names = np.asarray(["setosa", "versicolor", "virginica"])
    fitted = make(kind).fit(x[:300], names[y[:300]])
    held = x[300:600].astype(np.float32)
    assert np.array_equal(names[answers(estimator_to_onnx(fitted, kind), held)[0]], fitted.predict(held))


def test_classes_that_are_other_numbers_stay():
    x, y = data()
    fitted = make("forest").fit(x, y * 10 - 5)
    labels = answers(estimator_to_onnx(fitted, "m"), x.astype(np.float32))[0]
    assert set(labels.tolist()) == {-5, 5, 15}
    assert np.array_equal(labels, fitted.predict(x))


@pytest.mark.parametrize(
    "kind",
    ["RandomForest", "HistGradientBoosting", "GradientBoosting", "xgboost", "lightgbm", "catboost", "near"],
)
def test_regressions(kind):
    from sklearn import ensemble, neighbors

    x, _ = data()
    y = 3 * x[:, 0] + x[:, 1] ** 2
    if kind == "near":
        regressor = neighbors.KNeighborsRegressor(4, weights="distance")
    elif kind in ("xgboost", "lightgbm", "catboost"):
        library = pytest.importorskip(kind, reason=f"install {kind}: pip install 'edgeloop[classic]'")
        regressor = {
            "xgboost": lambda: library.XGBRegressor(n_estimators=10, n_jobs=1),
            "lightgbm": lambda: library.LGBMRegressor(n_estimators=10, n_jobs=1, verbose=-1),
            "catboost": lambda: library.CatBoostRegressor(
                iterations=10, thread_count=1, verbose=0, allow_writing_files=False
            ),
        }[kind]()
    else:
        size = "max_iter" if kind.startswith("Hist") else "n_estimators"
        regressor = getattr(ensemble, f"{kind}Regressor")(**{size: 10})
    fitted = regressor.fit(x[:600], y[:600])
    held = x[600:].astype(np.float32)
    (found,) = answers(estimator_to_onnx(fitted, kind), held)
    assert found.shape == (1000, 1)
    assert np.abs(found[:, 0] - fitted.predict(held)).max() < 1e-5 * np.abs(y).max()


def test_what_is_not_fitted_is_refused():
    from sklearn.ensemble import RandomForestClassifier

    with pytest.raises(
        InvalidInputError, match=r"m.py:make returned a RandomForestClassifier that is not fitted"
    ):
        estimator_to_onnx(RandomForestClassifier(), "m.py:make")


def test_what_has_no_exact_form_is_refused():
    from sklearn import ensemble, neighbors

    x, y = data()
    grouped = x.copy()
    grouped[:, 0] = np.abs(np.rint(grouped[:, 0]))
    by_category = ensemble.HistGradientBoostingClassifier(max_iter=3, categorical_features=[0]).fit(
        grouped, y
    )
    with pytest.raises(UnsupportedError, match="splits by categories") as raised:
        estimator_to_onnx(by_category, "m")
    assert "OneHotEncoder" in raised.value.next_step
    far = neighbors.KNeighborsClassifier(metric="chebyshev").fit(x, y)
    with pytest.raises(UnsupportedError, match="metric 'chebyshev'"):
        estimator_to_onnx(far, "m")


def test_an_answer_that_differs_is_not_used():
    """What the converter makes of a distance-weighted vote inside another estimator is wrong, and found out."""
    pytest.importorskip("skl2onnx", reason="install it: pip install 'edgeloop[classic]'")
    from edgeloop.compress.classic.convert import _verify

    x, y = data()
    fitted = make("forest").fit(x, y)
    other = make("forest").fit(x, (y + 1) % 3)
    with pytest.raises(UnsupportedError, match="answers otherwise on"):
        _verify(estimator_to_onnx(other, "m"), fitted, "m")


def test_only_estimators_are_estimators():
    assert is_estimator(make("forest"))
    assert not is_estimator(onnx.ModelProto())
    assert not is_estimator(np.zeros(3))
