"""The API's rollouts and the audit log."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from edgeloop_protocol.convert import to_json
from fastapi import APIRouter, Body, Query, Request

from edgeloop.domain.rollout import Rollout
from edgeloop.interfaces.web.access import Caller
from edgeloop.orchestrate.daemon import Daemon
from edgeloop.store.audit import AuditLog

__all__ = ["AUDIT_ROWS", "AuditPage", "RolloutRow", "audit_page", "rollout_routes", "rollout_row"]

AUDIT_ROWS = 100
_ROWS_MAX = 500

_EXAMPLE = {
    "release": "demo",
    "on": ["group=lab"],
    "waves": [{"name": "canary", "count": 1}, {"name": "rest", "rest": True, "approve": True}],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutRow:
    """One rollout in a list."""

    rollout_id: str
    release: str
    counter: int
    artifact_digest: str
    state: str
    #: Number of the wave at work, from 1, and how many there are.
    wave: int
    wave_count: int
    #: How many devices are in which phase.
    phase_counts: Mapping[str, int]
    reason: str
    started_wall_s: float
    since_wall_s: float
    #: Whether this daemon drives it.
    driven_here: bool
    #: Why it is not driven on although it is not over; empty otherwise.
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPage:
    """A page of the audit log, the last line first."""

    entries: list[dict[str, Any]]
    #: Why the log is broken; empty when every line follows from the one before it.
    problem: str


def rollout_row(daemon: Daemon, rollout: Rollout) -> RolloutRow:
    """Return the row of one rollout."""
    return RolloutRow(
        rollout_id=rollout.rollout_id,
        release=rollout.plan.release,
        counter=rollout.counter,
        artifact_digest=rollout.artifact_digest,
        state=rollout.state.value,
        wave=rollout.wave + 1,
        wave_count=len(rollout.plan.waves),
        phase_counts=Counter(device.phase.value for device in rollout.devices),
        reason=rollout.reason,
        started_wall_s=rollout.started_wall_s,
        since_wall_s=rollout.since_wall_s,
        driven_here=rollout.rollout_id in daemon.rollouts.driven(),
        problem=daemon.rollouts.problems.get(rollout.rollout_id, ""),
    )


def audit_page(daemon: Daemon, before: int | None, limit: int) -> AuditPage:
    """Return a page of the audit log."""
    log = AuditLog(daemon.app.state_directory / "audit.jsonl", lambda: 0.0)
    return AuditPage(entries=list(log.entries(limit=limit, before=before)), problem=daemon.audit_problem())


def rollout_routes(daemon: Daemon) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/api/v1")

    @routes.get("/rollouts", tags=["rollouts"])
    async def list_rollouts() -> list[RolloutRow]:
        """List rollouts, the newest first."""
        found = await asyncio.to_thread(daemon.rollouts.all)
        return [rollout_row(daemon, one) for one in reversed(found)]

    @routes.get("/rollouts/{rollout_id}", tags=["rollouts"])
    async def one_rollout(rollout_id: str) -> dict[str, Any]:
        """Return a rollout with its plan and every device, by its identifier or the name of its release."""
        tree: dict[str, Any] = to_json(await asyncio.to_thread(daemon.rollouts.get, rollout_id))
        return tree

    @routes.post("/rollouts", tags=["rollouts"])
    async def start_rollout(
        request: Request,
        plan: Annotated[
            dict[str, Any], Body(embed=True, openapi_examples={"one canary": {"value": {"plan": _EXAMPLE}}})
        ],
        supersede: Annotated[
            bool, Body(embed=True, description="Take the place of one of this release that is not over.")
        ] = False,
        dry_run: Annotated[
            bool, Body(embed=True, description="Say who comes in which wave and do nothing.")
        ] = False,
    ) -> dict[str, Any]:
        """Start a rollout, which the daemon drives; the plan has the keys of the file that the command line takes.

        "on" has the words of --on, as the server's inventory knows them.
        """
        caller: Caller = request.state.caller
        if dry_run:
            return to_json(await daemon.rollouts.lay_out(plan))
        return to_json(await daemon.rollouts.start(plan, caller.name, supersede=supersede))

    @routes.post("/rollouts/{rollout_id}/{verb}", tags=["rollouts"])
    async def act_on_rollout(
        rollout_id: str, verb: Literal["pause", "resume", "abort", "keep", "approve"], request: Request
    ) -> RolloutRow:
        """Pause a rollout, let it go on, take it back ("abort"), end it where it stands ("keep"), or approve its wave.

        What goes on is driven by the daemon.
        """
        caller: Caller = request.state.caller
        return rollout_row(daemon, await daemon.rollouts.act(rollout_id, verb, caller.name))

    @routes.get("/audit", tags=["audit"])
    async def list_audit(
        before: Annotated[
            int | None, Query(description="Number of the last line of the page before.")
        ] = None,
        limit: Annotated[int, Query(ge=1, le=_ROWS_MAX)] = AUDIT_ROWS,
    ) -> AuditPage:
        """List who did what, the last first, and whether the log is unbroken."""
        return await asyncio.to_thread(audit_page, daemon, before, limit)

    return routes
