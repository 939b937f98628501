"""Model + recipe, and what became of it."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from edgeloop.domain.quality import Quality
from edgeloop.domain.recipe import Recipe

__all__ = ["Candidate", "CandidateState"]


class CandidateState(enum.Enum):
    """What became of a candidate on the host."""

    BUILT = "built"
    SKIPPED = "skipped"
    FAILED = "failed"
    HOPELESS = "hopeless"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One candidate; "original" is the one without passes."""

    #: Unique within an experiment.
    label: str
    #: What is done to the model.
    recipe: Recipe
    #: What became of it.
    state: CandidateState
    #: Why it was skipped, failed or dropped; empty when built.
    reason: str = ""
    #: SHA-256 of its artifact's manifest; empty unless built.
    artifact_digest: str = ""
    #: Bytes the runtime opens.
    size_bytes: int = 0
    #: Bytes of the model that are sent to a device where they are fewer, because it expands them; 0 otherwise.
    travel_bytes: int = 0
    #: "fp32", "int8", ...
    precision: str = ""
    #: Host time to build it; None when it came from the cache.
    build_s: float | None = None
    #: Labelled quality; None without labels or when not built.
    quality: Quality | None = None
    #: Things a person should know, for example a pass that rolled back.
    notes: tuple[str, ...] = ()
    #: Runtime it is measured on where an experiment has several; empty where it has one.
    runtime: str = ""
    #: Whether it is the artifact of another candidate on a further runtime.
    variant: bool = False

    @property
    def original(self) -> bool:
        """Whether this is the unmodified model, on the first runtime."""
        return not self.recipe.passes and not self.variant
