"""A ladder of compression: stages one after the other, in each the rungs that are tried until one keeps the quality."""

from __future__ import annotations

from dataclasses import dataclass

from edgeloop_foundation.errors import InvalidInputError

from edgeloop.domain.candidate import Candidate, CandidateState
from edgeloop.domain.recipe import PassSpec, Recipe

__all__ = ["Climb", "Ladder", "Rung", "Stage", "Step", "travels", "unfit"]

_GROWTH = 1.02
"""A stage may cost a little room for what it prepares; more than that is no compression."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One way to do a stage: passes that go on top of the last good ones."""

    label: str
    passes: tuple[PassSpec, ...]

    def on(self, good: Recipe) -> Recipe:
        """Return the recipe of this rung on top of another one."""
        label = f"{good.label} > {self.label}" if good.passes else self.label
        return Recipe(label=label, passes=(*good.passes, *self.passes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Rungs for one purpose, cheapest and smallest first; the first that fits is taken.

    Raises:
        InvalidInputError: no rungs, or two of one label.
    """

    name: str
    rungs: tuple[Rung, ...]

    def __post_init__(self) -> None:
        labels = [rung.label for rung in self.rungs]
        if not labels or len(set(labels)) != len(labels):
            raise InvalidInputError(
                f"stage {self.name!r} of a ladder has rungs, each under a label of its own."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """Stages in order.

    Raises:
        InvalidInputError: no stages.
    """

    name: str
    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        if not self.stages:
            raise InvalidInputError(f"ladder {self.name!r} has no stages.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One rung that was tried."""

    stage: str
    rung: str
    #: What came of it, its quality included.
    candidate: Candidate
    #: Whether the next stages stand on it.
    taken: bool
    #: Why it was rolled back; empty when taken.
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Climb:
    """How far the ladder went."""

    ladder: str
    #: Least share of the original's quality that had to be kept, at the lower end of the 95 % interval.
    keep: float
    #: Every rung that was tried, in order.
    steps: tuple[Step, ...]
    #: The last good one; the original when no rung was taken.
    chosen: Candidate
    #: Why later stages were not tried; empty when all were.
    stopped: str = ""


def travels(candidate: Candidate) -> int:
    """Return the bytes of a candidate's model on the wire and at rest."""
    return candidate.travel_bytes or candidate.size_bytes


def unfit(candidate: Candidate, good: Candidate, keep: float) -> str:
    """Return why a candidate must not replace the last good one, or an empty string."""
    if candidate.state is not CandidateState.BUILT:
        return candidate.reason
    if travels(candidate) > _GROWTH * travels(good):
        return f"it has {travels(candidate)} bytes, the last good one {travels(good)}"
    quality = candidate.quality
    if quality is None or quality.baseline.value is None:
        return "it was not judged"
    if quality.retention is not None:
        low = quality.retention.low
        kept = f"at least {low:.4f} (95 %)" if low is not None else "an unknown share"
        good_enough = low is not None and low >= keep
        return "" if good_enough else f"it keeps {kept} of the {quality.metric}, {keep:g} is asked for"
    allowed = (1.0 - keep) * abs(quality.baseline.value)
    worst = quality.drop.high
    if worst is not None and worst <= allowed:
        return ""
    lost = f"{worst:.4g}" if worst is not None else "an unknown amount"
    return f"its {quality.metric} is worse by up to {lost} (95 %), {allowed:.4g} is allowed"
