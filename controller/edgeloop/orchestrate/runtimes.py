"""Artifacts in the form that each runtime opens: as they are, or converted and checked on this host."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import EdgeloopError, InvalidInputError
from edgeloop_protocol.types.artifact import Artifact
from edgeloop_protocol.types.facts import RuntimeFacts
from edgeloop_protocol.types.trial import RuntimeSettings

from edgeloop.domain.dataset import Dataset
from edgeloop.domain.experiment import Listener
from edgeloop.orchestrate.fleet import Fleet
from edgeloop.orchestrate.workers import in_worker

if TYPE_CHECKING:
    from edgeloop.app import App

__all__ = ["convert_artifact", "forms_of", "opening", "sizes_of"]

_ONNX = "onnx"
_OWN_RUNTIMES = {"tflite": "litert"}


def opening(settings: RuntimeSettings, format: str, listener: Listener) -> RuntimeSettings:
    """Return the settings with the runtime of the model's own format where none was chosen.

    ONNX Runtime, the default, opens ONNX alone, and nothing is converted to ONNX.
    """
    own = _OWN_RUNTIMES.get(format)
    if own is None or settings.runtime != RuntimeSettings().runtime:
        return settings
    listener.note(f"The model is {format}: it runs on {own}.")
    return replace(settings, runtime=own)


async def forms_of(
    app: App,
    fleet: Fleet,
    digests: Sequence[str],
    settings: Sequence[RuntimeSettings],
    listener: Listener,
) -> tuple[tuple[str, str, str], ...]:
    """Return artifact, runtime and form wherever a runtime does not open the artifact as it is.

    Where none can be made the form is empty and the reason is noted: the other runtimes go on.

    Raises:
        InvalidInputError: no device that answers knows a runtime of that name.
    """
    known = _formats(fleet)
    names = [each.runtime for each in settings]
    if unknown := [name for name in names if known and name not in known]:
        raise InvalidInputError(
            f"no device knows the runtime {', '.join(unknown)}; known are {', '.join(sorted(known))}."
        )
    found = []
    for digest in digests:
        opened = app.artifacts.manifest(digest).format
        for name in names:
            formats = known.get(name, (opened,))
            if opened not in formats:
                found.append((digest, name, await _form(app, digest, name, formats[0], listener)))
    return tuple(found)


def sizes_of(app: App, forms: Sequence[tuple[str, str, str]]) -> dict[str, int]:
    """Return the bytes that a runtime opens of each form."""
    return {form: app.artifacts.manifest(form).model_size_bytes for _, _, form in forms if form}


async def _form(app: App, digest: str, runtime: str, format: str, listener: Listener) -> str:
    try:
        return await convert_artifact(app, digest, format)
    except EdgeloopError as error:
        listener.note(f"{runtime}: there is no {format} form of the model: {error}")
        return ""


def _formats(fleet: Fleet) -> dict[str, tuple[str, ...]]:
    """Return the formats of every runtime that some device names, present or absent."""
    found: dict[str, tuple[str, ...]] = {}
    for _, device in fleet:
        runtimes: Sequence[RuntimeFacts] = () if isinstance(device, EdgeloopError) else device.facts.runtimes
        for runtime in runtimes:
            found[runtime.name] = runtime.formats or found.get(runtime.name, (_ONNX,))
    return found


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
    from edgeloop.compress.packaging import file_entry
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
        expansions=(),
        files=tuple(file_entry(name, path) for name, path in sorted(files.items())),
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
