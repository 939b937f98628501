"""Data from a function of the user's."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from edgeloop_foundation.errors import EdgeloopError, InvalidInputError, NotFoundError

from edgeloop.domain.dataset import Dataset
from edgeloop.evaluate.datasets.base import DataSource, ReadRequest, assemble

__all__ = ["FunctionReader", "load_function"]

_FORM = re.compile(r"(?P<module>.+\.py|[A-Za-z_][\w.]*):(?P<function>[A-Za-z_]\w*)")


class FunctionReader:
    """``module:function`` or ``path.py:function``; it may take ``seed``, ``limit``, ``description``."""

    name: ClassVar[str] = "function"

    def accepts(self, source: DataSource) -> bool:
        """Return whether the location has the form."""
        return _FORM.fullmatch(source.location) is not None

    def read(self, request: ReadRequest) -> Dataset:
        """Return what the function returns.

        Raises:
            InvalidInputError: the function failed, or returned neither a Dataset nor arrays by name.
            NotFoundError: no such module or function.
        """
        request.source.require_known()
        location = request.source.location
        function = load_function(location)
        offered = {"seed": request.seed, "limit": request.limit, "description": request.description}
        taken = inspect.signature(function).parameters
        try:
            result = function(**{name: value for name, value in offered.items() if name in taken})
        except EdgeloopError:
            raise
        except Exception as error:
            raise InvalidInputError(f"{location} failed: {type(error).__name__}: {error}.") from error
        if isinstance(result, Dataset):
            return result
        if isinstance(result, Mapping):
            arrays = {str(name): np.asarray(array) for name, array in result.items() if array is not None}
            return assemble(location, arrays, request.description)
        raise InvalidInputError(
            f"{location} returned {type(result).__name__}; it returns a Dataset or a dict of arrays "
            "by input name."
        )


def load_function(location: str) -> Callable[..., Any]:
    """Return the function that ``module:function`` or ``path.py:function`` names.

    Raises:
        NotFoundError: no such module or function.
        InvalidInputError: the file cannot be imported.
    """
    module_text, _, name = location.rpartition(":")
    module = _from_file(Path(module_text)) if module_text.endswith(".py") else _from_name(module_text)
    function = getattr(module, name, None)
    if not callable(function):
        raise NotFoundError(f"{module_text} has no function {name!r}.")
    return function  # type: ignore[no-any-return]


def _from_name(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise NotFoundError(
            f"module {name!r} cannot be imported: {error}.", next_step="Is it installed or on PYTHONPATH?"
        ) from error


def _from_file(path: Path) -> Any:
    if not path.is_file():
        raise NotFoundError(f"file {str(path)!r} does not exist.")
    # A name of its own per file, so that two files called data.py do not shadow each other.
    name = f"_edgeloop_data_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InvalidInputError(f"file {str(path)!r} is not a Python module.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except EdgeloopError:
        raise
    except Exception as error:
        del sys.modules[name]
        raise InvalidInputError(f"{path} cannot be imported: {type(error).__name__}: {error}.") from error
    return module
