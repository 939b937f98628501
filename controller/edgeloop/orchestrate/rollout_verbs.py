"""The verbs of a rollout: read a plan, lay it out, start it, and tell the one that runs what to do."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_foundation.errors import (
    AlreadyExistsError,
    BusyError,
    InvalidInputError,
    NotFoundError,
    StateError,
)
from edgeloop_protocol.convert import from_json

from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.rollout import REQUESTS, Rollout, RolloutDevice, RolloutEvent, RolloutState, moved
from edgeloop.domain.rollout_plan import Group, RolloutGate, RolloutPlan, Wave, Window, place_devices
from edgeloop.orchestrate.deploy import audit_log, note_in_audit, repository, signed_release
from edgeloop.orchestrate.fleet import require_unique_names
from edgeloop.orchestrate.rollout import driving
from edgeloop.store.rollouts import RolloutStore

if TYPE_CHECKING:
    from edgeloop.app import App

__all__ = [
    "approve_rollout",
    "ask_rollout",
    "lay_out",
    "plan_of",
    "read_plan",
    "resume_rollout",
    "start_rollout",
]

_TABLES: Mapping[str, type] = {"gate": RolloutGate}
_LISTS: Mapping[str, type] = {"waves": Wave, "groups": Group, "windows": Window}
_TAKEN_OVER_S = 60.0


def read_plan(path: Path) -> RolloutPlan:
    """Read the plan of a rollout.

    Raises:
        NotFoundError: there is no such file.
        InvalidInputError: it is no TOML, or does not hold, with the place.
    """
    import tomllib

    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFoundError(f"there is no file {path}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path} is no TOML: {error}.") from error
    try:
        return plan_of(tree)
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error.message}", next_step=error.next_step) from error


def plan_of(tree: Mapping[str, Any]) -> RolloutPlan:
    """Return the plan that the tree of such a file stands for.

    Raises:
        InvalidInputError: it does not hold, with the place.
    """
    _check_names(tree, RolloutPlan, "the plan")
    for name, cls in _TABLES.items():
        if isinstance(table := tree.get(name), dict):
            _check_names(table, cls, name)
    for name, cls in _LISTS.items():
        rows = tree.get(name) or ()
        for number, table in enumerate(rows if isinstance(rows, list) else (), start=1):
            if isinstance(table, dict):
                _check_names(table, cls, f"{name}[{number}]")
    return from_json(dict(tree), RolloutPlan)


def _check_names(table: Mapping[str, Any], cls: type, where: str) -> None:
    known = [field.name for field in dataclasses.fields(cls)]
    unknown = [name for name in table if name not in known]
    if unknown:
        raise InvalidInputError(f"{where} has no {unknown[0]!r}; known are {', '.join(known)}.")


def lay_out(
    app: App, plan: RolloutPlan, specs: Sequence[DeviceSpec], groups: Mapping[str, Sequence[str]]
) -> Rollout:
    """Return the rollout that a plan stands for, with every device in its wave; nothing is begun or written.

    Args:
        app: stores.
        plan: the plan.
        specs: its devices.
        groups: names of the members of each group of the inventory.

    Raises:
        NotFoundError: nothing was signed under the name of the release.
        InvalidInputError: waves and devices do not fit together.
    """
    require_unique_names(specs)
    digest, terms = signed_release(repository(app.state_directory), plan.release)
    by_name = {spec.name: spec for spec in specs}
    placed = place_devices(plan, [spec.name for spec in specs], groups)
    number = len(RolloutStore(app.state_directory).all()) + 1
    now_s = time.time()
    return Rollout(
        rollout_id=f"{plan.release}-{terms.counter}-{number}",
        plan=plan,
        artifact_digest=digest,
        counter=terms.counter,
        devices=tuple(
            RolloutDevice(spec=by_name[place.device], wave=place.wave, group=place.group) for place in placed
        ),
        started_wall_s=now_s,
        since_wall_s=now_s,
    )


def start_rollout(app: App, rollout: Rollout, *, supersede: bool = False) -> Rollout:
    """Write a rollout down, so that it can be driven.

    Args:
        app: stores.
        rollout: as it was laid out.
        supersede: whether it takes the place of one of the same release that is not over.

    Raises:
        AlreadyExistsError: there is such a one, and it is not to be superseded.
        StateError: that one is rolling back, which is finished first.
        CorruptDataError: the audit log is broken.
    """
    audit_log(app.state_directory)
    store = RolloutStore(app.state_directory)
    for other in store.all():
        if other.plan.release != rollout.plan.release or other.over:
            continue
        if not supersede:
            raise AlreadyExistsError(
                f"rollout {other.rollout_id} of {other.plan.release} is {_words(other.state)}.",
                next_step=f"Go on with it (edgeloop rollout resume {other.rollout_id}), end it, or use --supersede.",
            )
        ended = ask_rollout(app, other.rollout_id, "supersede")
        ends = time.monotonic() + _TAKEN_OVER_S
        while not ended.over and time.monotonic() < ends:
            time.sleep(0.2)
            ended = store.get(other.rollout_id)
        if not ended.over:
            raise StateError(
                f"rollout {other.rollout_id} is still {_words(ended.state)}.", next_step="Wait for its end."
            )
    store.save(rollout)
    note_in_audit(app.state_directory, "rollout start", rollout.rollout_id, "pending")
    return rollout


def ask_rollout(app: App, word: str, request: str) -> Rollout:
    """Have a rollout paused, aborted, kept where it stands or superseded, and return how it stands.

    Where another process drives it, that one does so at its next step; else it is done here.

    Raises:
        NotFoundError: there is no such rollout.
        StateError: that cannot happen now.
    """
    store = RolloutStore(app.state_directory)
    known = store.get(word)
    event = REQUESTS[request]
    moved(known, event, time.time())  # refused here, and not by a process that nobody sees
    try:
        with driving(store, known.rollout_id):
            known = store.get(known.rollout_id)
            done = moved(known, event, time.time(), f"somebody asked for it: {request}.")
            store.save(done)
    except BusyError:
        store.ask(known.rollout_id, request)
        return known
    note_in_audit(app.state_directory, f"rollout {request}", done.rollout_id, done.state.value)
    return done


def approve_rollout(app: App, word: str) -> Rollout:
    """Let the wave that waits begin, or a gate that cannot say count as passed; a failed gate cannot be approved.

    Raises:
        NotFoundError: there is no such rollout.
        StateError: it waits for nobody.
        BusyError: another process drives it.
    """
    return _let_go_on(app, word, RolloutEvent.APPROVE)


def resume_rollout(app: App, word: str) -> Rollout:
    """Return a rollout ready to be driven on: a paused one is no longer paused.

    Raises:
        NotFoundError: there is no such rollout.
        StateError: it is over, or waits for an approval.
        BusyError: another process drives it.
    """
    rollout = RolloutStore(app.state_directory).get(word)
    if rollout.state is RolloutState.PAUSED:
        return _let_go_on(app, rollout.rollout_id, RolloutEvent.RESUME)
    if rollout.over or rollout.state is RolloutState.AWAITING_APPROVAL:
        raise StateError(
            f"rollout {rollout.rollout_id} is {_words(rollout.state)}.",
            next_step=f"Approve it: edgeloop rollout approve {rollout.rollout_id}."
            if not rollout.over
            else "Start a new one: edgeloop rollout start PLAN.",
        )
    return rollout


def _let_go_on(app: App, word: str, event: RolloutEvent) -> Rollout:
    store = RolloutStore(app.state_directory)
    rollout_id = store.get(word).rollout_id
    with driving(store, rollout_id):
        rollout = store.get(rollout_id)
        done = moved(rollout, event, time.time())
        if event is RolloutEvent.APPROVE:
            done = replace(done, approved_wave=rollout.wave)
        store.save(done)
    note_in_audit(app.state_directory, f"rollout {event.value}", rollout_id, done.state.value)
    return done


def _words(state: RolloutState) -> str:
    return state.value.replace("_", " ")
