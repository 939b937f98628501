"""Quality of a candidate beside the original's on the same items, with honest intervals.

Intervals are 95 % percentile intervals of a bootstrap over groups (1,000 resamples, candidate and original
always on the same resample). A percentile bootstrap is too sure of itself where it has little to resample:

- No item on which one is right and the other wrong: the bootstrap would say the drop is exactly 0. Instead
  the drop lies within plus or minus the exact (Clopper-Pearson) upper bound of the share of such groups.
- Fewer than ten groups with such items: the interval is widened to hold the score interval of the paired
  difference (Tango 1998), taken over groups.
- All items right, or all wrong: the exact interval of a share over groups.
- One group: there is no interval.

For metrics whose items are neither right nor wrong (areas, errors) the bootstrap stands as it is; for macro
F1 without a changed decision the bound on the share of changed decisions is stated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import sqrt

import numpy as np
from edgeloop_foundation.statistics import binomial_interval, binomial_two_sided_p
from edgeloop_protocol.types.measurement import Estimate
from numpy.typing import NDArray

from edgeloop.domain.dataset import Dataset
from edgeloop.domain.quality import Quality
from edgeloop.evaluate.metrics import load_metric
from edgeloop.evaluate.metrics.base import Judged, Scorer
from edgeloop.evaluate.task import infer_task, judged

__all__ = ["assess", "paired_score_interval"]

Outputs = Mapping[str, NDArray[np.generic]]

_CONFIDENCE = 0.95
_Z = 1.959963984540054
_RESAMPLES = 1000
_FEW = 10
"""Below this many discordant groups a percentile bootstrap is visibly too narrow."""
_CHUNK = 4_000_000
"""Weights held at a time: 32 MB."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Groups:
    """Group index of each row, and how many groups there are."""

    index: NDArray[np.intp]
    count: int

    def means(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the mean of ``values`` per group."""
        sizes = np.bincount(self.index, minlength=self.count)
        return np.bincount(self.index, values, self.count) / sizes

    def resamples(self, seed: int) -> Iterator[NDArray[np.float64]]:
        """Yield weights ``[some, rows]``, 1,000 in all: how often the row's group was drawn."""
        rng = np.random.default_rng(seed)
        step = max(1, min(_RESAMPLES, _CHUNK // max(self.count, len(self.index))))
        for start in range(0, _RESAMPLES, step):
            size = min(step, _RESAMPLES - start)
            drawn = rng.integers(0, self.count, (size, self.count))
            drawn += np.arange(size)[:, None] * self.count
            counts = np.bincount(drawn.ravel(), minlength=size * self.count).reshape(size, self.count)
            yield counts[:, self.index].astype(np.float64)


def assess(baseline: Outputs, candidate: Outputs, data: Dataset, *, seed: int) -> Quality | None:
    """Return the candidate's quality beside the original's; None without labels.

    Args:
        baseline: the original's outputs over ``data``, ``[items, ...]`` (``[items, steps, ...]`` with state).
        candidate: the candidate's outputs over the same items.
        data: items with labels; intervals are taken over its groups, over its sequences where it has state.
        seed: seed of the bootstrap.

    Raises:
        InvalidInputError: labels, outputs and metric do not go together.
        NotFoundError: the data names an unknown metric.
    """
    if data.labels is None:
        return None
    task = infer_task(baseline, data)
    metric = load_metric(task.metric)()
    before, after = judged(baseline, data, task), judged(candidate, data, task)
    groups = _groups(data, len(before.labels))
    sign = 1.0 if metric.higher_is_better else -1.0
    value, reference, drop, ratio = _bootstrap(metric.bind(after), metric.bind(before), groups, sign, seed)
    right = (metric.correct(before), metric.correct(after))
    changed = _changed(before, after)
    if right[0] is not None and right[1] is not None:
        value, reference = _share(value, right[1], groups), _share(reference, right[0], groups)
        drop = _decided_drop(drop, right[0], right[1], groups)
    elif metric.on_decisions and changed is not None and not changed.any() and drop.low is not None:
        drop = _around(drop, _rare(groups))
    return Quality(
        metric=task.metric,
        higher_is_better=metric.higher_is_better,
        value=value,
        baseline=reference,
        drop=drop,
        retention=_retention(ratio, reference, drop) if metric.higher_is_better else None,
        mcnemar_p=_mcnemar(right[0], right[1], groups),
        agreement=None if changed is None else float(1.0 - changed.mean()),
        item_count=len(before.labels),
        group_count=groups.count,
    )


def _groups(data: Dataset, rows: int) -> _Groups:
    owner = np.arange(len(data)) if data.groups is None else np.unique(data.groups, return_inverse=True)[1]
    index = np.repeat(owner.reshape(-1), rows // len(data))
    return _Groups(index=index, count=int(index.max()) + 1)


def _changed(before: Judged, after: Judged) -> NDArray[np.bool_] | None:
    if before.decisions is None or after.decisions is None:
        return None
    changed: NDArray[np.bool_] = before.decisions != after.decisions
    return changed


def _bootstrap(
    after: Scorer, before: Scorer, groups: _Groups, sign: float, seed: int
) -> tuple[Estimate, Estimate, Estimate, Estimate]:
    """Return candidate, original, drop and ratio, which is 0 where the original's value is not above 0."""
    whole = np.ones((1, len(groups.index)))
    a, b = float(after(whole)[0]), float(before(whole)[0])
    drop, ratio = sign * (b - a), a / b if b > 0 else 0.0
    if groups.count == 1:
        return tuple(Estimate(value=v, sample_count=1) for v in (a, b, drop, ratio))  # type: ignore[return-value]
    pairs = np.concatenate([np.stack((after(w), before(w))) for w in groups.resamples(seed)], axis=1)
    pairs = pairs[:, np.isfinite(pairs).all(axis=0)]
    return (
        _percentiles(a, pairs[0], groups.count),
        _percentiles(b, pairs[1], groups.count),
        _percentiles(drop, sign * (pairs[1] - pairs[0]), groups.count),
        _percentiles(ratio, pairs[0] / np.where(pairs[1] > 0, pairs[1], np.inf), groups.count),
    )


def _retention(ratio: Estimate, baseline: Estimate, drop: Estimate) -> Estimate | None:
    """Return the ratio, its interval widened to hold that of ``1 - drop / baseline``.

    Few or no changed decisions make the bootstrap of the ratio as blind as that of the drop, which was widened.
    """
    if baseline.value is None or baseline.value <= 0 or ratio.value is None:
        return None
    if ratio.low is None or ratio.high is None or drop.low is None or drop.high is None:
        return ratio
    low, high = 1.0 - drop.high / baseline.value, 1.0 - drop.low / baseline.value
    return _interval(ratio.value, min(low, ratio.low), max(high, ratio.high), ratio.sample_count)


def _percentiles(value: float, resampled: NDArray[np.float64], count: int) -> Estimate:
    tail = (1.0 - _CONFIDENCE) / 2
    low, high = (float(end) for end in np.quantile(resampled, (tail, 1.0 - tail)))
    return _interval(value, low, high, count)


def _interval(value: float, low: float, high: float, count: int) -> Estimate:
    return Estimate(
        value=value, low=min(low, value), high=max(high, value), confidence=_CONFIDENCE, sample_count=count
    )


def _around(drop: Estimate, reach: float) -> Estimate:
    value = drop.value or 0.0
    return _interval(value, value - reach, value + reach, drop.sample_count)


def _rare(groups: _Groups) -> float:
    """Return the exact upper bound of the share of groups of a kind that none of them is of."""
    return binomial_interval(0, groups.count, _CONFIDENCE)[1]


def _share(estimate: Estimate, right: NDArray[np.bool_], groups: _Groups) -> Estimate:
    if estimate.low is None or estimate.value is None or not (right.all() or not right.any()):
        return estimate
    low, high = binomial_interval(groups.count if right.all() else 0, groups.count, _CONFIDENCE)
    return _interval(estimate.value, low, high, groups.count)


def _decided_drop(
    drop: Estimate, before: NDArray[np.bool_], after: NDArray[np.bool_], groups: _Groups
) -> Estimate:
    if drop.low is None or drop.high is None or drop.value is None:
        return drop
    if not (before != after).any():
        return _around(drop, _rare(groups))
    net = groups.means(before.astype(np.float64) - after)
    worse, better = int((net > 0).sum()), int((net < 0).sum())
    if int(np.count_nonzero(groups.means((before != after).astype(np.float64)))) >= _FEW:
        return drop
    low, high = paired_score_interval(worse, better, groups.count)
    return _interval(drop.value, min(low, drop.low), max(high, drop.high), groups.count)


def _mcnemar(
    before: NDArray[np.bool_] | None, after: NDArray[np.bool_] | None, groups: _Groups
) -> float | None:
    """Return the exact p-value over groups that got worse or better; with one item each it is McNemar's."""
    if before is None or after is None:
        return None
    net = groups.means(before.astype(np.float64) - after)
    worse, better = int((net > 0).sum()), int((net < 0).sum())
    return binomial_two_sided_p(worse, worse + better) if worse + better else 1.0


def paired_score_interval(worse: int, better: int, count: int) -> tuple[float, float]:
    """Return the 95 % score interval of (worse - better) / count for paired yes-or-no answers.

    Source: Tango, Statistics in Medicine 17 (1998) 891-908; its ends are where the score statistic is 1.96.
    """
    point = (worse - better) / count
    return (
        _score_end(worse, better, count, -1.0, point),
        _score_end(worse, better, count, point, 1.0),
    )


def _score_end(worse: int, better: int, count: int, low: float, high: float) -> float:
    """Bisect for the end between ``low`` and ``high``; at one of them, the estimate, the statistic is 0."""
    outer_is_low = abs(_score(worse, better, count, low)) > abs(_score(worse, better, count, high))
    for _ in range(60):
        middle = (low + high) / 2
        outside = abs(_score(worse, better, count, middle)) > _Z
        if outside == outer_is_low:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _score(worse: int, better: int, count: int, difference: float) -> float:
    a = 2.0 * count
    b = -worse - better + (2.0 * count - worse + better) * difference
    c = -better * difference * (1.0 - difference)
    rare = (sqrt(max(0.0, b * b - 4.0 * a * c)) - b) / (2.0 * a)
    variance = count * (2.0 * rare + difference * (1.0 - difference))
    distance = worse - better - count * difference
    if variance <= 0.0:
        return 0.0 if distance == 0 else float("inf") * (1 if distance > 0 else -1)
    return distance / sqrt(variance)
