"""What a source driver promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from edgeloop.domain.model import ModelDescription

__all__ = ["Source", "SourceModel"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceModel:
    """The user's model as an ONNX file."""

    #: The .onnx file; external data lies beside it.
    path: Path
    #: That file, then every file with external data.
    files: tuple[Path, ...]
    #: What is known of it.
    description: ModelDescription


class Source(ABC):
    """One kind of source."""

    #: Registered driver name, the stem of its file.
    name: ClassVar[str]

    @abstractmethod
    def accepts(self, spec: str) -> bool:
        """Return whether this driver is the one for ``spec``; it need not exist yet."""

    @abstractmethod
    def locate(self, spec: str, work_directory: Path) -> Path:
        """Return an ONNX file, written under ``work_directory`` when it was not one.

        Raises:
            NotFoundError: it does not exist.
            InvalidInputError: it is not a model.
            MissingDependencyError: a package is needed that is not installed.
        """

    def title_of(self, spec: str) -> str:
        """Return the model's name for people."""
        return Path(spec).name
