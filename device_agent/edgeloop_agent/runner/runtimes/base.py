"""What a runtime driver has to offer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from edgeloop_protocol.types.artifact import Artifact
from edgeloop_protocol.types.facts import RuntimeFacts
from edgeloop_protocol.types.outcome import FailureKind, Outcome, Placement
from edgeloop_protocol.types.trial import RuntimeSettings

from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.runner.runtime_settings import installed_version

__all__ = ["Arrays", "Execute", "LoadedModel", "Runtime"]

Arrays = Mapping[str, Any]
"""Arrays by input or output name (``numpy.ndarray``; typed loosely so that this module imports no NumPy)."""

Execute = Callable[[Arrays], Sequence[Any]]
"""One inference: inputs by name to the outputs, in the order of ``LoadedModel.output_names``."""


class LoadedModel(ABC):
    """A model that is ready to run."""

    #: Names of the outputs in the order in which ``execute`` returns them.
    output_names: tuple[str, ...]
    #: Providers in force, in order of preference.
    providers: tuple[str, ...]

    @abstractmethod
    def executor(self) -> Execute:
        """Return the shortest path to one inference; it is called in the timed loop."""

    @abstractmethod
    def explain(self, error: Exception) -> RunnerFailure:
        """Return the outcome that an error of an inference stands for."""

    @abstractmethod
    def placement(self, first_run: int) -> Placement:
        """End the recording of node times and return the means over the runs from ``first_run`` on.

        Raises:
            RunnerFailure: the model was not loaded with ``profile``.
        """


class Runtime(ABC):
    """One inference engine."""

    #: Registered name; also the stem of the driver's file.
    name: ClassVar[str]
    #: Artifact formats that it opens.
    formats: ClassVar[tuple[str, ...]]
    #: Packages that bring it, each alone.
    distributions: ClassVar[tuple[str, ...]] = ()

    def installed(self) -> str:
        """Return the version of the package that brings it; empty when none is installed."""
        return installed_version(*self.distributions)

    def facts(self) -> RuntimeFacts:
        """Return what this installation can do, or why it cannot be used; never raises."""
        try:
            return replace(self._facts(), formats=self.formats)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            return RuntimeFacts(name=self.name, reason=reason, formats=self.formats)

    def load(
        self, directory: Path, artifact: Artifact, settings: RuntimeSettings, profile: Path | None = None
    ) -> LoadedModel:
        """Open the artifact's model with exactly these settings.

        Args:
            directory: holds the artifact's files under their names.
            artifact: its manifest.
            settings: applied one by one; one that cannot be applied is a failure, never ignored.
            profile: where to record node times; None records none.

        Raises:
            RunnerFailure: the model cannot be opened here; the reason is one sentence without the directory.
        """
        if artifact.format not in self.formats:
            raise RunnerFailure(
                Outcome.UNSUPPORTED,
                FailureKind.UNSUPPORTED_MODEL,
                f"{self.name} opens {', '.join(self.formats)}, not the format {artifact.format!r}.",
            )
        try:
            return self._load(directory, artifact, settings, profile)
        except RunnerFailure as failure:
            # The reason travels to other machines, where this one's directories are nobody's business.
            reason = failure.reason.replace(f"{directory}/", "")
            raise RunnerFailure(failure.outcome, failure.failure_kind, reason) from failure

    @abstractmethod
    def prepare(self) -> str:
        """Import the engine and return its version.

        Raises:
            RunnerFailure: it is not installed or cannot be loaded.
        """

    @abstractmethod
    def _facts(self) -> RuntimeFacts:
        """Probe this installation; may raise anything."""

    @abstractmethod
    def _load(
        self, directory: Path, artifact: Artifact, settings: RuntimeSettings, profile: Path | None
    ) -> LoadedModel:
        """Open the model; raises ``RunnerFailure``."""
