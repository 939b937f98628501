"""One preferred quantity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.measurement import Estimate

from edgeloop.domain.constraint import Objective
from edgeloop.domain.strategy import Evidence

__all__ = ["PreferPolicy"]


class PreferPolicy:
    """The score is the gain in the one preferred quantity."""

    name: ClassVar[str] = "prefer"

    def score(self, evidence: Evidence, objectives: Sequence[Objective]) -> Estimate:
        """Return the gain; raises InvalidInputError for other than one objective."""
        if len(objectives) != 1:
            raise InvalidInputError(
                f"the policy 'prefer' takes one quantity, not {len(objectives)}.", next_step="Use 'weighted'."
            )
        return evidence.gain(objectives[0].quantity)
