"""A model that a Python function returns: a path, an ONNX model, a fitted estimator, or a torch module with
example inputs."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from edgeloop_foundation.errors import EdgeloopError, InvalidInputError, MissingDependencyError, NotFoundError

from edgeloop.compress.quiet import quiet
from edgeloop.compress.sources.base import Source

__all__ = ["PythonObject"]

_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_FILE = re.compile(r".+\.py:[A-Za-z_]\w*")
_OPSET = 20


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
        function = _function(spec)
        try:
            value = function()
        except EdgeloopError:
            raise
        except Exception as error:  # the user's code may raise anything
            raise InvalidInputError(f"{spec} failed: {type(error).__name__}: {error}.") from error
        work_directory.mkdir(parents=True, exist_ok=True)
        target = work_directory / f"source-{hashlib.sha256(spec.encode()).hexdigest()[:16]}.onnx"
        return _written(value, spec, target)


def _function(spec: str) -> Callable[[], Any]:
    place, _, name = spec.rpartition(":")
    module = _module_from_file(Path(place)) if place.endswith(".py") else _module(place)
    function = getattr(module, name, None)
    if not callable(function):
        raise NotFoundError(f"{place} has no function {name!r}.")
    found: Callable[[], Any] = function
    return found


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
            next_step=_install(error.name),
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
            next_step=_install(error.name),
        ) from error
    except Exception as error:  # the user's code may raise anything
        raise InvalidInputError(f"{path.name} fails on import: {type(error).__name__}: {error}.") from error
    return module


def _install(package: str | None) -> str:
    if package == "torch":
        return "Install the torch extra: pip install 'edgeloop[torch]'."
    return f"Install it, for example: pip install {package}."


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
        return _exported(value[0], value[1], spec, target)
    raise InvalidInputError(
        f"{spec} returned {type(value).__name__}; expected a path, an onnx ModelProto, a fitted "
        f"estimator, or (torch module, example inputs)."
    )


def _exported(module: Any, example: Any, spec: str, target: Path) -> Path:
    try:
        import torch
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"{spec} returns a torch module, and torch is not installed.", next_step=_install("torch")
        ) from error
    if not isinstance(module, torch.nn.Module):
        raise InvalidInputError(
            f"{spec} returned a pair whose first part is {type(module).__name__}, not a torch module."
        )
    arguments = example if isinstance(example, tuple) else (example,)
    # The first axis is free where all tensor inputs agree on it; anything else stays as in the example.
    axes = tuple({0: "batch"} if isinstance(a, torch.Tensor) and a.dim() else None for a in arguments)
    lengths = {a.shape[0] for a in arguments if isinstance(a, torch.Tensor) and a.dim()}
    with quiet():
        try:
            _export(torch, module.eval(), arguments, target, axes if len(lengths) == 1 else None)
        except Exception as first:  # torch raises a family of its own; a fixed batch is the one retry
            try:
                _export(torch, module.eval(), arguments, target, None)
            except Exception as error:
                raise InvalidInputError(
                    f"torch cannot export what {spec} returned: {' '.join(str(error).split())[:200]}."
                ) from first
    return target


def _export(torch: Any, module: Any, arguments: tuple[Any, ...], target: Path, axes: Any) -> None:
    torch.onnx.export(
        module,
        arguments,
        str(target),
        dynamo=True,
        dynamic_shapes=axes,
        opset_version=_OPSET,
        external_data=False,
        verbose=False,
    )
