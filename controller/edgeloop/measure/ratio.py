"""The ratio of two models' latency on one device, and the verdict on it.

**Interval.** Student's, on the logarithms of the ratios of the two processes of each round. Against a hierarchical
bootstrap of pairs and blocks, over 5 to 10 rounds with between-process and between-round variance, AR(1) of 0 and 0.6
and a right tail, both cover 93 % or more of nominal 95 %; Student's is a fifth narrower for p50 and a third for p90
(tests/controller/measure/test_coverage.py). Rounds are independent by construction, their log ratios are means of many
samples: what Student's t asks for. The bootstrap stays for the tail of rounds that are too short to state a quantile
(64 samples each for a p90) while all rounds together are not.

**Verdict.** A change is called when the interval leaves ``1 +- max(1 %, floor)``, where the floor is what one and the
same artifact did to itself on this device. *No change shown* needs an interval that would have shown a change of
``RESOLUTION``; wider ones are *undecided*.

Latency that has no steady state leaves a ratio all the same: batches took turns, so that what changed meanwhile changed
under both. The comparison says so in its notes.

**Floor.** How far the intervals of A/A comparisons stayed away from 1: the noise that they do not already hold, such as
where an artifact's weights happen to lie in memory. What lies inside an interval is in the interval of the comparison
under judgement, too; counting it again would hide changes. With 20 A/A comparisons or more it is the 95 % quantile of
those distances, with fewer the largest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from edgeloop_foundation.errors import InternalError
from edgeloop_foundation.statistics import quantile, sample_floor, student_t_interval
from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import Run
from numpy.typing import NDArray

from edgeloop.domain.comparison import ChangeVerdict, NoiseFloor, RatioEstimate
from edgeloop.measure.assess import blocks_of
from edgeloop.measure.bootstrap import block_length, ratio_interval

__all__ = ["CHANGE_MIN", "RESOLUTION", "compare_runs", "judge", "noise_fraction", "paired_rounds"]

CHANGE_MIN = 0.01
"""Below one percent nobody would act (the noise threshold of criterion.rs)."""
RESOLUTION = 0.05
ROUNDS_MIN = 3
_CONFIDENCE = 0.95
_FLOOR_QUANTILE_MIN = 20
_LEVELS = {"latency_p50": 0.5, "latency_p90": 0.9}

Floats = NDArray[np.float64]


def paired_rounds(a: Run, b: Run, samples: Mapping[str, bytes]) -> tuple[tuple[Floats, Floats], ...]:
    """Return the samples of both runs for every round in which both have some.

    Args:
        a: run of the first model.
        b: run of the second, of the same job.
        samples: blob of raw samples by its digest.

    Raises:
        CorruptDataError: a blob does not fit to its run.
    """
    sides = []
    for run in (a, b):
        blob = samples.get(run.timing.samples_digest) if run.timing else None
        blocks = blocks_of(run.timing, blob) if run.timing and blob else ()
        sides.append({block.round: values.astype(np.float64) for block, values in blocks})
    return tuple((sides[0][r], sides[1][r]) for r in sorted(sides[0].keys() & sides[1].keys()))


def compare_runs(a: Run, b: Run, samples: Mapping[str, bytes]) -> tuple[RatioEstimate, ...]:
    """Return the ratios of p50 and p90, not yet judged against the device's noise.

    Raises:
        CorruptDataError: a blob does not fit to its run.
    """
    for run in (a, b):
        if run.timing is not None and run.timing.timing_disputed:
            why = f"{run.trial.label}: the clocks of runner and agent disagreed, so no latency of this run counts"
            return tuple(_absent(quantity, why) for quantity in _LEVELS)
    rounds = paired_rounds(a, b, samples)
    if len(rounds) < ROUNDS_MIN:
        why = f"a ratio needs {ROUNDS_MIN} rounds with both models, there are {len(rounds)}"
        return tuple(_absent(quantity, why) for quantity in _LEVELS)
    return tuple(_ratio(quantity, level, rounds) for quantity, level in _LEVELS.items())


def _absent(quantity: str, reason: str) -> RatioEstimate:
    absent = Estimate.absent(reason)
    return RatioEstimate(
        quantity=quantity, ratio=absent, gain=absent, verdict=ChangeVerdict.UNDECIDED, reason=reason
    )


def _ratio(quantity: str, level: float, rounds: Sequence[tuple[Floats, Floats]]) -> RatioEstimate:
    before, after = [a for a, _ in rounds], [b for _, b in rounds]
    counts = [min(len(a), len(b)) for a, b in rounds]
    floor = sample_floor(level)
    total = min(sum(map(len, before)), sum(map(len, after)))
    if total < floor:
        return _absent(quantity, f"p{100 * level:.0f} needs {floor} samples, {total} were taken")
    if level == 0.5 or min(counts) >= floor:
        logs = [math.log(_quantile(b, level) / _quantile(a, level)) for a, b in rounds]
        ratio, low, high = (math.exp(x) for x in student_t_interval(logs, _CONFIDENCE))
        method = "paired rounds"
    else:
        ratio, low, high = ratio_interval(before, after, level, block_length([*before, *after]))
        method = "hierarchical bootstrap"
    low, high = min(low, ratio), max(high, ratio)
    estimate = Estimate(value=ratio, low=low, high=high, confidence=_CONFIDENCE, sample_count=len(rounds))
    gain = replace(estimate, value=1 / ratio, low=min(1 / high, 1 / ratio), high=max(1 / low, 1 / ratio))
    raw = low > 1.0 or high < 1.0
    return RatioEstimate(
        quantity=quantity,
        ratio=estimate,
        gain=gain,
        verdict=ChangeVerdict.UNDECIDED,
        raw_change=raw,
        method=method,
        reason="not held against the device's noise",
    )


def _quantile(samples: Floats, level: float) -> float:
    return float(np.quantile(samples, level))


def judge(ratio: RatioEstimate, floor: NoiseFloor | None) -> RatioEstimate:
    """Return the ratio with its verdict.

    Args:
        ratio: of ``compare_runs``.
        floor: the device's noise; None when it is not known, which leaves the verdict open.
    """
    estimate = ratio.ratio
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return ratio
    said = f"B/A is {estimate.value:.4f} ({estimate.low:.4f} to {estimate.high:.4f})"
    if floor is None:
        why = f"{said}, but the noise of this device is not known"
        return replace(ratio, verdict=ChangeVerdict.UNDECIDED, reason=why)
    allowed = max(CHANGE_MIN, floor.fraction)
    band = f"1 +- {100 * allowed:.1f} %"
    if estimate.low > 1.0 + allowed:
        return replace(ratio, verdict=ChangeVerdict.SLOWER, reason=f"{said}, above {band}")
    if estimate.high < 1.0 / (1.0 + allowed):
        return replace(ratio, verdict=ChangeVerdict.FASTER, reason=f"{said}, below {band}")
    widest = max(estimate.high - 1.0, 1.0 / estimate.low - 1.0)
    if widest <= max(RESOLUTION, 2.0 * allowed):
        return replace(ratio, verdict=ChangeVerdict.NO_CHANGE_SHOWN, reason=f"{said}, not beyond {band}")
    why = f"{said}: too wide to tell a change of {100 * RESOLUTION:.0f} % from none; more rounds would"
    return replace(ratio, verdict=ChangeVerdict.UNDECIDED, reason=why)


def noise_fraction(ratios: Sequence[Estimate]) -> float:
    """Return the relative difference that is noise beyond what intervals say, from A/A comparisons.

    Args:
        ratios: B/A of the medians with their intervals, at least one.
    """
    distances = sorted(_missed_by(ratio) for ratio in ratios)
    if len(distances) < _FLOOR_QUANTILE_MIN:
        return math.expm1(distances[-1])
    return math.expm1(quantile(distances, 0.95))


def _missed_by(ratio: Estimate) -> float:
    """Return how far on the logarithmic scale the interval stays away from 1; all of the distance without one."""
    if ratio.value is None:
        raise InternalError("an A/A comparison without a ratio says nothing of the noise.")
    low, high = ratio.low or ratio.value, ratio.high or ratio.value
    return max(0.0, math.log(low), -math.log(high))
