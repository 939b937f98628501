"""A random forest fitted on Iris, for ``edgeloop run examples/iris_forest.py:make --data iris.csv?label=species``.

``write_data()`` writes the table: python -c "import sys; sys.path.insert(0, 'examples'); import iris_forest;
iris_forest.write_data('iris.csv')"
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any


def make() -> Any:
    """Return the forest, fitted on every second flower."""
    from sklearn.datasets import load_iris
    from sklearn.ensemble import RandomForestClassifier

    features, species = load_iris(return_X_y=True)
    return RandomForestClassifier(n_estimators=100, random_state=0).fit(features[::2], species[::2])


def write_data(path: str) -> None:
    """Write the other flowers as a table with the column ``species``."""
    from sklearn.datasets import load_iris

    iris = load_iris()
    with Path(path).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            [*(name.removesuffix(" (cm)").replace(" ", "_") for name in iris.feature_names), "species"]
        )
        writer.writerows([*row, label] for row, label in zip(iris.data[1::2], iris.target[1::2], strict=True))
