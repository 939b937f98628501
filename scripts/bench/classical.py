"""Label parity of every library's estimators on held rows, and what compressed forms keep; printed as two tables.

Digits (1,797 real images of 64 pixels, scikit-learn): the first half trains, the second is held. "missing" means that
a tenth of all cells, seeded, is NaN in both halves. The native model is asked the same float32 rows. Latency is the
median of 200 single rows on ONNX Runtime with one thread on this machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from edgeloop.compress.classic import estimator_to_onnx
from edgeloop.compress.describe import describe
from edgeloop.compress.graph import save_model
from edgeloop.compress.passes import make_pass
from edgeloop.compress.passes.base import PassContext
from edgeloop.compress.propose import propose
from edgeloop.domain.dataset import Dataset
from edgeloop.evaluate.quality import assess
from edgeloop_foundation.errors import UnsupportedError

_MISSING = 0.1
_CALLS = 200


def main() -> int:
    """Print the tables; 1 when a label differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    wanted = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="edgeloop-classical-") as name:
        rows, forms = _measured(Path(name))
    if wanted.json:
        print(json.dumps({"parity": rows, "forms": forms}, indent=2))
    else:
        _table(rows)
        print()
        _table(forms)
    return 0 if all(row["label_parity"] == 1.0 for row in rows) else 1


def _measured(directory: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    forms: list[dict[str, Any]] = []
    x, y, holes = _digits()
    half = len(x) // 2
    for library, estimator, compress in _estimators():
        for missing in (False, True):
            data = np.where(holes, np.float32(np.nan), x) if missing else x
            if missing and type(estimator).__name__ in ("KNeighborsClassifier", "Pipeline"):
                continue
            started = time.perf_counter()
            fitted = _fresh(estimator).fit(data[:half], y[:half])
            path = directory / f"{len(rows)}.onnx"
            save_model(estimator_to_onnx(fitted, type(estimator).__name__), path)
            seconds = time.perf_counter() - started
            labels, scores, latency_us = _answers(path, data[half:])
            rows.append(
                {
                    "library": library,
                    "estimator": _name(estimator) + (", missing" if missing else ""),
                    "held_rows": len(x) - half,
                    "label_parity": float((labels == np.ravel(fitted.predict(data[half:]))).mean()),
                    "max_probability_difference": float(
                        np.abs(scores - fitted.predict_proba(data[half:])).max()
                    ),
                    "size_bytes": path.stat().st_size,
                    "latency_us": latency_us,
                    "seconds": round(seconds, 2),
                }
            )
            if compress and not missing:
                forms += _forms(path, _name(estimator), data, y, half, directory)
    return rows, forms


def _digits() -> tuple[Any, Any, Any]:
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return x.astype(np.float32), y, np.random.default_rng(0).random(x.shape) < _MISSING


def _estimators() -> Iterator[tuple[str, Any, bool]]:
    import catboost
    import lightgbm
    import xgboost
    from sklearn import ensemble, neighbors, pipeline, preprocessing, tree

    yield "scikit-learn", tree.DecisionTreeClassifier(random_state=0), False
    yield "scikit-learn", ensemble.RandomForestClassifier(100, random_state=0), True
    yield "scikit-learn", ensemble.ExtraTreesClassifier(100, random_state=0), False
    yield "scikit-learn", ensemble.HistGradientBoostingClassifier(max_iter=30, random_state=0), True
    yield "scikit-learn", neighbors.KNeighborsClassifier(5), False
    yield "scikit-learn", neighbors.KNeighborsClassifier(5, weights="distance"), True
    scaled = preprocessing.StandardScaler()
    yield (
        "scikit-learn",
        pipeline.make_pipeline(scaled, neighbors.KNeighborsClassifier(5, weights="distance")),
        False,
    )
    yield "xgboost", xgboost.XGBClassifier(n_estimators=30, n_jobs=1), True
    yield "lightgbm", lightgbm.LGBMClassifier(n_estimators=30, n_jobs=1, verbose=-1), True
    yield (
        "catboost",
        catboost.CatBoostClassifier(iterations=50, thread_count=1, verbose=0, allow_writing_files=False),
        True,
    )


def _fresh(estimator: Any) -> Any:
    from sklearn.base import clone

    return clone(estimator)


def _name(estimator: Any) -> str:
    last = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    name = type(last).__name__ + (" by distance" if getattr(last, "weights", "") == "distance" else "")
    return name if last is estimator else f"scaler + {name}"


def _answers(path: Path, rows: Any) -> tuple[Any, Any, float]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    times = []
    for index in range(_CALLS):
        row = rows[index : index + 1]
        started = time.perf_counter_ns()
        session.run(None, {name: row})
        times.append(time.perf_counter_ns() - started)
    labels, scores = session.run(["label", "probabilities"], {name: rows})
    return labels, scores, round(statistics.median(times) / 1000, 1)


def _forms(path: Path, name: str, x: Any, y: Any, half: int, directory: Path) -> Iterator[dict[str, Any]]:
    model = describe(path, name)
    held = Dataset(name="held", inputs={"features": x[half:]}, labels=y[half:])
    calibration = Dataset(name="calibration", inputs={"features": x[: min(half, 256)]})
    before, _, original_us = _answers(path, x[half:])
    for recipe in propose(model, (), True).recipes[1:]:
        if recipe.passes[0].name == "optimize_graph":
            continue
        work = directory / "work"
        work.mkdir(exist_ok=True)
        target = work / "made.onnx"
        context = PassContext(work_directory=work, calibration=calibration)
        started = time.perf_counter()
        try:
            made = make_pass(recipe.passes[0]).run(path, target, context, model)
        except UnsupportedError as error:
            yield {"estimator": name, "form": recipe.label, "refused": error.message.rpartition(": ")[2]}
            continue
        seconds = time.perf_counter() - started
        after, _, latency_us = _answers(target, x[half:])
        quality = assess({"label": before}, {"label": after}, held, seed=0)
        if quality is None or quality.baseline.value is None or quality.value.value is None:
            raise SystemExit("classical: held rows have labels, so there is a quality")
        yield {
            "estimator": name,
            "form": recipe.label,
            "accuracy": round(quality.value.value, 4),
            "retention": round(quality.value.value / quality.baseline.value, 4),
            "retention_low": round(1 - (quality.drop.high or 0.0) / quality.baseline.value, 4),
            "smaller": round(model.size_bytes / made.description.size_bytes, 2),
            "faster": round(original_us / latency_us, 2),
            "seconds": round(seconds, 2),
        }


def _table(rows: list[dict[str, Any]]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_cell(row.get(name, "")) for name in names] for row in rows]
    widths = [max(len(line[i]) for line in [names, *cells]) for i in range(len(names))]
    for line in [names, *cells]:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.1e}" if 0 < abs(value) < 1e-3 else f"{value:.4g}" if value != 1.0 else "1.0000"
    return str(value)


if __name__ == "__main__":
    sys.exit(main())
