"""Is B slower than A on this device? Interleaved, and held against what the device does to one and the same artifact.

Before the comparison the device's noise has to be known for the same runtime, threads and protocol: from A/A
comparisons of the same boot that are at most ``FLOOR_AGE_MAX_S`` old. Where there is none, A is compared with itself
first, and that is kept. A comparison of an artifact with itself adds to the noise that later ones are held against;
it is itself held against the earlier ones.

A comparison that leaves the answer open is made once more, and the second answers: something else was at work on the
device for a while, or its rounds differed by chance. Both are recorded, and the notes say so.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import EdgeloopError
from edgeloop_protocol.types.facts import Facts
from edgeloop_protocol.types.run import Outcome, Run
from edgeloop_protocol.types.trial import Benchmark, RuntimeSettings

from edgeloop.domain.comparison import ChangeVerdict, Comparison, ComparisonKey, NoiseFloor, RatioEstimate
from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.experiment import Listener
from edgeloop.orchestrate.assess import samples_of
from edgeloop.orchestrate.fleet import open_each
from edgeloop.orchestrate.measure import MeasureRequest, OpenDevice, measure_device
from edgeloop.orchestrate.single import artifact_of

if TYPE_CHECKING:
    from edgeloop.app import App

__all__ = ["COMPARISON_BENCHMARK", "CompareRequest", "compare", "compare_on", "comparison_key"]

FLOOR_AGE_MAX_S = 7 * 86_400.0
_NEVER_NARROW = 1e-9
"""A comparison takes all of its time: stopping early would make its noise another one from time to time."""

COMPARISON_BENCHMARK = Benchmark(
    rounds=6,
    warmup_s_min=0.1,
    warmup_s_max=1.0,
    median_half_width=_NEVER_NARROW,
    steady_s_max=2.1,
    batch_s=0.1,
    interleave="batch",
    measure_memory=False,
    measure_nodes=False,
    check_parity=False,
)
"""Many short rounds: fresh processes differ by more than the samples of one are noisy, and batches of both models take
turns within a round, so that a drift of the clock is in both. On two shared x86 cores the medians of two processes of
one model differed by 0.4 % (standard deviation) when these were quiet and 1.3 % under foreign load; six rounds make
that an interval of +- 0.4 % and +- 1.4 %. Batches are not shorter, because the agent's wake-up after each counts
against the agreement of its clock with the runner's."""
_FLOOR_ATTEMPTS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareRequest:
    """What every device is asked."""

    #: Label and artifact digest.
    a: tuple[str, str]
    b: tuple[str, str]
    benchmark: Benchmark = COMPARISON_BENCHMARK
    settings: RuntimeSettings = RuntimeSettings()


async def compare(
    app: App,
    a: str,
    b: str,
    devices: Sequence[DeviceSpec],
    benchmark: Benchmark,
    settings: RuntimeSettings,
    listener: Listener,
    *,
    data: str = "",
) -> tuple[Comparison, ...]:
    """Compare two models or kept artifacts on every device; what goes wrong on one stands in its comparison.

    Raises:
        InvalidInputError: a model or the data cannot be used.
        NotFoundError: no such file or artifact.
    """
    first = await artifact_of(app, a, data, (), benchmark.seed, listener)
    second = await artifact_of(app, b, data, (), benchmark.seed, listener)
    request = CompareRequest(a=first, b=second, benchmark=benchmark, settings=settings)
    listener.phase("Compare on the devices")

    async def one(spec: DeviceSpec, device: OpenDevice | EdgeloopError) -> Comparison:
        if isinstance(device, EdgeloopError):
            return _failed(spec, request, str(device))
        return await compare_on(app, device, request, listener)

    return await open_each(app, devices, benchmark.seed, one)


async def compare_on(app: App, device: OpenDevice, request: CompareRequest, listener: Listener) -> Comparison:
    """Compare on one open device and record it; an A/A comparison comes first when the noise is not known."""
    started = time.monotonic()
    key = comparison_key(device.facts, request)
    noise = await _known_noise(app, device, key)
    notes: tuple[str, ...] = ()
    attempts = 0
    while not noise and attempts < _FLOOR_ATTEMPTS:
        attempts += 1
        name = device.spec.name
        listener.note(
            f"{name}: its noise is not known for this protocol; {request.a[0]} is compared with itself first."
        )
        own = await _once(app, device, replace(request, b=request.a), key, None, listener)
        if own.error:
            return replace(own, b=request.b[0], b_digest=request.b[1])
        noise = await _known_noise(app, device, key)
        notes = (
            "The noise of this device was not known for this protocol: it was measured first, and kept.",
        )
        if not noise:
            notes = (f"The noise of this device could not be measured: {own.ratios[0].reason}.",)
    floor = _floor(noise, measured_now=bool(notes))
    found = await _once(app, device, request, key, floor, listener, notes)
    if why := _why_again(found, floor):
        listener.note(f"{device.spec.name}: {why}")
        benchmark = replace(request.benchmark, seed=request.benchmark.seed + 1)
        again = replace(request, benchmark=benchmark)
        found = await _once(app, device, again, key, floor, listener, (*notes, why))
    return replace(found, duration_s=time.monotonic() - started)


def _why_again(found: Comparison, floor: NoiseFloor | None) -> str:
    """Say why a comparison is made a second time, or nothing.

    The second is answered by itself, never joined to the first: with U the share of undecided ones, equals are called
    different in at most 1 + U times as many cases as by one comparison alone, and U is small where that matters.
    """
    if found.error or floor is None or found.verdict is not ChangeVerdict.UNDECIDED:
        return ""
    kind = "gave no ratio" if found.ratios[0].ratio.value is None else "was undecided"
    return f"Measured a second time, because the first {kind}: {found.ratios[0].reason}."


