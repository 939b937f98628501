"""Calibrates a profile: measures the suite on a device, fits, and writes a new profile."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import EdgeloopError, InvalidInputError, UnavailableError
from edgeloop_foundation.ports.fs import OsFileSystem, write_durably
from edgeloop_protocol.types.artifact import Artifact
from edgeloop_protocol.types.run import Outcome, Run, Source
from edgeloop_protocol.types.trial import Benchmark, RuntimeSettings, Trial

from edgeloop.domain.candidate import CandidateState
from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.experiment import Listener
from edgeloop.domain.recipe import ORIGINAL, Recipe
from edgeloop.orchestrate.candidates import build_candidates
from edgeloop.orchestrate.fleet import open_one
from edgeloop.orchestrate.measure import MeasureRequest, OpenDevice, measure_device
from edgeloop.orchestrate.prepare import prepare_source

if TYPE_CHECKING:
    from edgeloop_profiles.profile import Profile
    from edgeloop_protocol.types.facts import Hardware

    from edgeloop.app import App
    from edgeloop.calibrate.fit import Observation
    from edgeloop.calibrate.suite import SuiteModel

__all__ = [
    "CALIBRATION_BENCHMARK",
    "Calibrated",
    "calibrate",
    "check_tier",
    "keep_model",
    "measure_models",
    "measure_runs",
    "measure_suite",
    "observation_of",
]

CALIBRATION_BENCHMARK = Benchmark(
    rounds=4,
    warmup_s_min=0.05,
    warmup_s_max=0.5,
    sample_count_min=20,
    steady_s_max=1.2,
    batch_s=0.05,
    measure_memory=False,
    measure_nodes=True,
    check_parity=False,
)

_RUNTIME = "onnxruntime"
_CALIBRATION_ITEMS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """A new profile and how it came about."""

    #: Where it was written.
    path: Path
    #: The profile.
    profile: Profile
    #: Model and thread count, measured and fitted latency in seconds.
    rows: tuple[tuple[str, int, float, float], ...]
    #: Models that said nothing, and why.
    left_out: tuple[str, ...]
    #: How long the device was busy.
    duration_s: float


async def calibrate(
    app: App,
    spec: DeviceSpec,
    path: Path,
    listener: Listener,
    *,
    base: Profile | None = None,
    transfer: bool = False,
    benchmark: Benchmark = CALIBRATION_BENCHMARK,
) -> Calibrated:
    """Measure the suite on one device and write the profile fitted to it.

    Args:
        app: the stores.
        spec: the device, a real one.
        path: file to write; its stem is the profile's name.
        listener: is told what goes on.
        base: profile of a device of the same tier to start from; None takes the nearest shipped one.
        transfer: measure a few models only, because ``base`` was calibrated on a device like this one.
        benchmark: how to measure.

    Raises:
        InvalidInputError: the path is no ``.toml`` file, the device is simulated, or there is nothing to transfer.
        UnavailableError: the device gave no figures to fit to.
    """
    from edgeloop_profiles.writing import to_toml

    from edgeloop.calibrate.fit import OBSERVATIONS_MIN, fit, predict
    from edgeloop.calibrate.result import calibrated
    from edgeloop.calibrate.start import starting_profile
    from edgeloop.calibrate.suite import TRANSFER_MODELS, write_suite

    _check_request(path, base, transfer=transfer)
    listener.phase("Calibration models")
    suite = write_suite(app.work_directory("calibration"))
    if transfer:
        suite = tuple(model for model in suite if model.name in TRANSFER_MODELS)
    async with open_one(app, spec, benchmark.seed) as device:
        _check_device(spec, device, base)
        if transfer and base is not None:
            check_tier(spec.name, device.facts.hardware, base)
        started = time.monotonic()
        observations, left_out = await measure_suite(app, device, suite, benchmark, listener)
    if len(observations) < OBSERVATIONS_MIN:
        raise UnavailableError(
            f"{spec.name} gave {len(observations)} usable figures, a fit needs {OBSERVATIONS_MIN}: "
            + "; ".join(left_out),
            next_step="Calibrate while nothing else runs on the device.",
        )
    listener.phase("Fit")
    start = starting_profile(device.facts, path.stem, base)
    found = await asyncio.to_thread(fit, start, _RUNTIME, observations)
    version = next((r.version for r in device.facts.runtimes if r.name == _RUNTIME), "unknown")
    profile = calibrated(
        found,
        observations,
        runtime=_RUNTIME,
        runtime_version=version,
        device_id=device.facts.device_id,
        date=datetime.now(timezone.utc).strftime("%Y-%m-%d"),
    )
    if transfer and base is not None and profile.calibration is not None:
        marked = replace(profile.calibration, transferred_from=base.name)
        profile = replace(profile, calibration=marked)
    text = to_toml(profile, f"Written by edgeloop device calibrate; fitted to {spec.name}.")
    await asyncio.to_thread(_write, path, text)
    rows = tuple(
        (entry.model, entry.threads, entry.latency_s, predict(profile, _RUNTIME, entry).point_s)
        for entry in observations
    )
    return Calibrated(
        path=path,
        profile=profile,
        rows=rows,
        left_out=left_out,
        duration_s=time.monotonic() - started,
    )


def _check_request(path: Path, base: Profile | None, *, transfer: bool) -> None:
    if path.suffix != ".toml":
        raise InvalidInputError(f"a profile is a .toml file, not {path.name!r}.")
    if transfer and (base is None or base.calibration is None):
        raise InvalidInputError(
            f"transfer: found {base.name if base else 'no profile'}, allowed is a profile that was calibrated.",
            next_step="Write one with edgeloop device calibrate --output FILE.toml on the first device.",
        )


def _check_device(spec: DeviceSpec, device: OpenDevice, base: Profile | None) -> None:
    if device.facts.simulated:
        raise InvalidInputError(
            f"{spec.name} is simulated: a profile is fitted to measurements only.",
            next_step="Name a real device.",
        )
    if device.facts.emulation is not None:
        raise InvalidInputError(
            f"{spec.name} has emulated resources ({device.facts.emulation.text}): a profile is fitted to "
            "measurements of a real device only.",
            next_step="Name it without memory, cpus and compute.",
        )
    architecture = device.facts.hardware.architecture
    if base is not None and base.processor.architecture != architecture:
        raise InvalidInputError(
            f"{base.name} is of a {base.processor.architecture} board, {spec.name} is {architecture}.",
            next_step="Name a profile of the same architecture, or none.",
        )


def check_tier(name: str, hardware: Hardware, base: Profile) -> None:
    """Refuse to transfer a profile to a device of another tier of instruction sets.

    Raises:
        InvalidInputError: the tiers differ; rates of one tier say little about those of another.
    """
    from edgeloop.calibrate.start import tier_of

    found = tier_of(hardware)
    if found != base.processor.isa_tier:
        raise InvalidInputError(
            f"{base.name} was calibrated on the tier {base.processor.isa_tier}, {name} is of {found}.",
            next_step="Leave --transfer away and calibrate the device with the whole suite.",
        )


def _write(path: Path, text: str) -> None:
    write_durably(OsFileSystem(), path.absolute(), text.encode())


async def measure_suite(
    app: App,
    device: OpenDevice,
    suite: Sequence[SuiteModel],
    benchmark: Benchmark,
    listener: Listener,
) -> tuple[list[Observation], tuple[str, ...]]:
    """Build and measure the suite; what cannot be built or does not run is named with its reason."""
    kept: list[tuple[str, str, int]] = []
    left_out: list[str] = []
    cores = device.facts.hardware.logical_cores
    for model in suite:
        try:
            digest = await keep_model(app, model.path, listener, model.recipe)
        except EdgeloopError as error:
            left_out.append(f"{model.name}: {error}")
            continue
        counts = {1, cores} if model.threaded else {1}
        kept += [(model.name, digest, count) for count in sorted(counts)]
    observations, failed = await measure_models(app, device, kept, benchmark, listener)
    return observations, (*left_out, *failed)


async def keep_model(
    app: App, path: Path, listener: Listener, recipe: Recipe = ORIGINAL, item_count: int = _CALIBRATION_ITEMS
) -> str:
    """Build one form of a model with random inputs and return its artifact's digest.

    Raises:
        InvalidInputError: it cannot be built.
    """
    prepared = await asyncio.to_thread(prepare_source, app, str(path), item_count)
    # Ranges of random inputs are as good as any where only time is asked for.
    prepared = replace(prepared, calibration=prepared.golden)
    recipes = (ORIGINAL,) if recipe == ORIGINAL else (ORIGINAL, recipe)
    candidate = (await build_candidates(app, prepared, recipes, 0, listener))[-1]
    if candidate.state is not CandidateState.BUILT:
        raise InvalidInputError(f"{path.stem} as {recipe.label} cannot be built: {candidate.reason}")
    return candidate.artifact_digest


async def measure_models(
    app: App,
    device: OpenDevice,
    models: Sequence[tuple[str, str, int]],
    benchmark: Benchmark,
    listener: Listener,
) -> tuple[list[Observation], tuple[str, ...]]:
    """Measure models (name, artifact, threads) on a device and return what a fit can use.

    Raises:
        UnavailableError: the device gave no run at all.
    """
    observations, left_out = [], []
    for (name, digest, threads), found in zip(
        models, await measure_runs(app, device, models, benchmark, listener), strict=True
    ):
        if isinstance(found, str):
            left_out.append(found)
        else:
            observations.append(observation_of(name, threads, app.artifacts.manifest(digest), found))
    if not observations:
        raise UnavailableError(f"{device.spec.name} gave no figures: {'; '.join(left_out)}")
    return observations, tuple(left_out)


async def measure_runs(
    app: App,
    device: OpenDevice,
    models: Sequence[tuple[str, str, int]],
    benchmark: Benchmark,
    listener: Listener,
) -> list[Run | str]:
    """Measure models (name, artifact, threads); return for each its run, or why it says nothing."""
    trials = tuple(
        Trial(
            trial_id=f"{name} x{threads}",
            label=f"{name} x{threads}",
            artifact_digest=digest,
            settings=RuntimeSettings(intra_op_threads=threads),
        )
        for name, digest, threads in models
    )
    request = MeasureRequest(
        experiment_id=f"calibration-{uuid.uuid4().hex}",
        artifacts=tuple({digest: (name, digest) for name, digest, _ in models}.values()),
        anchor="",
        settings=RuntimeSettings(),
        benchmark=benchmark,
        lease_wait_s=30.0,
        given_trials=trials,
    )
    result = await measure_device(app, device, request, listener)
    seen = {run.trial.trial_id: run for run in result.runs}
    rows: list[Run | str] = []
    for trial in trials:
        run = seen.get(trial.trial_id)
        reason = _unusable(run) if run else result.error or "no run came back"
        rows.append(run if run is not None and not reason else f"{trial.label}: {reason}")
    return rows


def _unusable(run: Run) -> str:
    if run.outcome is not Outcome.SUCCESS:
        return run.failure_reason
    if run.source is not Source.MEASURED:
        return "its figures are not measured"
    if run.timing is None or run.timing.steady is None or run.timing.steady.p50.value is None:
        return "it has no latency"
    return "the clocks of runner and agent disagreed" if run.timing.timing_disputed else ""


def observation_of(name: str, threads: int, manifest: Artifact, run: Run) -> Observation:
    """Return what a fit learns from a run that succeeded."""
    from edgeloop.calibrate.fit import Observation
    from edgeloop.calibrate.matching import kernel_times

    steady = run.timing.steady if run.timing else None
    latency_s = (steady.p50.value if steady else None) or 0.0
    nodes = run.placement.nodes if run.placement else ()
    return Observation(
        model=name,
        family=name,
        kernels=manifest.kernels,
        threads=threads,
        latency_s=latency_s,
        kernel_times_s=kernel_times(manifest.kernels, nodes, latency_s),
    )
