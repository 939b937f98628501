"""How a rollout stands, and the table of what may follow; without I/O.

::

    PENDING -> RUNNING -> WATCHING -> RUNNING (next wave) -> ... -> COMPLETED
                  ^           |
                  |           v
                  +--- AWAITING_APPROVAL

    PENDING, RUNNING, WATCHING, AWAITING_APPROVAL  <->  PAUSED
    all of these  -> ROLLING_BACK -> ROLLED_BACK        stopped by a gate, a threshold, the watch, or somebody
    all of these  -> ABORTED | SUPERSEDED | EXPIRED     ended where it stands

COMPLETED, ROLLED_BACK, ABORTED, SUPERSEDED, EXPIRED and BACK_INCOMPLETE are the ends. A second reason to stop finds the
rollout rolling back already and changes nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_foundation.transitions import next_in

from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.rollout_plan import RolloutPlan

__all__ = [
    "ENDS",
    "FAILED",
    "REQUESTS",
    "SERVES",
    "TRANSITIONS",
    "DevicePhase",
    "Rollout",
    "RolloutDevice",
    "RolloutEvent",
    "RolloutState",
    "moved",
    "next_state",
]


class RolloutState(enum.Enum):
    """How far a rollout is."""

    PENDING = "pending"
    RUNNING = "running"
    WATCHING = "watching"
    AWAITING_APPROVAL = "awaiting_approval"
    PAUSED = "paused"
    ROLLING_BACK = "rolling_back"
    COMPLETED = "completed"
    ROLLED_BACK = "rolled_back"
    BACK_INCOMPLETE = "back_incomplete"
    ABORTED = "aborted"
    SUPERSEDED = "superseded"
    EXPIRED = "expired"


class RolloutEvent(enum.Enum):
    """What can happen to a rollout."""

    BEGIN = "begin"
    BROUGHT = "brought"
    HELD = "held"
    ASK = "ask"
    APPROVE = "approve"
    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"
    KEEP = "keep"
    SUPERSEDE = "supersede"
    EXPIRE = "expire"
    FINISH = "finish"
    WENT_BACK = "went_back"
    GIVE_UP = "give_up"


S, E = RolloutState, RolloutEvent

ENDS = frozenset({S.COMPLETED, S.ROLLED_BACK, S.BACK_INCOMPLETE, S.ABORTED, S.SUPERSEDED, S.EXPIRED})
"""States in which nothing goes on."""

REQUESTS = {"pause": E.PAUSE, "abort": E.STOP, "keep": E.KEEP, "supersede": E.SUPERSEDE}
"""What can be asked of a rollout that another process drives, and what that is in the table."""

_UNDER_WAY = (S.PENDING, S.RUNNING, S.WATCHING, S.AWAITING_APPROVAL)
_OPEN = (*_UNDER_WAY, S.PAUSED)

TRANSITIONS: dict[tuple[RolloutState, RolloutEvent], RolloutState] = {
    (S.PENDING, E.BEGIN): S.RUNNING,
    (S.RUNNING, E.BROUGHT): S.WATCHING,
    (S.WATCHING, E.HELD): S.RUNNING,
    (S.RUNNING, E.ASK): S.AWAITING_APPROVAL,
    (S.AWAITING_APPROVAL, E.APPROVE): S.RUNNING,
    (S.PAUSED, E.APPROVE): S.RUNNING,
    (S.PAUSED, E.RESUME): S.RUNNING,
    (S.RUNNING, E.FINISH): S.COMPLETED,
    **{(state, E.PAUSE): S.PAUSED for state in _OPEN},
    **{(state, E.STOP): S.ROLLING_BACK for state in (*_OPEN, S.ROLLING_BACK)},
    **{(state, E.KEEP): S.ABORTED for state in _OPEN},
    **{(state, E.SUPERSEDE): S.SUPERSEDED for state in _OPEN},
    # A wave that nobody has judged does not stay; waves that were held do.
    **{(state, E.EXPIRE): S.ROLLING_BACK for state in (S.RUNNING, S.WATCHING, S.PAUSED)},
    **{(state, E.EXPIRE): S.EXPIRED for state in (S.PENDING, S.AWAITING_APPROVAL)},
    (S.ROLLING_BACK, E.EXPIRE): S.BACK_INCOMPLETE,
    (S.ROLLING_BACK, E.GIVE_UP): S.BACK_INCOMPLETE,
    (S.ROLLING_BACK, E.WENT_BACK): S.ROLLED_BACK,
}
"""(state, event) -> state; what it does not hold cannot happen."""


def next_state(state: RolloutState, event: RolloutEvent) -> RolloutState:
    """Return the state after ``event``.

    Raises:
        StateError: it cannot happen in this state.
    """
    step = "See how it stands: edgeloop rollout status."
    return next_in(TRANSITIONS, state, event, "a rollout", next_step=step)


class DevicePhase(enum.Enum):
    """How one device stands within a rollout."""

    #: Not touched.
    WAITING = "waiting"
    #: It did not answer; it is tried again.
    AWAY = "away"
    #: Its installation was begun.
    INSTALLING = "installing"
    #: It serves the release, under watch.
    SERVING = "serving"
    #: It served the release before the rollout began, and is never rolled back.
    PRESENT = "present"
    #: It served the release to the end of its watch.
    HELD = "held"
    #: It refused the release or went back by itself; what served before serves.
    REFUSED = "refused"
    #: It serves the release, and badly.
    UNHEALTHY = "unhealthy"
    #: What served before serves again.
    BACK = "back"
    #: There is nothing that it could go back to, or it said no.
    STUCK = "stuck"


SERVES = frozenset({DevicePhase.SERVING, DevicePhase.PRESENT, DevicePhase.HELD})
"""Phases that count as success."""
FAILED = frozenset({DevicePhase.REFUSED, DevicePhase.UNHEALTHY})
"""Phases that count as failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutDevice:
    """One device of a rollout."""

    #: How it is reached.
    spec: DeviceSpec
    #: Number of its wave, from 0.
    wave: int
    #: Group within the wave; empty where it has none.
    group: str = ""
    #: How it stands.
    phase: DevicePhase = DevicePhase.WAITING
    #: What it said last, one sentence; empty when all is well.
    reason: str = ""
    #: Whether it is a simulated board, as it said itself.
    simulated: bool = False
    #: Unhealthy looks in a row.
    strikes: int = 0
    #: SHA-256 of the manifest of what it served before; empty when nothing did, or it was not asked yet.
    before_digest: str = ""
    #: Whether it passed the gate, or somebody approved what the gate could not say.
    gated: bool = False
    #: Answers of the gate on it, one sentence each.
    gate: tuple[str, ...] = ()
    #: Name of the file with its parity certificate; empty when none was asked for.
    certificate: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """A rollout as it stands; saved before it is acted upon."""

    #: Identifier.
    rollout_id: str
    #: What it is to do.
    plan: RolloutPlan
    #: SHA-256 of the manifest of the artifact, and counter of its release: both stay the same to the end.
    artifact_digest: str
    #: See above.
    counter: int
    #: Every device, in the order of its turn.
    devices: tuple[RolloutDevice, ...]
    #: How far it is.
    state: RolloutState = RolloutState.PENDING
    #: Number of the wave at work, from 0.
    wave: int = 0
    #: Last wave that somebody approved, also against an answer that could not be given; -1 before.
    approved_wave: int = -1
    #: Why it is in this state, one sentence; empty when it takes its course.
    reason: str = ""
    #: Times, seconds since 1970: when it was started and when it came into this state.
    started_wall_s: float
    #: See above.
    since_wall_s: float
    #: When the watch of this wave began; 0 outside a watch.
    watch_from_wall_s: float = 0.0

    def __post_init__(self) -> None:
        names = [device.spec.name for device in self.devices]
        if not names or len(set(names)) != len(names):
            raise InvalidInputError("a rollout has devices, each once.")
        if not 0 <= self.wave < len(self.plan.waves) or self.counter < 1:
            raise InvalidInputError("a rollout is at one of its waves and has the counter of a release.")

    @property
    def over(self) -> bool:
        """Whether it has come to an end."""
        return self.state in ENDS

    def of_wave(self, wave: int) -> tuple[RolloutDevice, ...]:
        """Return the devices of one wave."""
        return tuple(device for device in self.devices if device.wave == wave)

    def with_device(self, device: RolloutDevice) -> Rollout:
        """Return it with one device replaced."""
        return replace(
            self, devices=tuple(device if d.spec.name == device.spec.name else d for d in self.devices)
        )

    def over_threshold(self, wave: int) -> tuple[str, ...]:
        """Return one sentence for every group of a wave in which too many devices failed."""
        groups: dict[str, list[RolloutDevice]] = {}
        for device in self.of_wave(wave):
            groups.setdefault(device.group, []).append(device)
        allowed = self.plan.waves[wave].error_share_max
        return tuple(
            _too_many(group or self.plan.waves[wave].name or f"wave {wave + 1}", members, allowed)
            for group, members in groups.items()
            if _failed_share(members) > allowed
        )

    def success_share(self, wave: int) -> float:
        """Return the share of a wave that serves the release; 1 for a wave without devices."""
        members = self.of_wave(wave)
        return sum(device.phase in SERVES for device in members) / len(members) if members else 1.0


def _failed_share(members: Sequence[RolloutDevice]) -> float:
    return sum(device.phase in FAILED for device in members) / len(members)


def _too_many(group: str, members: Sequence[RolloutDevice], allowed: float) -> str:
    failed = [device for device in members if device.phase in FAILED]
    first = failed[0]
    return (
        f"{group}: {len(failed)} of {len(members)} failed, {100 * allowed:g} % may; "
        f"{first.spec.name}: {first.reason or first.phase.value}"
    )


def moved(rollout: Rollout, event: RolloutEvent, now_s: float, reason: str = "") -> Rollout:
    """Return the rollout after ``event``; the first reason to stop stays the reason.

    Raises:
        StateError: it cannot happen now.
    """
    state = next_state(rollout.state, event)
    if state is rollout.state:
        return rollout
    return replace(rollout, state=state, reason=reason, since_wall_s=now_s, watch_from_wall_s=0.0)
