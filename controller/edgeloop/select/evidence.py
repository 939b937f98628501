"""Gathers what is known of every candidate on one device: values, and gains over the original.

How a gain (times better, above 1 is better) comes about:

- ``latency_p50``, ``first_inference``, ``load_time``: the ratio original / candidate of the two processes
  of each round, its mean and 95 % Student interval on the logarithm, from three rounds on. Rounds are
  interleaved, so what slows the device slows both.
- ``latency_p90`` and beyond: from the ends of the pooled samples' two intervals, the least favourable against
  each other, widened by the interval of the paired median. The ends tell how well a quantile of the pooled samples is
  known; how much processes differ is known by their medians only, and it is often the larger part.
- ``energy``: from the ends of the two intervals, the least favourable against each other.
- ``size``: exact.
- ``memory``: the ratio of two single readings, each taken with the stated allowance.

Quality is not a gain; it is kept by constraints.

Latency values come from the assessment of the raw samples where there is one: its intervals count processes first, and
where it finds no steady state there is no value and no gain in latency, with the reason. Without one (samples not kept)
they are the device's own order-statistic intervals, widened by the spread of the processes.

A run that ended for a reason outside of the candidate (cancelled, interrupted, a fault of the harness, a full
disk, a device that was not fit to measure) says nothing about it: the candidate is as if it had not run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from edgeloop_foundation.statistics import student_t_interval
from edgeloop_protocol.summary import ratio_of
from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import Block, FailureKind, Outcome, Run, Source, SteadyState, Timing

from edgeloop.domain.candidate import Candidate, CandidateState
from edgeloop.domain.latency import LatencyAssessment, Steadiness
from edgeloop.domain.parity import overall_verdict
from edgeloop.domain.strategy import Evidence
from edgeloop.domain.third_party import published
from edgeloop.select.quantities import (
    counting_gains,
    disqualification,
    further_gains,
    further_values,
    require_one_series,
    series_of,
)

__all__ = ["MEMORY_ALLOWANCE", "collect"]

MEMORY_ALLOWANCE = 0.10
"""A peak resident set is read once, in one process: allocator arenas and page granularity move it by some
percent between
processes, so the reading is taken as plus or minus this share. It is a policy: no confidence."""

Assessments = Mapping[str, LatencyAssessment]
_NONE: Assessments = MappingProxyType({})

_ROUNDS_MIN = 3
_SILENT = frozenset({Outcome.CANCELLED, Outcome.HARNESS_ERROR, Outcome.GATE_REFUSED})
_SILENT_KINDS = frozenset(
    {
        FailureKind.CANCELLED,
        FailureKind.INTERRUPTED,
        FailureKind.CORRUPT_ARTIFACT,
        FailureKind.OUT_OF_DISK,
    }
)
"""Ends that say nothing about the candidate."""
_WHY_OUT = {
    CandidateState.SKIPPED: "skipped",
    CandidateState.FAILED: "could not be built",
    CandidateState.HOPELESS: "dropped on the host",
}


def collect(
    candidates: Sequence[Candidate], runs: Sequence[Run], assessments: Assessments = _NONE
) -> tuple[Evidence, ...]:
    """Return the evidence of every candidate from the runs of one device.

    Of several runs of an artifact those of the candidate's own trial count, else those of a trial with the
    same artifact; of these the newest that says something about it. Gains are taken against the original's
    run of the same job only. Figures of a run that failed are left out, with the reason in ``exclusion``; a
    run that says nothing leaves its reason in ``parity_reason``.

    Args:
        candidates: all of the experiment, the original among them.
        runs: all of one device, in any order.
        assessments: what their raw samples tell, by the run's identifier; those that are not there were not looked at.

    Raises:
        InvalidInputError: the runs are of two series, whose figures are never mixed.
    """
    require_one_series(runs)
    original = next((c for c in candidates if c.original), None)
    return tuple(_evidence(c, original, runs, assessments) for c in candidates)


def _evidence(
    candidate: Candidate, original: Candidate | None, runs: Sequence[Run], assessments: Assessments
) -> Evidence:
    evidence = Evidence(
        candidate=candidate.label, original=candidate.original, artifact_digest=candidate.artifact_digest
    )
    if candidate.state is not CandidateState.BUILT:
        reason = candidate.reason or "no reason was recorded"
        return replace(evidence, exclusion=f"{_WHY_OUT[candidate.state]}: {reason}")
    host_values = _host_values(candidate)
    size_gain = _size_gain(candidate, original)
    run = _newest(_of(candidate, runs))
    if run is None:
        return replace(evidence, values=host_values, gains=(("size", size_gain),))
    evidence = replace(
        evidence,
        run_id=run.run_id,
        source=run.source,
        outcome=run.outcome,
        basis=run.basis,
        values=host_values,
        gains=(("size", size_gain),),
        series=series_of(run),
        disqualification=disqualification(run),
    )
    why = run.failure_reason or run.failure_kind.value.replace("_", " ")
    if not _speaks(run):
        reason = f"its run says nothing about it ({run.failure_kind.value}): {why}"
        return replace(evidence, parity_reason=reason)
    if run.outcome is not Outcome.SUCCESS:
        return replace(evidence, exclusion=f"failed on the device ({run.failure_kind.value}): {why}")
    verdict, reason = overall_verdict(run.parity)
    latency = _of_samples(assessments.get(run.run_id))
    values = _device_values(run, latency)
    anchor = None if original is None else _anchor(original, run, runs)
    return replace(
        evidence,
        parity=verdict,
        parity_reason=reason,
        timing_disputed=run.timing is not None and run.timing.timing_disputed,
        unsettled=_unsettled(run.timing, latency),
        latency=assessments.get(run.run_id),
        values=(*host_values, *values, *further_values(run)),
        gains=(
            ("size", size_gain),
            *counting_gains(
                (*_device_gains(run, anchor, dict(values), assessments), *further_gains(run, anchor)), anchor
            ),
        ),
    )


def _of_samples(assessment: LatencyAssessment | None) -> LatencyAssessment | None:
    """Return the assessment where it says something; without samples it does not, and the device's figures stand."""
    if assessment is None or (assessment.settled and assessment.p50.value is None):
        return None
    return assessment


