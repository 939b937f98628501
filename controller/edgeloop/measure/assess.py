"""One run and its raw samples to what they tell: settled or not, quantiles with intervals, modes, outliers."""

from __future__ import annotations

import sys

import numpy as np
from edgeloop_foundation.errors import CorruptDataError
from edgeloop_foundation.statistics import tukey_outliers
from edgeloop_protocol.types.load import Sustained
from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import Block, Run, Timing
from numpy.typing import NDArray

from edgeloop.domain.latency import LatencyAssessment, ProcessSteadiness, Steadiness
from edgeloop.measure.bootstrap import block_length, centred_ranks, quantile_estimates
from edgeloop.measure.modality import find_modes
from edgeloop.measure.steady import classify_process, classify_run

__all__ = ["assess", "blocks_of"]

_LEVELS = (0.5, 0.9, 0.95, 0.99)
_S_PER_NS = 1e-9
_SAMPLE_BYTES = 8
_WARMING_WINDOWS = 5

Samples = NDArray[np.int64]


def blocks_of(timing: Timing, samples: bytes) -> tuple[tuple[Block, Samples], ...]:
    """Return every block that has samples with these, nanoseconds in order of time.

    Raises:
        CorruptDataError: the blob holds fewer samples than the blocks say.
    """
    if len(samples) % _SAMPLE_BYTES:
        raise CorruptDataError(f"a blob of {len(samples)} bytes holds no whole number of samples.")
    values = np.frombuffer(samples, dtype="<i8")
    if sys.byteorder == "big":
        values = values.astype(np.int64)
    found = []
    for block in timing.blocks:
        end = block.sample_offset + block.sample_count
        if end > len(values):
            raise CorruptDataError(f"round {block.round} ends at sample {end}, the blob has {len(values)}.")
        if block.sample_count:
            found.append((block, values[block.sample_offset : end]))
    return tuple(found)


def assess(run: Run, samples: bytes | None) -> LatencyAssessment:
    """Assess the latency of a run from its raw samples; the same run and samples give the same answer.

    Quantiles are taken of the accepted tails: all of a process that is flat, what follows the last change of level
    of one that warmed up or slowed down. Where there is no steady state they are absent with the reason, which is
    what keeps such a figure out of selection. Nothing is dropped from the record.

    Args:
        run: the run.
        samples: blob of its raw samples (``RecordStore.samples(run.timing.samples_digest)``); None when it is not kept.

    Raises:
        CorruptDataError: the blob does not fit to the run's blocks.
    """
    timing = run.timing
    if timing is None or timing.steady is None:
        why = (timing.reason if timing else "") or "no steady latency was measured"
        return _unassessed(run, why)
    if timing.timing_disputed:
        return _unassessed(run, "the clocks of runner and agent disagreed, so no latency of this run counts")
    if not samples:
        return _unassessed(run, "its raw samples are not kept")
    blocks = blocks_of(timing, samples)
    if not blocks:
        return _unassessed(run, "no process has samples")
    processes = tuple(classify_process(values, block.round, _thinning(block)) for block, values in blocks)
    steadiness, reason = classify_run(processes, _warming(run.sustained))
    tails = [
        values[p.tail_offset :].astype(np.float64) * _S_PER_NS
        for p, (_, values) in zip(processes, blocks, strict=True)
    ]
    return _summary(run, steadiness, reason, processes, tails)


def _thinning(block: Block) -> float:
    """Return how many inferences a kept sample stands for."""
    return max(1.0, block.inference_count / block.sample_count)


def _unassessed(run: Run, reason: str) -> LatencyAssessment:
    absent = Estimate.absent(reason)
    return LatencyAssessment(
        run_id=run.run_id,
        steadiness=Steadiness.NOT_ASSESSED,
        reason=reason,
        p50=absent,
        p90=absent,
        p95=absent,
        p99=absent,
    )


def _summary(
    run: Run,
    steadiness: Steadiness,
    reason: str,
    processes: tuple[ProcessSteadiness, ...],
    tails: list[NDArray[np.float64]],
) -> LatencyAssessment:
    pooled = np.sort(np.concatenate(tails))
    length = block_length(tails)
    if steadiness.settled:
        p50, p90, p95, p99 = quantile_estimates(tails, _LEVELS, length)
    else:
        p50 = p90 = p95 = p99 = Estimate.absent(f"there is no steady state: {reason}", len(pooled))
    mild, severe = tukey_outliers(pooled.tolist())
    return LatencyAssessment(
        run_id=run.run_id,
        steadiness=steadiness,
        reason=reason,
        p50=p50,
        p90=p90,
        p95=p95,
        p99=p99,
        processes=processes,
        modes=find_modes(pooled, _neighbours(tails)),
        sample_count=len(pooled),
        mild_outlier_count=mild,
        severe_outlier_count=severe,
        block_length=length,
    )


def _neighbours(tails: list[NDArray[np.float64]]) -> float:
    """Return the lag-1 autocorrelation of the ranks within the processes, the largest of them."""
    found = [0.0]
    for tail in tails:
        ranks = centred_ranks(tail)
        power = float(np.sum(ranks**2))
        if power > 0.0:
            found.append(float(np.sum(ranks[1:] * ranks[:-1])) / power)
    return max(found)


def _warming(sustained: Sustained | None) -> float | None:
    """Return how fast the board warmed up over the last windows of a sustained run, kelvin per minute.

    A short run is a burst: it may warm the board up, and its figure is that of a burst.
    """
    if sustained is None:
        return None
    known = [w for w in sustained.windows if w.temperature_celsius is not None][-_WARMING_WINDOWS:]
    if len(known) < _WARMING_WINDOWS:
        return None
    minutes = np.array([(w.start_s + w.duration_s) / 60.0 for w in known])
    celsius = np.array([float(w.temperature_celsius or 0.0) for w in known])
    return float(np.polyfit(minutes - minutes.mean(), celsius, 1)[0])
