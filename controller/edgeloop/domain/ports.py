"""What one capability needs of another: protocols, wired by ``app``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from edgeloop_protocol.chunk_list import Chunk
    from edgeloop_protocol.types.artifact import Artifact
    from numpy.typing import NDArray

    from edgeloop.domain.dataset import Dataset

__all__ = ["ArtifactStore", "Evaluator", "LatencyOracle", "ParityCheck", "Progress"]

Progress = Callable[[str, int, int], None]
"""``progress(what, done, total)``: real counts; total is 0 when unknown."""


class Evaluator(Protocol):
    """Runs a model file over a data set on the host."""

    def __call__(self, model_path: Path, data: Dataset) -> Mapping[str, NDArray[np.generic]]:
        """Return output name -> ``[items, ...]`` (``[items, steps, ...]`` with state)."""
        ...


class ParityCheck(Protocol):
    """Compares two sets of outputs on the host."""

    def __call__(
        self,
        expected: Mapping[str, NDArray[np.generic]],
        actual: Mapping[str, NDArray[np.generic]],
        precision: str,
    ) -> str:
        """Return an empty string when they agree within the precision's tolerance, else one sentence."""
        ...


class LatencyOracle(Protocol):
    """Says how long a model file takes on the device in question, measured or predicted."""

    def __call__(self, model_path: Path) -> float:
        """Return seconds per inference at batch 1."""
        ...


class ArtifactStore(Protocol):
    """Keeps artifacts by digest; nothing in it ever changes."""

    def put(self, manifest: Artifact, files: Mapping[str, Path]) -> str:
        """Store an artifact whole or not at all and return its digest; storing it again is no error."""
        ...

    def manifest(self, digest: str) -> Artifact:
        """Return a manifest.

        Raises:
            NotFoundError: no such artifact.
            CorruptDataError: what is stored does not match the digest.
        """
        ...

    def directory(self, digest: str) -> Path:
        """Return the directory that holds the artifact's files under their names, and "manifest.json"."""
        ...

    def blob(self, digest: str) -> Path:
        """Return the path of one file's content, the manifest's included, by its SHA-256."""
        ...

    def chunks(self, digest: str) -> Sequence[Chunk]:
        """Return the chunks that one file's content is cut into, in order; equal content has equal chunks."""
        ...

    def digests(self) -> Iterable[str]:
        """Return the digests of all artifacts, oldest first."""
        ...