def _unsettled(timing: Timing | None, latency: LatencyAssessment | None) -> bool:
    """Whether the samples had not settled: the assessment knows more than the device, which looked for a trend."""
    if latency is not None and latency.steadiness is not Steadiness.NOT_ASSESSED:
        return not latency.settled
    return timing is not None and timing.steady_state is SteadyState.NOT_REACHED


def _of(candidate: Candidate, runs: Iterable[Run]) -> list[Run]:
    """Return the runs of a candidate: one artifact may stand in two trials, as in a comparison with itself."""
    same = [run for run in runs if run.trial.artifact_digest == candidate.artifact_digest]
    if candidate.runtime:
        same = [run for run in same if run.trial.settings.runtime == candidate.runtime]
    return [run for run in same if run.trial.label == candidate.label] or same


def _speaks(run: Run) -> bool:
    return run.outcome not in _SILENT and run.failure_kind not in _SILENT_KINDS


def _newest(runs: Iterable[Run]) -> Run | None:
    ordered = sorted(runs, key=lambda r: (_speaks(r), r.started_wall_s, r.run_id))
    return ordered[-1] if ordered else None


def _anchor(original: Candidate, run: Run, runs: Sequence[Run]) -> Run | None:
    anchor = _newest(_of(original, [r for r in runs if r.job_id == run.job_id]))
    # Figures of two kinds have no ratio, and published ones have no rounds to be paired by.
    comparable = anchor is not None and anchor.source is run.source and run.source is not Source.THIRD_PARTY
    return anchor if comparable and anchor and anchor.outcome is Outcome.SUCCESS else None


def _exact(value: float) -> Estimate:
    return Estimate(value=value, low=value, high=value, confidence=1.0, sample_count=1)


def _host_values(candidate: Candidate) -> tuple[tuple[str, Estimate], ...]:
    quality = candidate.quality
    unlabelled = Estimate.absent("quality was not judged: the data has no labels")
    drop = unlabelled if quality is None else quality.drop
    return (
        ("size", _size(candidate)),
        ("quality", unlabelled if quality is None else quality.value),
        # The original is not worse than itself, however few items there are.
        ("quality_drop", _exact(0.0) if candidate.original else drop),
    )


def _size(candidate: Candidate) -> Estimate:
    return (
        _exact(float(candidate.size_bytes))
        if candidate.size_bytes > 0
        else Estimate.absent("its size is not known")
    )


def _size_gain(candidate: Candidate, original: Candidate | None) -> Estimate:
    if original is None or original.size_bytes <= 0 or candidate.size_bytes <= 0:
        return Estimate.absent("the original's size is not known")
    return _exact(original.size_bytes / candidate.size_bytes)


def _device_values(run: Run, latency: LatencyAssessment | None) -> tuple[tuple[str, Estimate], ...]:
    if run.source is Source.THIRD_PARTY:
        return published(run)
    return (
        *((f"latency_{name}", _latency(run.timing, latency, name)) for name in ("p50", "p90", "p95", "p99")),
        ("first_inference", _phase(run.timing, "first_inference_s")),
        ("load_time", _phase(run.timing, "warm_load_s")),
        ("memory", _memory(run)),
        ("energy", _energy(run)),
    )


def _latency(timing: Timing | None, latency: LatencyAssessment | None, name: str) -> Estimate:
    if latency is not None:
        return latency.quantile(name)
    estimate = _pooled(timing, name)
    return estimate if timing is None else _widened(estimate, timing)


def _pooled(timing: Timing | None, name: str) -> Estimate:
    if timing is None:
        return Estimate.absent("latency was not measured")
    if timing.steady is None:
        return Estimate.absent(timing.reason or "no steady latency was measured")
    if timing.timing_disputed:
        return Estimate.absent(_DISPUTED)
    estimate: Estimate = getattr(timing.steady, name)
    return estimate


_DISPUTED = "the clocks of runner and agent disagreed, so no latency of this run counts"


