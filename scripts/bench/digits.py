"""Estimators of scikit-learn on its digits (1,797 real images of 64 pixels): one half trains, the other judges."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier


def _halves() -> tuple[Any, Any, int]:
    x, y = load_digits(return_X_y=True)
    return x.astype(np.float32), y, len(x) // 2


def forest() -> Any:
    x, y, half = _halves()
    return RandomForestClassifier(100, random_state=0).fit(x[:half], y[:half])


def neighbours() -> Any:
    x, y, half = _halves()
    return KNeighborsClassifier(5, weights="distance").fit(x[:half], y[:half])


def data() -> dict[str, NDArray[np.generic]]:
    """Return the half that nothing was fitted on; calibration items are set aside by edgeloop itself."""
    x, y, half = _halves()
    return {"features": x[half:], "labels": y[half:]}
