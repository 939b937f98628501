"""The table of a rollout, walked whole, and its thresholds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.rollout import (
    ENDS,
    TRANSITIONS,
    DevicePhase,
    Rollout,
    RolloutDevice,
    RolloutEvent,
    RolloutState,
    moved,
)
from edgeloop.domain.rollout_plan import RolloutPlan, Wave
from edgeloop_foundation.errors import StateError
from edgeloop_protocol.convert import from_json, to_canonical_json

S, E, P = RolloutState, RolloutEvent, DevicePhase
OPEN = [state for state in S if state not in ENDS]


def rollout(*phases: DevicePhase, error_share_max: float = 0.0, groups: str = "") -> Rollout:
    return Rollout(
        rollout_id="demo-1-1",
        plan=RolloutPlan(release="demo", waves=(Wave(rest=True, error_share_max=error_share_max),)),
        artifact_digest="a" * 64,
        counter=1,
        devices=tuple(
            RolloutDevice(
                spec=DeviceSpec.parse(f"d{number}=local"),
                wave=0,
                phase=phase,
                group=groups[number : number + 1],
                reason="it is slow" if phase is P.UNHEALTHY else "",
            )
            for number, phase in enumerate(phases or (P.WAITING,))
        ),
        started_wall_s=1.0,
        since_wall_s=1.0,
    )


@pytest.mark.parametrize("state", list(S), ids=lambda s: s.value)
@pytest.mark.parametrize("event", list(E), ids=lambda e: e.value)
def test_what_the_table_does_not_hold_cannot_happen(state: RolloutState, event: RolloutEvent) -> None:
    at = replace(rollout(), state=state)
    expected = TRANSITIONS.get((state, event))
    if expected is None:
        with pytest.raises(StateError, match="cannot"):
            moved(at, event, 2.0)
        return
    after = moved(at, event, 2.0, "why")
    assert after.state is expected
    # Nothing leaves an end, and a second reason to stop neither replaces the first nor starts the clock anew.
    assert state not in ENDS
    assert (after == at) == (state is expected)


def test_everybody_finds_an_end_and_every_open_state_can_be_stopped_and_expires() -> None:
    reached = {state: {after for (before, _), after in TRANSITIONS.items() if before is state} for state in S}
    for state in OPEN:
        assert (state, E.EXPIRE) in TRANSITIONS, state
        assert (state, E.STOP) in TRANSITIONS, state
        seen, todo = set(), [state]
        while todo:
            seen.add(here := todo.pop())
            todo += [after for after in reached[here] if after not in seen]
        assert seen & ENDS, state


@pytest.mark.parametrize(
    ("phases", "allowed", "groups", "said"),
    [
        ("HELD HELD HELD HELD", 0.0, "", []),
        ("HELD HELD HELD UNHEALTHY", 0.25, "", []),
        ("HELD HELD HELD UNHEALTHY", 0.24, "", ["1 of 4 failed, 24 % may; d3: it is slow"]),
        ("REFUSED HELD HELD HELD", 0.25, "aabb", ["a: 1 of 2 failed, 25 % may; d0: refused"]),
        ("REFUSED HELD UNHEALTHY HELD", 0.25, "aabb", ["a: 1 of 2", "b: 1 of 2"]),
        # Neither away nor rolled back by the rollout itself is a failure of the release.
        ("AWAY AWAY BACK WAITING", 0.0, "", []),
    ],
)
def test_each_group_is_held_against_the_threshold_by_itself(
    phases: str, allowed: float, groups: str, said: list[str]
) -> None:
    one = rollout(*(P[word] for word in phases.split()), error_share_max=allowed, groups=groups)
    found = one.over_threshold(0)
    assert len(found) == len(said)
    assert all(words in sentence for words, sentence in zip(said, found, strict=True))


def test_it_survives_its_file() -> None:
    one = rollout(P.SERVING, P.WAITING)
    assert from_json(to_canonical_json(one), Rollout) == one
