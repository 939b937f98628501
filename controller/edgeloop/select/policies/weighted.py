"""Several quantities by weight."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.measurement import Estimate

from edgeloop.domain.constraint import Objective
from edgeloop.domain.strategy import Evidence

__all__ = ["WeightedPolicy"]


class WeightedPolicy:
    """The score is the weighted geometric mean of the gains.

    Its ends are the means of the gains' ends: right for any dependence among the quantities, wider than
    needed for independent ones.
    """

    name: ClassVar[str] = "weighted"

    def score(self, evidence: Evidence, objectives: Sequence[Objective]) -> Estimate:
        """Return the mean; absent when one gain is, without interval when one gain has none.

        Raises:
            InvalidInputError: no objective.
        """
        if not objectives:
            raise InvalidInputError("the policy 'weighted' takes at least one quantity.")
        gains = [(evidence.gain(o.quantity), o.weight) for o in objectives]
        values: list[tuple[float, float]] = []
        for gain, weight in gains:
            if gain.value is None:
                return Estimate.absent(gain.reason)
            values.append((gain.value, weight))
        count = min(gain.sample_count for gain, _ in gains)
        lows = [(gain.low, weight) for gain, weight in gains if gain.low is not None]
        highs = [(gain.high, weight) for gain, weight in gains if gain.high is not None]
        value = _mean(values)
        if len(lows) < len(gains) or len(highs) < len(gains):
            return Estimate(value=value, sample_count=count)
        confidences = [gain.confidence for gain, _ in gains if gain.confidence is not None]
        return Estimate(
            value=value,
            low=min(value, _mean(lows)),
            high=max(value, _mean(highs)),
            confidence=min(confidences, default=None),
            sample_count=count,
        )


def _mean(weighted: Sequence[tuple[float, float]]) -> float:
    total = sum(weight for _, weight in weighted)
    if any(value <= 0 for value, _ in weighted):
        return 0.0
    return math.exp(sum(weight * math.log(value) for value, weight in weighted) / total)
