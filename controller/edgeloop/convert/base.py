"""What a converter has to offer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from edgeloop_foundation.errors import InvalidInputError, MissingDependencyError
from edgeloop_protocol.types.artifact import TensorSpec

from edgeloop.domain.dataset import Dataset

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Converter"]


class Converter(ABC):
    """ONNX to one other format."""

    #: Registered name, the format it writes; also the stem of the driver's file.
    name: ClassVar[str]
    #: Ending of its files.
    suffix: ClassVar[str]

    def convert(self, model: Path, inputs: Sequence[TensorSpec], directory: Path) -> Path:
        """Write the model in this format and return the file.

        Inputs and outputs keep their names, shapes and element types: the golden pack of the original fits.

        Args:
            model: ONNX file.
            inputs: its inputs.
            directory: where the file goes; created when missing.

        Raises:
            MissingDependencyError: the converter is not installed; the message says what to install.
            InvalidInputError: it cannot convert this model; its reason in one sentence.
        """
        if missing := self.missing():
            raise MissingDependencyError(missing, next_step=self.advice())
        directory.mkdir(parents=True, exist_ok=True)
        path = self._convert(model, inputs, directory)
        if not path.is_file() or not path.stat().st_size:
            raise InvalidInputError(f"the converter to {self.name} wrote nothing for {model.name}.")
        return path

    @abstractmethod
    def missing(self) -> str:
        """Return what is not installed; empty when the converter can run."""

    @abstractmethod
    def advice(self) -> str:
        """Return the commands that install it."""

    @abstractmethod
    def version(self) -> str:
        """Return name and version of what converts, for the manifest; empty when it is missing."""

    @abstractmethod
    def run(self, path: Path, data: Dataset) -> Mapping[str, NDArray[np.generic]]:
        """Return output name -> ``[items, ...]`` of a converted file on this host's own runtime, item by item.

        Raises:
            MissingDependencyError: the runtime is not installed here.
            InvalidInputError: the file does not run on these items.
        """

    @abstractmethod
    def _convert(self, model: Path, inputs: Sequence[TensorSpec], directory: Path) -> Path:
        """Convert; raises ``InvalidInputError``."""
