"""Predicts a model's latency and memory on boards from their profiles; no board and no agent is started.

The same predictor moves the clock of a simulated board. What only a run could show (heat, stalls, parity) is not in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import EdgeloopError, InvalidInputError, UnsupportedError
from edgeloop_protocol.types.artifact import Artifact, StateBinding
from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import Run, Source
from edgeloop_protocol.types.trial import RuntimeSettings

from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.experiment import Listener
from edgeloop.domain.prediction import BoardPrediction
from edgeloop.orchestrate.single import artifact_of

if TYPE_CHECKING:
    from edgeloop_profiles.predict import Prediction
    from edgeloop_profiles.profile import Profile, RuntimeModel

    from edgeloop.app import App

__all__ = ["predict"]

_CONFIDENCE = 0.9
_STANDARD_DOMAINS = ("", "ai.onnx")


async def predict(
    app: App,
    model_or_digest: str,
    devices: Sequence[DeviceSpec],
    listener: Listener,
    *,
    threads: Sequence[int] = (1,),
    batch_size: int = 1,
    runtime: str = "onnxruntime",
    runtime_version: str = "",
    data: str = "",
    state: Sequence[StateBinding] = (),
) -> tuple[BoardPrediction, ...]:
    """Predict one model or kept artifact on every board, with every number of threads.

    Args:
        app: the stores.
        model_or_digest: a model, or the digest of a kept artifact.
        devices: simulated boards; the address of each is a profile's name or file.
        listener: is told what goes on.
        threads: threads within one operator; each gives a row a board.
        batch_size: items per inference.
        runtime: name of the runtime.
        runtime_version: version that will run; another one than a profile's figures are of makes them stale.
        data: what golden inputs are taken from; it does not change a prediction.
        state: outputs that are fed back.

    Raises:
        InvalidInputError: the model cannot be used, a device is not simulated, or a count is below 1.
        NotFoundError: no such file, artifact or profile.
    """
    from edgeloop_profiles import load_profile

    _check(devices, threads, batch_size)
    profiles = [load_profile(spec.address) for spec in devices]
    listener.phase("Model")
    label, digest = await artifact_of(app, model_or_digest, data, state, 0, listener)
    artifact = app.artifacts.manifest(digest)
    settings = [RuntimeSettings(runtime=runtime, intra_op_threads=count) for count in threads]
    return tuple(
        _Board(app, spec, profile, runtime_version).prediction(label, digest, artifact, chosen, batch_size)
        for spec, profile in zip(devices, profiles, strict=True)
        for chosen in settings
    )


def _check(devices: Sequence[DeviceSpec], threads: Sequence[int], batch_size: int) -> None:
    for spec in devices:
        if spec.transport != "simulated" or not spec.address:
            raise InvalidInputError(
                f"{spec.name} is no profile, so there is nothing to predict from.",
                next_step="Name boards as sim:PROFILE or sim:FILE.toml; measure others with edgeloop bench.",
            )
    for name, values in (("threads", threads), ("batch_size", (batch_size,))):
        if not values or min(values) < 1:
            raise InvalidInputError(f"{name}: found {list(values)}, allowed is at least 1.")


class _Board:
    """One board and everything about it that is the same for all of its rows."""

    def __init__(self, app: App, spec: DeviceSpec, profile: Profile, runtime_version: str) -> None:
        self._app, self._spec, self._profile = app, spec, profile
        self._version = runtime_version

    def prediction(
        self, label: str, digest: str, artifact: Artifact, settings: RuntimeSettings, batch_size: int
    ) -> BoardPrediction:
        """Return what is predicted, what was measured on the fitted device, or why there is neither."""
        from edgeloop_profiles.predict import predict_latency

        profile, threads = self._profile, settings.intra_op_threads
        row = BoardPrediction(
            board=self._spec.name,
            profile=profile.name,
            profile_digest=profile.digest,
            model=label,
            artifact_digest=digest,
            runtime_version=f"{settings.runtime} {self._version}".rstrip(),
            threads=threads,
            batch_size=batch_size,
            source=Source.SIMULATED,
            tier="",
            basis="",
            latency=Estimate.absent("not predicted"),
            peak_memory=Estimate.absent("not predicted"),
            reason="not predicted",
        )
        try:
            model = profile.runtime(settings.runtime)
            _check_opset(profile, model, artifact)
            found = predict_latency(
                profile,
                artifact.kernels,
                threads=threads,
                batch_size=batch_size,
                runtime=model.name,
                runtime_version=self._version or model.version,
            )
            return self._filled(row, found, model, artifact)
        except EdgeloopError as error:
            return _refused(row, error.message)

    def _filled(
        self, row: BoardPrediction, found: Prediction, model: RuntimeModel, artifact: Artifact
    ) -> BoardPrediction:
        from edgeloop_profiles.predict import Tier, predict_memory

        memory = predict_memory(
            self._profile,
            weight_bytes=artifact.weight_bytes,
            activation_peak_bytes=artifact.activation_peak_bytes,
            batch_size=row.batch_size,
            runtime=model.name,
        )
        trust, factor = found.trust, memory.interval_factor
        available = self._profile.memory.total_bytes - self._profile.memory.reserved_bytes
        filled = replace(
            row,
            runtime_version=f"{model.name} {self._version or model.version}",
            tier=trust.tier.value,
            basis=f"{trust.basis}, stale" if trust.stale else trust.basis,
            latency=Estimate(value=found.point_s, low=found.low_s, high=found.high_s, confidence=_CONFIDENCE),
            interval_factor=found.interval_factor,
            peak_memory=Estimate(
                value=float(memory.peak_bytes),
                low=memory.peak_bytes / factor,
                high=memory.peak_bytes * factor,
                confidence=_CONFIDENCE,
            ),
            memory_basis=memory.basis,
            available_memory_bytes=available,
            nearest_family=trust.nearest_family,
            family_distance=trust.family_distance,
            extrapolations=trust.extrapolations,
            stale=trust.stale,
            precision=found.precision,
            notes=found.notes,
            reason="",
        )
        if not memory.fits(available):
            return _refused(
                filled,
                f"{row.model!r} is predicted to need {memory.peak_bytes} bytes of memory; {available} are available.",
            )
        run = self._measured(filled, artifact)
        if run is None or run.timing is None or run.timing.steady is None:
            return filled
        return replace(
            filled,
            source=Source.MEASURED,
            tier=Tier.MEASURED.value,
            basis=Tier.MEASURED.value,
            latency=run.timing.steady.p50,
            interval_factor=None,
            extrapolations=(),
            stale=False,
            notes=(f"Measured in run {run.run_id}; predicted were {found.point_s * 1e3:.4g} ms.",),
            run_id=run.run_id,
        )

    def _measured(self, row: BoardPrediction, artifact: Artifact) -> Run | None:
        """Return the newest record of the same trial on the device that the profile was fitted to."""
        fitted = self._profile.calibration
        if fitted is None:
            return None
        same = _same_model(self._app, artifact)
        runs = self._app.records.measured_runs(fitted.device_id, {row.artifact_digest, *same})
        return next((run for run in runs if _answers(run, row)), None)


def _same_model(app: App, artifact: Artifact) -> Iterable[str]:
    """Yield the kept artifacts with the same model file; other golden inputs make another artifact of it."""
    wanted = _model_digest(artifact)
    for digest in app.artifacts.digests():
        if _model_digest(app.artifacts.manifest(digest)) == wanted:
            yield digest


def _model_digest(artifact: Artifact) -> str:
    made = [expansion.made for expansion in artifact.expansions]
    return next(file.digest for file in (*artifact.files, *made) if file.name == artifact.model_file)


def _answers(run: Run, row: BoardPrediction) -> bool:
    """Return whether a measured run is of what the row asks for."""
    settings, timing = run.trial.settings, run.timing
    return (
        timing is not None
        and timing.steady is not None
        and timing.steady.p50.value is not None
        and not timing.timing_disputed
        and run.runtime_version == row.runtime_version
        and settings.intra_op_threads == row.threads
        and not settings.providers
        and run.benchmark.batch_size == row.batch_size
    )


def _check_opset(profile: Profile, model: RuntimeModel, artifact: Artifact) -> None:
    for domain, version in artifact.opsets:
        if domain in _STANDARD_DOMAINS and version > model.max_opset:
            raise UnsupportedError(
                f"{artifact.label!r} needs ONNX opset {version}; {model.name} {model.version} of {profile.name} "
                f"loads up to {model.max_opset}."
            )


def _refused(row: BoardPrediction, reason: str) -> BoardPrediction:
    absent = Estimate.absent(reason)
    return replace(row, latency=absent, interval_factor=None, reason=reason)
