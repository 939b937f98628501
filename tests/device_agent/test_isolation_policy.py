"""What the agent was told of isolation, and what is refused for too little of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.isolation_policy import IsolationPolicy, check_isolation
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.run import FailureKind, Isolation, Outcome


@pytest.mark.parametrize("tier", ["process", "seccomp", "unprivileged"])
@pytest.mark.parametrize("minimum", ["process", "seccomp", "unprivileged"])
def test_a_tier_below_the_minimum_is_refused_with_what_lacks(tier: str, minimum: str) -> None:
    order = ("process", "seccomp", "unprivileged")
    isolation = Isolation(tier=tier, reason="Landlock: Operation not supported")
    if order.index(tier) >= order.index(minimum):
        check_isolation(isolation, minimum)
        return
    with pytest.raises(RunnerFailure) as caught:
        check_isolation(isolation, minimum)
    assert (caught.value.outcome, caught.value.failure_kind) == (
        Outcome.UNSUPPORTED,
        FailureKind.UNFIT_DEVICE,
    )
    assert f"{minimum} at least, and this board gives {tier}: Landlock" in caught.value.reason
    assert "--require-isolation" in caught.value.reason


def test_a_tier_that_nobody_knows_is_never_enough() -> None:
    with pytest.raises(RunnerFailure):
        check_isolation(Isolation(tier="simulated"), "process")


def test_a_policy_that_no_job_could_meet_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="no job could run"):
        IsolationPolicy(tier="seccomp", minimum="unprivileged")
    with pytest.raises(InvalidInputError, match="no tier of isolation"):
        IsolationPolicy(tier="moat")


def test_a_runner_is_told_what_it_may_read() -> None:
    words = IsolationPolicy(minimum="seccomp").arguments(Path("/state/artifact"), Path("/state"))
    assert words == (
        *("--isolation", "unprivileged", "--require-isolation", "seccomp"),
        *("--readable", "/state/artifact", "--outside", "/state"),
    )
