"""A model that a Python function returns: a path, an ONNX model, a fitted estimator, or a torch module with
example inputs."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from edgeloop_foundation.errors import InvalidInputError, NotFoundError

from edgeloop.compress.functions import called
from edgeloop.compress.sources.base import Source
from edgeloop.compress.training.export import export_onnx
from edgeloop.compress.training.module import as_trainable, module_beside, save_trainable

__all__ = ["PythonObject"]

_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_FILE = re.compile(r".+\.py:[A-Za-z_]\w*")


class PythonObject(Source):
    """``module:function`` or ``path/to/file.py:function``; the function takes no arguments."""

    name = "python_object"

    def accepts(self, spec: str) -> bool:
        """Return whether it has one of the two forms and is not the name of a file."""
        return bool(_MODULE.fullmatch(spec) or _FILE.fullmatch(spec)) and not Path(spec).exists()

    def title_of(self, spec: str) -> str:
        """Return the name of file or module and of the function."""
        place, _, function = spec.rpartition(":")
        return f"{Path(place).name}:{function}"

    def locate(self, spec: str, work_directory: Path) -> Path:
        """Call the function and write what it returns.

        Raises:
            NotFoundError: no such module, file or function.
            InvalidInputError: the function fails, or returns something else.
            MissingDependencyError: it returns a torch module and torch is not installed.
        """
        value = called(spec)
        work_directory.mkdir(parents=True, exist_ok=True)
        target = work_directory / f"source-{hashlib.sha256(spec.encode()).hexdigest()[:16]}.onnx"
        return _written(value, spec, target)


def _written(value: Any, spec: str, target: Path) -> Path:
    import onnx

    from edgeloop.compress.classic import estimator_to_onnx, is_estimator
    from edgeloop.compress.graph import save_model

    if isinstance(value, str | Path):
        path = Path(value).expanduser().absolute()
        if not path.is_file():
            raise NotFoundError(f"{spec} returned {str(value)!r}, which is not a file.")
        return path
    if isinstance(value, onnx.ModelProto):
        save_model(value, target)
        return target
    if is_estimator(value):
        save_model(estimator_to_onnx(value, spec), target)
        return target
    if isinstance(value, tuple) and len(value) == 2:
        trainable = as_trainable(value, spec)
        export_onnx(trainable, target)
        save_trainable(trainable, module_beside(target))
        return target
    raise InvalidInputError(
        f"{spec} returned {type(value).__name__}; expected a path, an onnx ModelProto, a fitted "
        f"estimator, or (torch module, example inputs)."
    )