def comparison_key(facts: Facts, request: CompareRequest) -> ComparisonKey:
    """Return what has to be equal for two comparisons to have the same noise."""
    bench, settings = request.benchmark, request.settings
    version = next((r.version for r in facts.runtimes if r.name == settings.runtime), "")
    protocol = {
        "rounds": bench.rounds,
        "steady_s": bench.steady_s_max,
        "batch_s": bench.batch_s,
        "batch": bench.batch_size,
        "interleave": bench.interleave,
        "series": bench.series,
        "arrival": bench.arrival,
        "rate_hz": bench.rate_hz,
        "spin": int(settings.allow_spinning),
        "affinity": "+".join(map(str, settings.affinity)) or "none",
        "providers": "+".join(settings.providers) or "default",
    }
    return ComparisonKey(
        device_id=facts.device_id,
        runtime=f"{settings.runtime} {version}".strip(),
        threads=settings.intra_op_threads,
        protocol=" ".join(f"{name}={value}" for name, value in protocol.items()),
    )


async def _known_noise(app: App, device: OpenDevice, key: ComparisonKey) -> tuple[Comparison, ...]:
    since = time.time() - FLOOR_AGE_MAX_S
    return await asyncio.to_thread(app.records.noise_of, key, device.facts.boot_id, since)


def _floor(noise: Sequence[Comparison], *, measured_now: bool) -> NoiseFloor | None:
    from edgeloop.measure.ratio import noise_fraction

    if not noise:
        return None
    now = time.time()
    return NoiseFloor(
        fraction=noise_fraction([comparison.ratios[0].ratio for comparison in noise]),
        count=len(noise),
        newest_age_s=max(0.0, now - noise[0].measured_wall_s),
        oldest_age_s=max(0.0, now - noise[-1].measured_wall_s),
        measured_now=measured_now,
    )


def _failed(spec: DeviceSpec, request: CompareRequest, error: str) -> Comparison:
    (a, a_digest), (b, b_digest) = request.a, request.b
    return Comparison(device=spec, a=a, b=b, a_digest=a_digest, b_digest=b_digest, error=error)


async def _once(
    app: App,
    device: OpenDevice,
    request: CompareRequest,
    key: ComparisonKey,
    floor: NoiseFloor | None,
    listener: Listener,
    notes: tuple[str, ...] = (),
) -> Comparison:
    """Measure one pair, judge it and record it."""
    labels = (f"a: {request.a[0]}", f"b: {request.b[0]}")
    measure = MeasureRequest(
        experiment_id=f"compare-{uuid.uuid4().hex}",
        artifacts=((labels[0], request.a[1]), (labels[1], request.b[1])),
        anchor=labels[0],
        settings=request.settings,
        benchmark=request.benchmark,
        lease_wait_s=30.0,
    )
    result = await measure_device(app, device, measure, listener)
    by_label = {run.trial.label: run for run in result.runs}
    a, b = (by_label.get(label) for label in labels)
    error = result.error or _why_not(a, b)
    if error or a is None or b is None:
        return _failed(device.spec, request, error)
    ratios, unsettled = await asyncio.to_thread(_judged, app, a, b, floor)
    comparison = replace(
        _failed(device.spec, request, ""),
        a_run_id=a.run_id,
        b_run_id=b.run_id,
        key=key,
        boot_id=device.facts.boot_id,
        source=a.source,
        basis=a.basis,
        measured_wall_s=time.time(),
        round_count=_round_count(a, b),
        ratios=ratios,
        floor=floor,
        duration_s=result.duration_s,
        notes=(*notes, *unsettled, *_anomalies(a, b)),
    )
    await asyncio.to_thread(app.records.add_comparison, comparison)
    return comparison


def _why_not(a: Run | None, b: Run | None) -> str:
    for run in (a, b):
        if run is None:
            return "the device returned no run of one of the two."
        if run.outcome is not Outcome.SUCCESS:
            return f"{run.trial.label}: {run.failure_reason or run.failure_kind.value.replace('_', ' ')}"
    return ""


def _judged(
    app: App, a: Run, b: Run, floor: NoiseFloor | None
) -> tuple[tuple[RatioEstimate, ...], tuple[str, ...]]:
    from edgeloop.measure.ratio import compare_runs, judge

    samples: Mapping[str, bytes] = samples_of(app, (a, b))
    ratios = tuple(judge(ratio, floor) for ratio in compare_runs(a, b, samples))
    return ratios, _remarks(samples, a, b)


def _remarks(samples: Mapping[str, bytes], a: Run, b: Run) -> tuple[str, ...]:
    """Say what the samples of each side look like where that is not one level and one mode."""
    from edgeloop.measure.assess import assess

    said = []
    for run in (a, b):
        found = assess(run, samples.get(run.timing.samples_digest) if run.timing else None)
        if not found.settled:
            said.append(f"{run.trial.label}: no steady state ({found.reason}).")
        if found.bimodal:
            modes = " and ".join(f"{1e3 * m.centre_s:.3g} ms ({100 * m.share:.0f} %)" for m in found.modes)
            said.append(f"{run.trial.label}: its latency has two modes, {modes}.")
    return tuple(said)


def _round_count(a: Run, b: Run) -> int:
    rounds = [{block.round for block in run.timing.blocks} if run.timing else set() for run in (a, b)]
    return len(rounds[0] & rounds[1])


def _anomalies(a: Run, b: Run) -> tuple[str, ...]:
    return tuple(
        dict.fromkeys(f"{run.trial.label}: {anomaly.reason}" for run in (a, b) for anomaly in run.anomalies)
    )
