"""How good a candidate's answers are, beside the original's on the same items."""

from __future__ import annotations

from dataclasses import dataclass

from edgeloop_protocol.types.measurement import Estimate

__all__ = ["Quality"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Labelled quality of one candidate on the host."""

    #: Metric, for example "accuracy".
    metric: str
    #: Whether more is better.
    higher_is_better: bool
    #: The candidate's value, 95 % interval.
    value: Estimate
    #: The original's value on the same items, 95 % interval.
    baseline: Estimate
    #: How much worse than the original, positive is worse, 95 % interval of the paired difference.
    drop: Estimate
    #: Share of the original's quality that is kept, 95 % interval of the paired ratio and never narrower than what
    #: ``drop`` says; None where less is better or the original's quality is not above 0.
    retention: Estimate | None = None
    #: Exact McNemar p-value of equal error rates; None where answers are not right or wrong.
    mcnemar_p: float | None = None
    #: Share of items on which candidate and original decide alike; None without decisions.
    agreement: float | None = None
    #: Items judged.
    item_count: int
    #: Independent source items among them; intervals are taken over these.
    group_count: int
