"""The single verbs: compress one recipe, benchmark, check parity, analyse."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.artifact import StateBinding
from edgeloop_protocol.types.run import Run
from edgeloop_protocol.types.trial import Benchmark, RuntimeSettings

from edgeloop.domain.candidate import Candidate, CandidateState
from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.experiment import DeviceResult, Listener, SilentListener
from edgeloop.domain.recipe import ORIGINAL, Recipe
from edgeloop.domain.strategy import Evidence
from edgeloop.domain.sweep import NO_SWEEP, SweepPlan
from edgeloop.orchestrate.assess import assess_runs, samples_of
from edgeloop.orchestrate.candidates import build_candidates, given_candidate, judge_candidates
from edgeloop.orchestrate.fleet import open_each
from edgeloop.orchestrate.measure import MeasureRequest, OpenDevice
from edgeloop.orchestrate.measure_each import measure_each
from edgeloop.orchestrate.prepare import Prepared, prepare
from edgeloop.orchestrate.runtimes import opening, sizes_of
from edgeloop.orchestrate.sweep import sweep_fleet, with_sweeps
from edgeloop.orchestrate.variants import require_distinct_runtimes, with_variants

if TYPE_CHECKING:
    from edgeloop.app import App
    from edgeloop.compress.analysis import Analysis

__all__ = ["analyze", "artifact_of", "bench", "compress", "parity"]

_DIGEST = re.compile(r"[0-9a-f]{8,64}")


async def compress(
    app: App,
    model: str,
    data: str,
    recipe: Recipe,
    listener: Listener,
    *,
    state: Sequence[StateBinding] = (),
    seed: int = 0,
) -> Candidate:
    """Build one candidate and, with labels, judge it beside the original; the artifact is kept.

    Raises:
        InvalidInputError: the model, the data or the recipe cannot be used.
    """
    listener.phase("Model and data")
    prepared = await asyncio.to_thread(prepare, app, model, data, state, seed, listener)
    listener.phase("Candidates")
    built = await build_candidates(app, prepared, (ORIGINAL, recipe), seed, listener)
    if built[-1].state is not CandidateState.BUILT:
        raise InvalidInputError(f"{recipe.label}: {built[-1].reason}")
    judged = await judge_candidates(app, prepared, built, seed=seed, hopeless_drop=1.0, listener=listener)
    return judged[-1]


async def artifact_of(
    app: App, model: str, data: str, state: Sequence[StateBinding], seed: int, listener: Listener
) -> tuple[str, str]:
    """Return label and digest of a kept artifact, or of the unmodified model packed as one.

    Raises:
        InvalidInputError: the model or the data cannot be used.
        NotFoundError: no such file or artifact.
    """
    if _DIGEST.fullmatch(model):
        return model[:12], app.artifacts.find(model)
    prepared: Prepared = await asyncio.to_thread(prepare, app, model, data, state, seed, listener)
    (candidate,) = await build_candidates(app, prepared, (ORIGINAL,), seed, listener)
    if candidate.state is not CandidateState.BUILT:
        raise InvalidInputError(f"{model}: {candidate.reason}")
    return prepared.description.name, candidate.artifact_digest


async def _measure(
    app: App,
    artifacts: tuple[tuple[str, str], ...],
    anchor: str,
    devices: Sequence[DeviceSpec],
    benchmark: Benchmark,
    settings: RuntimeSettings,
    listener: Listener,
    variants: Sequence[RuntimeSettings] = (),
    sweep: SweepPlan = NO_SWEEP,
) -> tuple[DeviceResult, ...]:
    from edgeloop.select.evidence import collect

    settings = opening(settings, app.artifacts.manifest(artifacts[0][1]).format, listener)
    require_distinct_runtimes(settings, variants)
    request = MeasureRequest(
        experiment_id=f"single-{uuid.uuid4().hex}",
        artifacts=artifacts,
        anchor=anchor,
        settings=settings,
        benchmark=benchmark,
        lease_wait_s=30.0,
        variants=tuple(variants),
    )
    listener.phase("Measure on the devices")
    swept: dict[str, DeviceResult] = {}

    async def then(device: OpenDevice, own: MeasureRequest) -> None:
        swept.update(await sweep_fleet(app, ((device.spec, device),), own, sweep, listener))

    each = partial(open_each, app, devices, benchmark.seed)
    measured, forms = await measure_each(
        app, each, request, listener, alone=len(devices) == 1, then=then if sweep else None
    )
    first = [given_candidate(app, label, digest, original=label == anchor) for label, digest in artifacts]
    candidates = with_variants(first, settings, variants, forms, sizes_of(app, forms))
    runs = [run for device in measured for run in device.runs]
    samples = await asyncio.to_thread(samples_of, app, runs)
    assessed = await asyncio.to_thread(assess_runs, runs, samples)
    judged = tuple(
        replace(d, evidence=_unjudged(collect(candidates, d.runs, assessed), d.runs, samples))
        if d.runs
        else d
        for d in measured
    )
    return tuple(with_sweeps(d, swept[d.device.name]) if d.device.name in swept else d for d in judged)


def _unjudged(
    found: Sequence[Evidence], runs: Sequence[Run], samples: Mapping[str, bytes]
) -> tuple[Evidence, ...]:
    """Leave quality out: here nothing was judged, not even that the first one is the original."""
    from edgeloop.select.quantities import with_throughput

    left_out = ("quality", "quality_drop")
    return tuple(
        replace(e, values=tuple((name, value) for name, value in e.values if name not in left_out))
        for e in with_throughput(found, runs, samples)
    )


async def bench(
    app: App,
    model_or_digest: str,
    devices: Sequence[DeviceSpec],
    benchmark: Benchmark,
    settings: RuntimeSettings,
    listener: Listener,
    *,
    data: str = "",
    state: Sequence[StateBinding] = (),
    variants: Sequence[RuntimeSettings] = (),
    sweep: SweepPlan = NO_SWEEP,
) -> tuple[DeviceResult, ...]:
    """Benchmark one model or kept artifact on every device, and at every point of a sweep.

    Args:
        variants: settings of further runtimes to measure it on.

    Raises:
        InvalidInputError: the model or the data cannot be used, or one runtime is named twice.
        NotFoundError: no such file or artifact.
    """
    artifact = await artifact_of(app, model_or_digest, data, state, benchmark.seed, listener)
    return await _measure(
        app, (artifact,), artifact[0], devices, benchmark, settings, listener, variants, sweep
    )


async def parity(
    app: App,
    model_or_digest: str,
    devices: Sequence[DeviceSpec],
    benchmark: Benchmark,
    settings: RuntimeSettings,
    listener: Listener,
    *,
    data: str = "",
    state: Sequence[StateBinding] = (),
    variants: Sequence[RuntimeSettings] = (),
) -> tuple[DeviceResult, ...]:
    """Check parity alone on every device; raises what ``bench`` raises."""
    only = replace(
        benchmark, measure_latency=False, measure_memory=False, measure_nodes=False, check_parity=True
    )
    return await bench(
        app, model_or_digest, devices, only, settings, listener, data=data, state=state, variants=variants
    )


def analyze(
    app: App, model: str, data: str = "", state: Sequence[StateBinding] = (), *, sensitivity: bool = False
) -> Analysis:
    """Describe a model, time its nodes on this host and recommend recipes with reasons.

    Raises:
        InvalidInputError: the model or the data cannot be used.
    """
    from edgeloop.compress.analysis import analyze as analyze_source

    prepared = prepare(app, model, data, state, 0, SilentListener())
    feeds = {name: array[:1] for name, array in prepared.golden.inputs.items()}
    if sensitivity and not data:
        raise InvalidInputError(
            "sensitivity is measured on data, and none was given.", next_step="Give it with --data."
        )
    return analyze_source(prepared.source, feeds, prepared.golden if sensitivity else None)
