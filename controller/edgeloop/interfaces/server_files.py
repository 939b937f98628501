"""The files that an experiment needs, gathered on this machine to be sent to a server."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeloop_foundation.errors import InvalidInputError, NotFoundError

from edgeloop.domain.experiment import ExperimentRequest

__all__ = ["Gathered", "gathered"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """Files by the path that they get on the server."""

    paths: Mapping[str, Path]
    #: Path of the model.
    model: str
    #: Path of the data with its options; empty without.
    data: str


def gathered(request: ExperimentRequest) -> Gathered:
    """Return the files of a request: the model with its external data, and the data.

    Raises:
        InvalidInputError: model or data are a function, or nothing that can be sent.
        NotFoundError: a file does not exist.
    """
    paths, model = _model_files(request.model)
    data = ""
    if request.data:
        more, data = _data_files(request.data)
        paths |= more
    return Gathered(paths=paths, model=model, data=data)


def _model_files(spec: str) -> tuple[dict[str, Path], str]:
    from edgeloop.compress.sources import REGISTRY, load_source

    if REGISTRY.load("python_object")().accepts(spec):
        raise _function("the model", spec)
    with tempfile.TemporaryDirectory() as work:
        source = load_source(spec, Path(work))
    root = source.path.parent
    return {
        f"model/{path.relative_to(root).as_posix()}": path for path in source.files
    }, f"model/{source.path.name}"


def _data_files(spec: str) -> tuple[dict[str, Path], str]:
    from edgeloop.evaluate.datasets import DATASETS
    from edgeloop.evaluate.datasets.base import DataSource

    source = DataSource.parse(spec)
    if DATASETS.load("function")().accepts(source) and not source.path.exists():
        raise _function("the data", source.location)
    root = source.path.absolute()
    options = spec.strip().partition("?")[2]
    named = f"data/{root.name}" + (f"?{options}" if options else "")
    if root.is_file():
        return {f"data/{root.name}": root}, named
    if not root.is_dir():
        raise NotFoundError(f"data {source.location!r} does not exist.")
    files = [path for path in sorted(root.rglob("*")) if path.is_file() and not _hidden(path, root)]
    if not files:
        raise InvalidInputError(f"data {source.location!r} is an empty folder.")
    return {f"data/{path.relative_to(root.parent).as_posix()}": path for path in files}, named


def _hidden(path: Path, root: Path) -> bool:
    return any(step.startswith(".") for step in path.relative_to(root).parts)


def _function(what: str, spec: str) -> InvalidInputError:
    return InvalidInputError(
        f"{what} {spec} is a function, which would run on the server.",
        next_step="Give a file: an ONNX model, and data as .npz, .csv, .parquet or a folder; or leave --server out.",
    )
