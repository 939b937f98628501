"""The user's functions, by ``module:function`` or ``path/to/file.py:function``."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from edgeloop_foundation.errors import EdgeloopError, InvalidInputError, MissingDependencyError, NotFoundError

__all__ = ["called", "code_digest", "install_advice", "load_function"]


def load_function(spec: str) -> Callable[..., Any]:
    """Return the function that ``spec`` names.

    Raises:
        NotFoundError: no such module, file or function.
        InvalidInputError: it fails on import.
        MissingDependencyError: it needs a package that is not installed.
    """
    place, _, name = spec.rpartition(":")
    module = _module_from_file(Path(place)) if place.endswith(".py") else _module(place)
    function = getattr(module, name, None)
    if not callable(function):
        raise NotFoundError(f"{place} has no function {name!r}.")
    found: Callable[..., Any] = function
    return found


def called(spec: str) -> Any:
    """Return what the function returns when it is called without arguments.

    Raises:
        EdgeloopError: as :func:`load_function`; InvalidInputError when the function fails.
    """
    function = load_function(spec)
    try:
        return function()
    except EdgeloopError:
        raise
    except Exception as error:  # the user's code may raise anything
        raise InvalidInputError(f"{spec} failed: {type(error).__name__}: {error}.") from error


def code_digest(spec: str) -> str:
    """Return SHA-256 of the file with the function; of the name alone where there is no file to read.

    Data that the function reads is not part of it.
    """
    place = spec.rpartition(":")[0]
    path = Path(place) if place.endswith(".py") else None
    if path is None:
        try:
            found = importlib.util.find_spec(place)
        except (ImportError, ValueError):
            found = None
        path = Path(found.origin) if found is not None and found.origin else None
    content = path.read_bytes() if path is not None and path.is_file() else b""
    return hashlib.sha256(spec.encode() + b"\0" + content).hexdigest()


def install_advice(package: str | None) -> str:
    """Return what to do about a package that is not installed."""
    if package == "torch":
        return "Install the torch extra: pip install 'edgeloop[torch]'."
    return f"Install it, for example: pip install {package}."


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and name.startswith(error.name):
            raise NotFoundError(
                f"there is no module {name!r}.", next_step="Check the name or PYTHONPATH."
            ) from error
        raise MissingDependencyError(
            f"{name} needs the package {error.name!r}, which is not installed.",
            next_step=install_advice(error.name),
        ) from error


def _module_from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise NotFoundError(f"{path} is not a file.")
    location = importlib.util.spec_from_file_location(f"edgeloop_source_{path.stem}", path)
    if location is None or location.loader is None:
        raise InvalidInputError(f"{path} cannot be imported.")
    module = importlib.util.module_from_spec(location)
    sys.modules[module.__name__] = module
    try:
        location.loader.exec_module(module)
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"{path.name} needs the package {error.name!r}, which is not installed.",
            next_step=install_advice(error.name),
        ) from error
    except Exception as error:  # the user's code may raise anything
        raise InvalidInputError(f"{path.name} fails on import: {type(error).__name__}: {error}.") from error
    return module
