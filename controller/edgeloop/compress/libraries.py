"""Which libraries take part in building a candidate."""

from __future__ import annotations

import contextlib
from importlib import metadata

import edgeloop

__all__ = ["library_versions"]

_NAMES = (
    "nncf",
    "numpy",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "onnxslim",
    "sympy",
    "torch",
    "torch-pruning",
    "torchao",
)


def library_versions() -> tuple[tuple[str, str], ...]:
    """Return name and version of every library that takes part and is installed, sorted; edgeloop
    included."""
    found = {"edgeloop": edgeloop.__version__}
    for name in _NAMES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return tuple(sorted(found.items()))
