"""What a source driver promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from edgeloop_protocol.types.artifact import StateBinding

from edgeloop.domain.model import ModelDescription

__all__ = ["Source", "SourceModel"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceModel:
    """The user's model as a file."""

    #: The .onnx file, external data lies beside it; or another format's.
    path: Path
    #: That file, then every file with external data.
    files: tuple[Path, ...]
    #: What is known of it.
    description: ModelDescription
    #: Its trainable form, where it came as a torch module; None otherwise.
    module: Path | None = None


class Source(ABC):
    """One kind of source."""

    #: Registered driver name, the stem of its file.
    name: ClassVar[str]

    @abstractmethod
    def accepts(self, spec: str) -> bool:
        """Return whether this driver is the one for ``spec``; it need not exist yet."""

    @abstractmethod
    def locate(self, spec: str, work_directory: Path) -> Path:
        """Return the model's file, an ONNX file written under ``work_directory`` when it was not one.

        Raises:
            NotFoundError: it does not exist.
            InvalidInputError: it is not a model.
            MissingDependencyError: a package is needed that is not installed.
        """

    def describe(self, path: Path, name: str, state: tuple[StateBinding, ...]) -> ModelDescription:
        """Return what is known of the located file; an ONNX file unless the driver says otherwise.

        Raises:
            InvalidInputError: it is not a model, or the state does not fit it.
        """
        from edgeloop.compress.describe import describe

        return describe(path, name, state)

    def beside(self, path: Path) -> tuple[Path, ...]:
        """Return the files that belong to the located one: an ONNX file's external data."""
        from edgeloop.compress.graph import external_locations, load_model

        return tuple(path.parent / location for location in external_locations(load_model(path), path))

    def title_of(self, spec: str) -> str:
        """Return the model's name for people."""
        return Path(spec).name
