"""Which writer an estimator goes to, and the comparison of what was written with the estimator itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from edgeloop_foundation.errors import (
    EdgeloopError,
    InvalidInputError,
    MissingDependencyError,
    UnsupportedError,
)

from edgeloop.compress.classic.boosters import read_catboost, read_lightgbm, read_xgboost
from edgeloop.compress.classic.heads import INPUT, class_numbers, forest_model
from edgeloop.compress.classic.neighbours import neighbours_model
from edgeloop.compress.classic.sklearn_trees import read_averaged, read_boosted, read_histogram
from edgeloop.compress.quiet import quiet

__all__ = ["LIBRARIES", "estimator_to_onnx", "is_estimator"]

LIBRARIES = ("sklearn", "xgboost", "lightgbm", "catboost")
"""Root packages whose fitted estimators are taken."""

_OPSET = 17
_ML_OPSET = 3
_ROWS = 256
_MISMATCH = 0.01
_TREES: dict[str, Callable[[Any], Any]] = {
    **{
        f"{kind}{task}": read_averaged
        for kind in ("DecisionTree", "ExtraTree", "RandomForest", "ExtraTrees")
        for task in ("Classifier", "Regressor")
    },
    **{f"GradientBoosting{task}": read_boosted for task in ("Classifier", "Regressor")},
    **{f"HistGradientBoosting{task}": read_histogram for task in ("Classifier", "Regressor")},
}
_NEIGHBOURS = ("KNeighborsClassifier", "KNeighborsRegressor")


def is_estimator(value: Any) -> bool:
    """Return whether a value is an estimator of a known library, without importing any."""
    return any(kind.__module__.partition(".")[0] in LIBRARIES for kind in type(value).__mro__)


def estimator_to_onnx(estimator: Any, name: str) -> Any:
    """Return the ONNX model of a fitted estimator: input ``features`` float32 ``[items, features]``, outputs
    ``label`` int64 ``[items]`` and ``probabilities`` ``[items, classes]``, or ``variable`` ``[items, 1]``.

    Classes that are not whole numbers become their places in sorted order.

    Args:
        estimator: Of scikit-learn, XGBoost, LightGBM or CatBoost.
        name: For people.

    Raises:
        InvalidInputError: it is not fitted.
        UnsupportedError: it has no ONNX form that answers as it does.
        MissingDependencyError: skl2onnx is needed and not installed.
    """
    _check_fitted(estimator, name)
    with quiet():
        try:
            model = _written(estimator, name)
        except EdgeloopError as error:
            raise type(error)(f"{name}: {error.message}", next_step=error.next_step) from error
        except Exception as error:  # estimators hold anything, and each library raises a family of its own
            raise UnsupportedError(
                f"{name}: a {type(estimator).__name__} cannot be written as ONNX: "
                f"{type(error).__name__}: {' '.join(str(error).split())[:160]}.",
                next_step="Return the plain fitted estimator, fitted on numeric columns.",
            ) from error
        _verify(model, estimator, name)
    return model


def _check_fitted(estimator: Any, name: str) -> None:
    library = _library(estimator)
    if library == "catboost":
        fitted = bool(estimator.is_fitted())
    elif type(estimator).__name__ == "Booster":
        fitted = True
    else:
        from sklearn.exceptions import NotFittedError
        from sklearn.utils.validation import check_is_fitted

        try:
            check_is_fitted(estimator)
            fitted = True
        except (NotFittedError, TypeError):
            fitted = False
    if not fitted:
        raise InvalidInputError(
            f"{name} returned a {type(estimator).__name__} that is not fitted.",
            next_step="Call fit() on it before it is returned.",
        )


def _library(estimator: Any) -> str:
    roots = [kind.__module__.partition(".")[0] for kind in type(estimator).__mro__]
    return next((library for library in ("xgboost", "lightgbm", "catboost") if library in roots), "sklearn")


def _written(estimator: Any, name: str) -> Any:
    library, kind = _library(estimator), type(estimator).__name__
    readers = {"xgboost": read_xgboost, "lightgbm": read_lightgbm, "catboost": read_catboost}
    if library in readers:
        forest, head, features = readers[library](estimator)
        return forest_model(forest, head, features)
    if kind in _TREES and _is_own(estimator):
        forest, head = _TREES[kind](estimator)
        return forest_model(forest, head, estimator.n_features_in_)
    if kind in _NEIGHBOURS and _is_own(estimator):
        return neighbours_model(estimator)
    if kind == "Pipeline" and _has_writer(estimator.steps[-1][1]):
        return _joined(estimator, name)
    return _by_converter(estimator, name)


def _is_own(estimator: Any) -> bool:
    return type(estimator).__module__.startswith("sklearn.")


def _has_writer(estimator: Any) -> bool:
    kind = type(estimator).__name__
    return _library(estimator) != "sklearn" or (kind in (*_TREES, *_NEIGHBOURS) and _is_own(estimator))


def _joined(pipeline: Any, name: str) -> Any:
    """Convert the steps before the last by skl2onnx and put the written last step behind them."""
    import onnx
    from onnx import compose

    last = _written(pipeline.steps[-1][1], name)
    if len(pipeline.steps) == 1:
        return last
    first = _by_converter(pipeline[:-1], name)
    # Passes find the constants of the last step by name, so the first ones change theirs.
    first = compose.add_prefix(first, "first_", rename_inputs=False)
    first_output = first.graph.output[0].name
    last.ir_version = first.ir_version = 8
    versions = sorted((o.domain, o.version) for m in (first, last) for o in m.opset_import)
    opsets = dict(versions)
    for model in (first, last):
        del model.opset_import[:]
        model.opset_import.extend(
            onnx.helper.make_opsetid(domain, version) for domain, version in opsets.items()
        )
    last.graph.input[0].name = joint = f"{INPUT}_prepared"
    for node in last.graph.node:
        node.input[:] = [joint if entry == INPUT else entry for entry in node.input]
    joined = compose.merge_models(first, last, io_map=[(first_output, joint)])
    onnx.checker.check_model(joined)
    return joined


def _by_converter(estimator: Any, name: str) -> Any:
    try:
        import skl2onnx
        from skl2onnx.common.data_types import FloatTensorType
    except ImportError as error:
        raise MissingDependencyError(
            f"a {type(estimator).__name__} needs the package 'skl2onnx', which is not installed.",
            next_step="Install it: pip install 'edgeloop[classic]'.",
        ) from error
    classifies = hasattr(estimator, "classes_") and hasattr(estimator, "predict")
    try:
        model = skl2onnx.to_onnx(
            estimator,
            initial_types=[(INPUT, FloatTensorType([None, int(estimator.n_features_in_)]))],
            options={id(estimator): {"zipmap": False}} if classifies else None,
            target_opset={"": _OPSET, "ai.onnx.ml": _ML_OPSET},
        )
    except Exception as error:  # the converters raise anything
        raise UnsupportedError(
            f"a {type(estimator).__name__} cannot be written as ONNX: {' '.join(str(error).split())[:200]}.",
            next_step="Use one of numeric columns that skl2onnx supports, or a tree, boosting, neighbour or "
            "linear estimator.",
        ) from error
    return _with_numbers(model, estimator.classes_) if classifies else model


def _with_numbers(model: Any, classes: Any) -> Any:
    """Turn a text label into the number of its class."""
    import onnx

    output = model.graph.output[0]
    if output.type.tensor_type.elem_type != onnx.TensorProto.STRING:
        return model
    text = f"{output.name}_text"
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [text if entry == output.name else entry for entry in names]
    keys = [str(value) for value in classes]
    node = onnx.helper.make_node(
        "LabelEncoder", [text], [output.name], name="class_number", domain="ai.onnx.ml",
        keys_strings=keys, values_int64s=list(class_numbers(classes)), default_int64=-1,
    )  # fmt: skip
    model.graph.node.append(node)
    for entry in model.opset_import:
        # The converter writes the oldest version that does; numbers for words came with the second.
        entry.version = _ML_OPSET if entry.domain == "ai.onnx.ml" else entry.version
    if not any(entry.domain == "ai.onnx.ml" for entry in model.opset_import):
        model.opset_import.add(domain="ai.onnx.ml", version=_ML_OPSET)
    output.type.tensor_type.elem_type = onnx.TensorProto.INT64
    return model


def _verify(model: Any, estimator: Any, name: str) -> None:
    """Hold the answers for synthetic rows against the estimator's own."""
    import onnxruntime

    if type(estimator).__name__ == "Booster" or not hasattr(estimator, "predict"):
        return
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    width = int(session.get_inputs()[0].shape[1])
    rows = rng.standard_normal((_ROWS, width)) * 10.0 ** rng.uniform(-1, 2, (_ROWS, 1))
    x = np.ascontiguousarray(rows, np.float32)
    found = np.ravel(session.run(None, {session.get_inputs()[0].name: x})[0])
    expected = np.ravel(estimator.predict(x))
    if session.get_outputs()[0].type == "tensor(int64)":
        classes = getattr(estimator, "classes_", None)
        if classes is not None and len(classes):
            table = dict(zip(np.asarray(classes).tolist(), class_numbers(classes), strict=True))
            expected = np.asarray([table.get(value, -1) for value in expected.tolist()])
        wrong = found != expected
    else:
        wrong = ~np.isclose(
            found, expected, rtol=1e-3, atol=1e-4 * float(np.abs(expected).max(initial=1e-30))
        )
    if wrong.mean() > _MISMATCH:
        raise UnsupportedError(
            f"{name}: the ONNX form of a {type(estimator).__name__} answers otherwise on {int(wrong.sum())} of "
            f"{len(wrong)} synthetic rows, so it is not used.",
            next_step="Use a tree, boosting, neighbour or linear estimator.",
        )
