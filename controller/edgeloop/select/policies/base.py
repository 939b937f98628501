"""What a policy is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

from edgeloop_protocol.types.measurement import Estimate

from edgeloop.domain.constraint import Objective
from edgeloop.domain.strategy import Evidence

__all__ = ["Policy"]


class Policy(Protocol):
    """Scores a candidate; the class is found by its registered name."""

    name: ClassVar[str]

    def score(self, evidence: Evidence, objectives: Sequence[Objective]) -> Estimate:
        """Return how many times better than the original, with its interval; absent with a reason when
        unknown.

        Raises:
            InvalidInputError: these objectives are not for this policy.
        """
        ...
