"""From the runs of a probe to its answers.

Every answer is a ratio of two trials of one job, paired by round, with the 95 % Student interval of its logarithm:
what slows the device slows both sides. Where an interval does not decide, the answer says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from edgeloop_foundation.statistics import student_t_interval
from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import Outcome, Run

from edgeloop.calibrate.probe_models import CHANNELS, ENCODINGS, REFERENCE_CHANNELS, STREAM_BYTES, ProbeModel
from edgeloop.domain.probe import ChannelPoint, EncodingGain, ProbedFacts, ThreadSpeedup

__all__ = ["INT8_FLAGS", "fit", "trial_name"]

INT8_FLAGS = ("asimddp", "avx512_vnni", "avx_vnni", "i8mm", "sve2", "amx_int8")
"""Flags of instructions that multiply bytes: dot product and matrix forms on Arm, VNNI and AMX on x86."""

_CONFIDENCE = 0.95
_ROUNDS_MIN = 3
_BLOCKS = (1, 2, 4, 8, 16)
_DEARER = 1.05
"""A count of channels pays extra when a product costs 5 % more: less is within what layout and size explain."""


def trial_name(model: str, threads: int) -> str:
    """Return the identifier of a model with a number of threads."""
    return f"{model} x{threads}"


def fit(
    models: Sequence[ProbeModel],
    runs: Sequence[Run],
    threads: Sequence[int],
    *,
    wall_time_s: float,
    duration_s: float,
) -> ProbedFacts:
    """Return the answers.

    Args:
        models: what was measured.
        runs: one per trial, of one job on one device.
        threads: numbers of threads that were tried, 1 first.
        wall_time_s: when, seconds since 1970.
        duration_s: how long it took.

    Raises:
        ValueError: no runs.
    """
    if not runs:
        raise ValueError("a probe is fitted to runs, and there is none")
    seen = {run.trial.trial_id: run for run in runs}
    macs = {model.name: model.macs for model in models}
    points = tuple(_channel_point(seen, macs, channels) for channels in CHANNELS)
    block, block_reason = _block(points)
    encodings = tuple(
        EncodingGain(encoding=name, gain=_ratio(seen, _conv(REFERENCE_CHANNELS), _one(f"conv-{name}")))
        for name in ENCODINGS
    )
    best, encoding_reason = _best_encoding(seen, encodings)
    first = runs[0]
    return ProbedFacts(
        device_id=first.device_id,
        device_name=first.device_name,
        wall_time_s=wall_time_s,
        source=first.source,
        runtime_version=next((run.runtime_version for run in runs if run.runtime_version), ""),
        experiment_id=first.experiment_id,
        channel_block=block,
        block_reason=block_reason,
        channels=points,
        encodings=encodings,
        best_encoding=best,
        encoding_reason=encoding_reason,
        int8_flags=_int8_flags(first),
        fp16_gain=_ratio(seen, _conv(REFERENCE_CHANNELS), _one("conv-fp16")),
        threads=tuple(_speedup(seen, count) for count in threads if count > 1),
        stream_bandwidth_bytes_per_s=_bandwidth(seen.get(_one("stream"))),
        duration_s=duration_s,
    )


def _one(model: str) -> str:
    return trial_name(model, 1)


def _conv(channels: int) -> str:
    return _one(f"conv-{channels}")


def _int8_flags(run: Run) -> tuple[str, ...]:
    found = run.facts.hardware.isa_flags if run.facts else ()
    return tuple(flag for flag in INT8_FLAGS if flag in found)


def _medians(run: Run | None, name: str) -> dict[int, float] | str:
    """Return the median of each round in seconds, or the reason why there is none."""
    if run is None:
        return f"{name} was not measured"
    if run.outcome is not Outcome.SUCCESS or run.timing is None:
        return f"{name} did not run: {run.failure_reason or 'latency was not measured'}"
    if run.timing.timing_disputed:
        return f"the clocks disagreed while {name} ran"
    return {block.round: block.p50_s for block in run.timing.blocks if block.p50_s}


def _ratio(seen: Mapping[str, Run], above: str, below: str, factor: float = 1.0) -> Estimate:
    """Return the time of ``above`` over that of ``below``, times ``factor``."""
    upper, lower = _medians(seen.get(above), above), _medians(seen.get(below), below)
    if isinstance(upper, str) or isinstance(lower, str):
        return Estimate.absent(upper if isinstance(upper, str) else str(lower))
    logs = [math.log(factor * upper[r] / lower[r]) for r in sorted(upper.keys() & lower.keys())]
    return _from_logs(logs)


def _from_logs(logs: Sequence[float]) -> Estimate:
    if len(logs) < _ROUNDS_MIN:
        reason = f"{_ROUNDS_MIN} rounds are needed, there are {len(logs)}"
        return Estimate.absent(reason, len(logs))
    mean, low, high = (math.exp(x) for x in student_t_interval(logs, _CONFIDENCE))
    return Estimate(
        value=mean,
        low=min(low, mean),
        high=max(high, mean),
        confidence=_CONFIDENCE,
        sample_count=len(logs),
    )


def _channel_point(seen: Mapping[str, Run], macs: Mapping[str, int], channels: int) -> ChannelPoint:
    reference = f"conv-{REFERENCE_CHANNELS}"
    if channels == REFERENCE_CHANNELS:
        return ChannelPoint(channels=channels, relative_cost=Estimate(value=1.0, low=1.0, high=1.0))
    factor = macs[reference] / macs[f"conv-{channels}"]
    cost = _ratio(seen, _conv(channels), _conv(REFERENCE_CHANNELS), factor)
    return ChannelPoint(channels=channels, relative_cost=cost)


def _block(points: Sequence[ChannelPoint]) -> tuple[int | None, str]:
    """Return the smallest grid on which nothing is dearer, and the figures that say so."""
    answers = {point.channels: _dearer(point.relative_cost) for point in points}
    open_ones = [str(channels) for channels, dearer in answers.items() if dearer is None]
    for block in _BLOCKS:
        on_grid = [answers[channels] for channels in answers if channels % block == 0]
        if any(dearer is True for dearer in on_grid):
            continue
        if any(dearer is None for dearer in on_grid):
            return None, f"undecided: the cost with {', '.join(open_ones)} channels is not known well enough"
        return block, _costs(points)
    return None, f"no grid up to {_BLOCKS[-1]} is free of extra cost: {_costs(points)}"


def _dearer(cost: Estimate) -> bool | None:
    if cost.low is None or cost.high is None:
        return None
    if cost.low > _DEARER:
        return True
    return False if cost.high <= _DEARER else None


def _costs(points: Sequence[ChannelPoint]) -> str:
    shown = [
        f"{point.channels}: {point.relative_cost.value:.2f}"
        for point in points
        if point.relative_cost.value is not None
    ]
    return f"cost of a product relative to {REFERENCE_CHANNELS} channels: {', '.join(shown)}"


def _best_encoding(seen: Mapping[str, Run], encodings: Sequence[EncodingGain]) -> tuple[str, str]:
    """Return the encoding that beats fp32 and is not beaten, when that is beyond doubt."""
    known = [e for e in encodings if e.gain.value is not None]
    if not known:
        return "", f"no int8 encoding ran: {encodings[0].gain.reason}"
    best = max(known, key=lambda entry: entry.gain.value or 0.0)
    if best.gain.low is None or best.gain.low <= 1.0:
        return "", f"no encoding is faster than fp32 beyond doubt; the nearest is {best.encoding}"
    rivals = []
    for other in known:
        lead = _ratio(seen, _one(f"conv-{other.encoding}"), _one(f"conv-{best.encoding}"))
        if other is not best and (lead.low is None or lead.low <= 1.0):
            rivals.append(other.encoding)
    if rivals:
        return "", f"{best.encoding} and {', '.join(rivals)} cannot be told apart"
    return best.encoding, f"{best.gain.value:.2f} times as fast as fp32, and faster than every other encoding"


def _speedup(seen: Mapping[str, Run], threads: int) -> ThreadSpeedup:
    conv = f"conv-{REFERENCE_CHANNELS}"
    return ThreadSpeedup(
        threads=threads,
        compute=_ratio(seen, _one(conv), trial_name(conv, threads)),
        memory=_ratio(seen, _one("stream"), trial_name("stream", threads)),
    )


def _bandwidth(run: Run | None) -> Estimate:
    medians = _medians(run, "the stream")
    if isinstance(medians, str):
        return Estimate.absent(medians)
    return _from_logs([math.log(STREAM_BYTES / seconds) for seconds in medians.values()])
