"""Asks a device, in few rounds, which node first leaves the host's values."""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import EdgeloopError, InvalidInputError, NotFoundError, UnavailableError
from edgeloop_protocol.types.artifact import Artifact
from edgeloop_protocol.types.run import Outcome, OutputParity, Run, Verdict
from edgeloop_protocol.types.trial import Benchmark, RuntimeSettings

from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.divergence import Divergence
from edgeloop.domain.experiment import DeviceResult, Listener
from edgeloop.domain.parity import overall_verdict
from edgeloop.orchestrate.candidates import EVALUATOR, GOLDEN_WRITER, TOLERANCES
from edgeloop.orchestrate.fleet import open_one
from edgeloop.orchestrate.measure import MeasureRequest, OpenDevice, measure_device
from edgeloop.orchestrate.workers import in_worker

if TYPE_CHECKING:
    from edgeloop.app import App

__all__ = ["explain_parity", "find_divergence"]

_ITEMS = 16
_ROUNDS_MAX = 12
"""Three rounds reach one node among four thousand; the others follow branches back."""

_PARITY_ALONE = Benchmark(measure_latency=False, measure_memory=False, measure_nodes=False, check_parity=True)


async def explain_parity(
    app: App, results: Sequence[DeviceResult], listener: Listener
) -> tuple[tuple[DeviceSpec, Divergence | None, str], ...]:
    """Return, for every run whose parity failed, where it diverges, or the reason why that cannot be told.

    Values that leave the host's are looked for in the artifact itself; where only those of the original are left, in
    the original's tensors of the same names.
    """
    failed = [
        (result.device, run)
        for result in results
        for run in result.runs
        if overall_verdict(run.parity)[0] is Verdict.FAILED
    ]
    found: list[tuple[DeviceSpec, Divergence | None, str]] = []
    for spec, run in failed:
        listener.phase(f"Where {run.trial.label} diverges on {spec.name}")
        try:
            found.append((spec, await _explain_run(app, spec, run, listener), ""))
        except EdgeloopError as error:
            found.append((spec, None, str(error)))
    return tuple(found)


async def _explain_run(app: App, spec: DeviceSpec, run: Run, listener: Listener) -> Divergence:
    digest = run.trial.artifact_digest
    comparisons = run.parity.comparisons if run.parity else ()
    host_failed = any(c.against == "host" and c.verdict is Verdict.FAILED for c in comparisons)
    reference = "" if host_failed else await asyncio.to_thread(_original_of, app, digest)
    async with open_one(app, spec, run.benchmark.seed) as device:
        settings = run.trial.settings
        return await find_divergence(app, device, digest, settings, listener, reference=reference)


def _original_of(app: App, digest: str) -> str:
    """Return the kept artifact of the unmodified model that this one was made from.

    Raises:
        NotFoundError: it is not kept.
    """
    source = app.artifacts.manifest(digest).source_digest
    for other in app.artifacts.digests():
        manifest = app.artifacts.manifest(other)
        if manifest.source_digest == source and manifest.recipe == "[]":
            return other
    raise NotFoundError("the unmodified model of this artifact is not kept, so that nothing can be compared.")


async def find_divergence(
    app: App,
    device: OpenDevice,
    digest: str,
    settings: RuntimeSettings,
    listener: Listener,
    *,
    reference: str = "",
) -> Divergence:
    """Return the first node of an artifact whose output on the device leaves the reference.

    Args:
        app: the stores.
        device: an open device.
        digest: artifact that failed its parity there.
        settings: as in the failed trial.
        listener: is told what goes on.
        reference: digest of the artifact whose values are right; empty for the same one, run on the host.

    Raises:
        InvalidInputError: the artifact is no ONNX model, or a model fails with intermediate outputs exposed.
        UnavailableError: the device gave no answer.
    """
    from edgeloop.compress.expose import trace
    from edgeloop.compress.quantized_units import join_quantized
    from edgeloop.parity.divergence import DivergenceSearch, rounding_unit

    manifest = app.artifacts.manifest(digest)
    truth = app.artifacts.manifest(reference or digest)
    if manifest.format != "onnx" or truth.format != "onnx":
        raise InvalidInputError(
            f"intermediate outputs can be exposed in ONNX models only, not in {manifest.format}.",
            next_step="Check the parity of the ONNX form of the model on this runtime.",
        )
    path = app.artifacts.directory(digest) / manifest.model_file
    nodes = await asyncio.to_thread(trace, path)
    outputs = [spec.name for spec in manifest.outputs]
    comparable = None
    if reference and reference != digest:
        others = await asyncio.to_thread(trace, app.artifacts.directory(reference) / truth.model_file)
        comparable = frozenset(name for node in others for name in node.outputs)
    else:
        nodes = join_quantized(nodes, outputs)
    unit = rounding_unit(manifest.precision, settings.inference_precision)
    search = DivergenceSearch(nodes, unit, outputs, comparable)
    while not search.finished and search.round_count < _ROUNDS_MAX:
        tensors = search.next_tensors()
        listener.note(f"{device.spec.name}: looks at {len(tensors)} tensors of {manifest.label}")
        exposed = await _expose(app, digest, reference or digest, tensors)
        search.learn(await _ask(app, device, exposed, settings, listener))
    return search.result(device.spec.name, reference or "host", _ITEMS)


async def _expose(app: App, digest: str, reference: str, tensors: tuple[str, ...]) -> str:
    """Keep an artifact with these tensors as outputs and return its digest."""
    from edgeloop.compress.expose import ExposeRequest, package_exposed

    manifest, truth = app.artifacts.manifest(digest), app.artifacts.manifest(reference)
    directory = app.work_directory("divergence") / uuid.uuid4().hex
    request = ExposeRequest(
        model_path=app.artifacts.directory(digest) / manifest.model_file,
        reference_path=app.artifacts.directory(reference) / truth.model_file,
        tensors=tensors,
        state=manifest.state,
        items_path=app.artifacts.directory(digest) / manifest.golden_file,
        item_count=_ITEMS,
        directory=directory,
        evaluator=EVALUATOR,
        tolerances=TOLERANCES,
        golden_writer=GOLDEN_WRITER,
    )
    try:
        artifact, files = await in_worker(app, manifest.label, package_exposed, request)
        return await asyncio.to_thread(app.artifacts.put, artifact, files)
    finally:
        await asyncio.to_thread(shutil.rmtree, directory, True)


async def _ask(
    app: App, device: OpenDevice, digest: str, settings: RuntimeSettings, listener: Listener
) -> tuple[OutputParity, ...]:
    manifest: Artifact = app.artifacts.manifest(digest)
    request = MeasureRequest(
        experiment_id=f"divergence-{uuid.uuid4().hex}",
        artifacts=((manifest.label, digest),),
        anchor="",
        settings=settings,
        benchmark=_PARITY_ALONE,
        lease_wait_s=30.0,
    )
    result = await measure_device(app, device, request, listener)
    if not result.runs:
        raise UnavailableError(f"{device.spec.name} gave no answer: {result.error or 'no reason given'}")
    return _outputs(result.runs[0])


def _outputs(run: Run) -> tuple[OutputParity, ...]:
    if run.outcome is not Outcome.SUCCESS or run.parity is None:
        raise InvalidInputError(
            f"{run.device_name} cannot run the model with intermediate outputs: {run.failure_reason}"
        )
    return next(c.outputs for c in run.parity.comparisons if c.against == "host")
