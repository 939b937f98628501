"""One artifact with its settings on one simulated board: why it is refused, or its predicted figures."""

from __future__ import annotations

from edgeloop_foundation.errors import EdgeloopError
from edgeloop_profiles.predict import (
    LoadPrediction,
    MemoryPrediction,
    Prediction,
    predict_latency,
    predict_load,
    predict_memory,
)
from edgeloop_profiles.profile import Profile, RuntimeModel
from edgeloop_protocol.types.artifact import Artifact
from edgeloop_protocol.types.run import FailureKind, Outcome
from edgeloop_protocol.types.trial import RuntimeSettings

from edgeloop_agent.failure import RunnerFailure

__all__ = ["Workload", "runtime_version"]

_STANDARD_DOMAINS = ("", "ai.onnx")


class Workload:
    """Predictions for one artifact, settings and batch size; every failure is a ``RunnerFailure``."""

    def __init__(
        self, profile: Profile, artifact: Artifact, settings: RuntimeSettings, batch_size: int
    ) -> None:
        """Take the artifact in.

        Raises:
            RunnerFailure: this board could not run it, or the profile cannot predict it.
        """
        self._profile, self._artifact = profile, artifact
        self._settings, self._batch_size = settings, batch_size
        self._by_clock: dict[float, Prediction] = {}
        self.runtime = self._find_runtime()
        self._check_opset()
        self.nominal = self.latency(profile.processor.max_frequency_hz)
        self.memory = self._predict_memory()

    @property
    def threads(self) -> int:
        """Return the threads within one operator."""
        return self._settings.intra_op_threads

    def latency(self, frequency_hz: float) -> Prediction:
        """Return the predicted latency at a clock.

        Raises:
            RunnerFailure: the profile has no figures for one of the kernels, or there is no kernel table.
        """
        if frequency_hz not in self._by_clock:
            self._by_clock[frequency_hz] = self._predict_latency(frequency_hz)
        return self._by_clock[frequency_hz]

    def load(self, *, cold: bool, frequency_hz: float) -> LoadPrediction:
        """Return the predicted session creation."""
        return predict_load(
            self._profile,
            kernel_count=len(self._artifact.kernels),
            model_size_bytes=self._artifact.model_size_bytes,
            cold=cold,
            frequency_hz=frequency_hz,
            runtime=self._settings.runtime,
        )

    def check_memory(self, limit_bytes: int) -> None:
        """Refuse what does not fit the board, or the runner's own limit when that is not 0.

        Raises:
            RunnerFailure: it does not fit.
        """
        figures = self._profile.memory
        available = figures.total_bytes - figures.reserved_bytes
        limit = min(available, limit_bytes) if limit_bytes else available
        if not self.memory.fits(limit):
            raise RunnerFailure(
                Outcome.DEVICE_ERROR,
                FailureKind.OUT_OF_MEMORY,
                f"{self._artifact.label!r} is predicted to need {self.memory.peak_bytes} bytes of memory; "
                f"{limit} are available on the simulated {self._profile.name}.",
            )

    def _find_runtime(self) -> RuntimeModel:
        try:
            runtime = self._profile.runtime(self._settings.runtime)
        except EdgeloopError as error:
            raise _unsupported(error.message) from error
        missing = [name for name in self._settings.providers if name not in runtime.providers]
        if missing:
            why = self._profile.absence_of(missing[0])
            raise _unsupported(
                f"the simulated {self._profile.name} has no execution provider {missing[0]!r}, "
                f"only {', '.join(runtime.providers)}{f': {why}' if why else ''}."
            )
        return runtime

    def _check_opset(self) -> None:
        for domain, version in self._artifact.opsets:
            if domain in _STANDARD_DOMAINS and version > self.runtime.max_opset:
                raise _unsupported(
                    f"{self._artifact.label!r} needs ONNX opset {version}; {self.runtime.name} "
                    f"{self.runtime.version} of the simulated {self._profile.name} loads up to "
                    f"{self.runtime.max_opset}."
                )

    def _predict_latency(self, frequency_hz: float) -> Prediction:
        if not self._artifact.kernels:
            raise _unsupported(
                f"{self._artifact.label!r} has no kernel table, so that there is nothing to predict from."
            )
        try:
            return predict_latency(
                self._profile,
                self._artifact.kernels,
                threads=self.threads,
                batch_size=self._batch_size,
                frequency_hz=frequency_hz,
                runtime=self._settings.runtime,
                runtime_version=self.runtime.version,
            )
        except EdgeloopError as error:
            raise _unsupported(error.message) from error

    def _predict_memory(self) -> MemoryPrediction:
        return predict_memory(
            self._profile,
            weight_bytes=self._artifact.weight_bytes,
            activation_peak_bytes=self._artifact.activation_peak_bytes,
            batch_size=self._batch_size,
            runtime=self._settings.runtime,
        )


def runtime_version(runtime: RuntimeModel) -> str:
    """Return name and version in the words of a real runner."""
    return f"{runtime.name} {runtime.version}"


def _unsupported(reason: str) -> RunnerFailure:
    return RunnerFailure(Outcome.UNSUPPORTED, FailureKind.UNSUPPORTED_MODEL, reason)
