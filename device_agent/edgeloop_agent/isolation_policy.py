"""How far runners of this board are confined, and what is too little."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.isolation_tier import DEFAULT, STRONGEST, TIERS, check_tier, reaches
from edgeloop_protocol.types.outcome import FailureKind, Isolation, Outcome

from edgeloop_agent.failure import RunnerFailure

__all__ = ["IsolationPolicy", "check_isolation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IsolationPolicy:
    """What the agent was told of isolation.

    Raises:
        InvalidInputError: there is no such tier, or the minimum lies above what is tried.
    """

    #: Strongest tier to take.
    tier: str = DEFAULT
    #: Weakest tier in which a model is opened.
    minimum: str = TIERS[0]

    def __post_init__(self) -> None:
        if not reaches(check_tier(self.tier), self.minimum):
            raise InvalidInputError(
                f"at most the isolation {self.tier} is taken and at least {self.minimum} required: no job could run."
            )

    def arguments(self, artifact: Path | None, state: Path) -> tuple[str, ...]:
        """Return the options of a runner that reads ``artifact`` and nothing else below ``state``."""
        return (
            *("--isolation", self.tier, "--require-isolation", self.minimum),
            *(() if artifact is None else ("--readable", str(artifact))),
            *("--outside", str(state)),
        )


def check_isolation(
    isolation: Isolation, minimum: str, *, signed: bool = False, most: str = STRONGEST
) -> None:
    """Refuse what is isolated too little.

    Args:
        isolation: what was found to hold.
        minimum: the weakest tier that will do; empty admits every one.
        signed: whether the minimum is that of a release, and not of the agent.
        most: the strongest tier that the agent takes.

    Raises:
        RunnerFailure: the tier lies below the minimum.
    """
    if not minimum or reaches(isolation.tier, minimum):
        return
    why = f": {isolation.reason}" if isolation.reason else ""
    what = "the release is signed to be opened" if signed else "a model is opened"
    advice = "start its agent with a lower --require-isolation"
    if signed:
        advice = "sign the release for a weaker tier"
        if not reaches(most, minimum):
            advice = f"start its agent with --isolation {minimum}"
    reason = (
        f"{what} in the isolation {minimum} at least, and this board gives {isolation.tier}{why}. "
        f"Use another board, or {advice}."
    )
    raise RunnerFailure(Outcome.UNSUPPORTED, FailureKind.UNFIT_DEVICE, reason)
