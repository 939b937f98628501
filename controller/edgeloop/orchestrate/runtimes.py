"""One model on several runtimes of a device: in the form that each one opens, in one job, in one table."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import EdgeloopError, InvalidInputError
from edgeloop_protocol.types.artifact import Artifact, FileEntry
from edgeloop_protocol.types.facts import RuntimeFacts
from edgeloop_protocol.types.trial import Benchmark, RuntimeSettings, Trial

from edgeloop.domain.candidate import Candidate, CandidateState
from edgeloop.domain.dataset import Dataset
from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.experiment import DeviceResult, Listener
from edgeloop.domain.recipe import ORIGINAL, Recipe
from edgeloop.orchestrate.fleet import Fleet, measure_fleet, open_fleet
from edgeloop.orchestrate.measure import MeasureRequest
from edgeloop.orchestrate.workers import in_worker

if TYPE_CHECKING:
    from edgeloop.app import App

__all__ = ["bench_runtimes", "convert_artifact"]

_ONNX = "onnx"


async def bench_runtimes(
    app: App,
    artifact: tuple[str, str],
    devices: Sequence[DeviceSpec],
    benchmark: Benchmark,
    settings: RuntimeSettings,
    runtimes: Sequence[str],
    listener: Listener,
) -> tuple[DeviceResult, ...]:
    """Measure one kept artifact under each of these runtimes, interleaved in one job per device.

    A runtime that does not read ONNX gets a converted form; where none can be made, the reason is noted and the others
    go on.

    Args:
        app: the stores.
        artifact: label and digest of an ONNX artifact.
        devices: where.
        benchmark: how.
        settings: of every trial, but for its runtime.
        runtimes: names, the one that the others are compared with first.
        listener: is told what goes on.

    Raises:
        InvalidInputError: no device knows a runtime of that name, or nothing is left to measure.
    """
    from edgeloop.select.evidence import collect

    label, digest = artifact
    async with open_fleet(app, devices, benchmark.seed) as fleet:
        known = _formats(fleet)
        if unknown := [name for name in runtimes if name not in known]:
            raise InvalidInputError(
                f"no device knows the runtime {', '.join(unknown)}; known are {', '.join(sorted(known))}."
            )
        forms = await _forms(app, digest, {name: known[name] for name in runtimes}, listener)
        if not forms:
            raise InvalidInputError(f"{label} has a form for none of {', '.join(runtimes)}.")
        trials = tuple(
            Trial(
                trial_id=f"{label} on {name}",
                label=f"{label} on {name}",
                artifact_digest=form,
                settings=replace(settings, runtime=name),
                anchor=name == runtimes[0],
            )
            for name, form in forms.items()
        )
        request = MeasureRequest(
            experiment_id=f"single-{uuid.uuid4().hex}",
            artifacts=tuple({form: (label, form) for form in forms.values()}.values()),
            anchor=trials[0].label,
            settings=settings,
            benchmark=benchmark,
            lease_wait_s=30.0,
            given_trials=trials,
        )
        listener.phase("Measure on the devices")
        measured = await measure_fleet(app, fleet, request, listener)
    candidates = [_candidate(app, trial, trial.anchor) for trial in trials]
    return tuple(
        replace(device, evidence=collect(candidates, device.runs)) if device.runs else device
        for device in measured
    )


def _formats(fleet: Fleet) -> dict[str, tuple[str, ...]]:
    """Return the formats of every runtime that some device names, present or absent."""
    found: dict[str, tuple[str, ...]] = {}
    for _, device in fleet:
        runtimes: Sequence[RuntimeFacts] = () if isinstance(device, EdgeloopError) else device.facts.runtimes
        for runtime in runtimes:
            found[runtime.name] = runtime.formats or found.get(runtime.name, (_ONNX,))
    return found


async def _forms(
    app: App, digest: str, formats: dict[str, tuple[str, ...]], listener: Listener
) -> dict[str, str]:
    made: dict[str, str] = {_ONNX: digest}
    forms: dict[str, str] = {}
    for name, opened in formats.items():
        wanted = _ONNX if _ONNX in opened else opened[0]
        try:
            if wanted not in made:
                made[wanted] = await convert_artifact(app, digest, wanted)
            forms[name] = made[wanted]
        except EdgeloopError as error:
            listener.note(f"{name}: no {wanted} form of the model: {error}")
    return forms


def _candidate(app: App, trial: Trial, original: bool) -> Candidate:
    manifest = app.artifacts.manifest(trial.artifact_digest)
    return Candidate(
        label=trial.label,
        recipe=ORIGINAL if original else Recipe.from_tree(trial.label, [{"pass": "given"}]),
        state=CandidateState.BUILT,
        artifact_digest=trial.artifact_digest,
        size_bytes=manifest.model_size_bytes,
        precision=manifest.precision,
    )


async def convert_artifact(app: App, digest: str, format: str) -> str:
    """Return the digest of the same artifact in another format, converted and checked on this host.

    Raises:
        NotFoundError: no converter to this format.
        MissingDependencyError: it is not installed.
        InvalidInputError: the model cannot be converted, or carries state.
    """
    from edgeloop.convert import CONVERTERS

    manifest = app.artifacts.manifest(digest)
    if manifest.format != _ONNX:
        raise InvalidInputError(f"only ONNX artifacts are converted, not {manifest.format}.")
    if manifest.state:
        raise InvalidInputError(f"a model with state is not converted to {format} yet.")
    version = CONVERTERS.load(format)().version()
    with tempfile.TemporaryDirectory(dir=app.work_directory("converted")) as scratch:
        source = app.artifacts.directory(digest)
        made, files = await in_worker(
            app, f"{manifest.label} as {format}", _convert, manifest, source, format, version, Path(scratch)
        )
        return await asyncio.to_thread(app.artifacts.put, made, files)


def _convert(
    manifest: Artifact, source: Path, format: str, version: str, directory: Path
) -> tuple[Artifact, dict[str, Path]]:
    """Convert, run what came out, and pack it with both references; runs in a worker process."""
    from edgeloop.convert import CONVERTERS
    from edgeloop.parity.golden import read_golden, write_golden

    converter = CONVERTERS.load(format)()
    made = converter.convert(source / manifest.model_file, manifest.inputs, directory / "made")
    golden = read_golden(source / manifest.golden_file)
    items = Dataset(name="golden", inputs=golden.inputs)
    host = converter.run(made, items)
    _check_outputs(
        format, {n: a.shape for n, a in golden.host.items()}, {n: a.shape for n, a in host.items()}
    )
    model = directory / f"model{converter.suffix}"
    made.rename(model)
    pack = directory / manifest.golden_file
    write_golden(pack, items, {name: host[name] for name in golden.host}, golden.original)
    files = {model.name: model, pack.name: pack}
    artifact = replace(
        manifest,
        format=format,
        label=f"{manifest.label} as {format}",
        model_file=model.name,
        files=tuple(_entry(name, path) for name, path in sorted(files.items())),
        libraries=tuple(sorted({*manifest.libraries, _library(version)})),
    )
    return artifact, files


def _library(version: str) -> tuple[str, str]:
    name, _, number = version.partition(" ")
    return name, number


def _check_outputs(
    format: str, expected: dict[str, tuple[int, ...]], found: dict[str, tuple[int, ...]]
) -> None:
    for name, shape in expected.items():
        if found.get(name) != shape:
            raise InvalidInputError(
                f"as {format} the output {name!r} has the shape {found.get(name, 'none')}, not {shape}: "
                "the converter changed the model's interface."
            )


def _entry(name: str, path: Path) -> FileEntry:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return FileEntry(name=name, digest=digest.hexdigest(), size_bytes=path.stat().st_size)