def _widened(estimate: Estimate, timing: Timing) -> Estimate:
    """Widen the interval by the spread of the processes' medians.

    The samples of one process are not independent: thousands of them tell where its own quantile lies, not
    where the next process's will.
    """
    medians = [block.p50_s for block in timing.blocks if block.p50_s is not None]
    centre = None if timing.steady is None else timing.steady.p50.value
    if estimate.low is None or estimate.high is None or not medians or not centre:
        return estimate
    return replace(
        estimate,
        low=estimate.low * min(1.0, min(medians) / centre),
        high=estimate.high * max(1.0, max(medians) / centre),
    )


def _phase(timing: Timing | None, field: str) -> Estimate:
    if timing is None:
        return Estimate.absent("latency was not measured")
    if timing.timing_disputed:
        return Estimate.absent(_DISPUTED)
    estimate: Estimate = getattr(timing, field)
    return estimate


def _memory(run: Run) -> Estimate:
    if run.memory is None:
        return Estimate.absent("memory was not measured")
    peak = run.memory.inference_peak_rss_bytes
    if peak is None:
        return Estimate.absent(run.memory.reason or "the peak memory could not be read")
    return Estimate(
        value=float(peak),
        low=peak * (1 - MEMORY_ALLOWANCE),
        high=peak * (1 + MEMORY_ALLOWANCE),
        sample_count=1,
    )


def _energy(run: Run) -> Estimate:
    return Estimate.absent("energy was not measured") if run.energy is None else run.energy.gross_j


def _device_gains(
    run: Run, anchor: Run | None, values: dict[str, Estimate], assessments: Assessments
) -> Iterable[tuple[str, Estimate]]:
    if run.source is Source.THIRD_PARTY:
        why = Estimate.absent("published figures have no gain: they were not measured together")
        return [(quantity, why) for quantity in values]
    if anchor is None:
        why = Estimate.absent("the original has no successful run in the same job to compare with")
        return [(quantity, why) for quantity in values]
    both = [_of_samples(assessments.get(r.run_id)) for r in (anchor, run)]
    reference = dict(_device_values(anchor, both[0]))
    gains = {q: _ratio_of_ends(q, reference[q], value) for q, value in values.items()}
    for quantity, seconds in _PAIRED.items():
        # Medians of processes that never settled are no medians of anything.
        if quantity != "latency_p50" or all(a is None or a.settled for a in both):
            gains[quantity] = _paired(quantity, anchor.timing, run.timing, seconds)
    for name in ("p90", "p95", "p99"):
        quantity = f"latency_{name}"
        ends = gains[quantity]
        if None in both:
            ends = _ratio_of_ends(quantity, _pooled(anchor.timing, name), _pooled(run.timing, name))
        gains[quantity] = _between_processes(ends, gains["latency_p50"])
    return gains.items()


def _between_processes(gain: Estimate, median: Estimate) -> Estimate:
    """Widen the gain of a tail by the relative interval of the paired median; without one it has none."""
    if gain.value is None or gain.low is None or gain.high is None:
        return gain
    if median.value is None or median.low is None or median.high is None:
        return Estimate(value=gain.value, sample_count=gain.sample_count)
    return replace(
        gain, low=gain.low * median.low / median.value, high=gain.high * median.high / median.value
    )


_PAIRED: dict[str, Callable[[Block], float | None]] = {
    "latency_p50": lambda block: block.p50_s,
    "first_inference": lambda block: block.first_inference_s,
    "load_time": lambda block: None if block.cold else block.load_s,
}


def _ratio_of_ends(quantity: str, original: Estimate, candidate: Estimate) -> Estimate:
    if original.value is None:
        return Estimate.absent(f"the gain in {quantity} is unknown, for the original: {original.reason}")
    if candidate.value is None:
        return Estimate.absent(f"the gain in {quantity} is unknown: {candidate.reason}")
    if original.value <= 0 or candidate.value <= 0:
        return Estimate.absent(f"a {quantity} of zero has no ratio")
    return ratio_of(original, candidate, original.confidence)


def _paired(
    quantity: str, anchor: Timing | None, timing: Timing | None, seconds: Callable[[Block], float | None]
) -> Estimate:
    if anchor is None or timing is None:
        return Estimate.absent("latency was not measured")
    if anchor.timing_disputed or timing.timing_disputed:
        return Estimate.absent(_DISPUTED)
    before, after = (_by_round(t.blocks, seconds) for t in (anchor, timing))
    logs = [math.log(before[r] / after[r]) for r in sorted(before.keys() & after.keys())]
    if len(logs) < _ROUNDS_MIN:
        return Estimate.absent(
            f"the gain in {quantity} needs {_ROUNDS_MIN} rounds with both models, there are {len(logs)}",
            len(logs),
        )
    mean, low, high = (math.exp(x) for x in student_t_interval(logs, 0.95))
    return Estimate(
        value=mean, low=min(low, mean), high=max(high, mean), confidence=0.95, sample_count=len(logs)
    )


def _by_round(blocks: Sequence[Block], seconds: Callable[[Block], float | None]) -> dict[int, float]:
    values = {block.round: seconds(block) for block in blocks}
    return {number: value for number, value in values.items() if value is not None and value > 0}
