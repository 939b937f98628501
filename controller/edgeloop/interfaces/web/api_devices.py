"""The API's devices, groups and leases."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from edgeloop_foundation.errors import InvalidInputError, NotFoundError
from edgeloop_protocol.convert import to_json
from fastapi import APIRouter, Query

from edgeloop.domain.plain_text import plain_text
from edgeloop.domain.telemetry import Series
from edgeloop.interfaces.web.views import (
    SORTS,
    STATES,
    DeviceQuery,
    DeviceRow,
    LeaseRow,
    device_row,
    lease_rows,
    matching,
    state_of,
)
from edgeloop.orchestrate.daemon import Daemon
from edgeloop.orchestrate.fleet_watch import DeviceLook, Moment
from edgeloop.orchestrate.telemetry import look as look_back

__all__ = ["DevicePage", "alert_rows", "device_page", "device_routes", "find_look", "page_query"]

_PAGE_ROWS_MAX = 200
_WANTED_ROWS_MAX = 100
"""A page of more rows is not looked at more often: that would be a load on the fleet, and nobody reads it."""
_WAIT_S_MAX = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePage:
    """A page of devices."""

    devices: list[DeviceRow]
    #: How many meet the query, over all pages.
    total_count: int
    page: int
    page_count: int
    #: How many of the whole fleet stand how.
    state_counts: Mapping[str, int]
    #: Number of the newest look, for ``after`` of the next question.
    sequence: int
    #: The controller's clock at the answer, seconds since 1970.
    now_s: float
    #: Why the inventory could not be read last; empty when it was.
    inventory_problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceDetail:
    """One device whole; what it did not tell is null."""

    device: DeviceRow
    leases: list[LeaseRow]
    #: What it found out about itself.
    facts: dict[str, Any] | None
    #: The last look, every sensor with it.
    vitals: dict[str, Any] | None
    deployments: list[dict[str, Any]] | None
    serving: list[dict[str, Any]]
    now_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The last looks at a device, the oldest first."""

    moments: list[Moment]
    sequence: int
    now_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRow:
    """One alert."""

    rule: str
    device: str
    shown: str
    #: What of the device; empty for the device as a whole.
    subject: str
    #: "open" or "resolved".
    state: str
    message: str
    #: Where it is written what to do.
    runbook: str
    opened_s: float
    seen_s: float
    resolved_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRow:
    """One group of devices."""

    name: str
    device_count: int
    state_counts: Mapping[str, int]


def page_query(text: str, group: str, state: str, sort: str) -> DeviceQuery:
    """Return a query over devices.

    Raises:
        InvalidInputError: an unknown state or order.
    """
    if state and state not in STATES:
        raise InvalidInputError(f"a device is {', '.join(STATES)}, not {state[:40]!r}.")
    if sort.removeprefix("-") not in SORTS:
        raise InvalidInputError(f"devices are sorted by {', '.join(SORTS)}, not {sort[:40]!r}.")
    return DeviceQuery(text=text, group=group, state=state, sort=sort)


def find_look(daemon: Daemon, name: str) -> DeviceLook:
    """Return what was seen last of a device.

    Raises:
        NotFoundError: there is none of that name.
    """
    look = daemon.watch.look(name)
    if look is None:
        raise NotFoundError(f"there is no device {name[:80]!r}.", next_step="List them: GET /api/v1/devices.")
    return look


def alert_rows(daemon: Daemon, device: str = "", *, resolved: bool = False) -> list[AlertRow]:
    """Return alerts, the newest first; of one device where it is named."""
    kept = daemon.app.telemetry().alerts
    found = kept.history() if resolved else kept.open_alerts()
    return [
        AlertRow(
            rule=alert.rule.value,
            device=alert.device,
            shown=plain_text(alert.device, 120),
            subject=plain_text(alert.subject, 120),
            state=alert.state.value,
            message=plain_text(alert.message),
            runbook=alert.runbook,
            opened_s=alert.opened_s,
            seen_s=alert.seen_s,
            resolved_s=alert.resolved_s,
        )
        for alert in found
        if not device or alert.device == device
    ]


def device_page(daemon: Daemon, query: DeviceQuery, page: int, size: int) -> DevicePage:
    """Return a page of devices as they are; those on it are looked at more often for some seconds."""
    looks = daemon.watch.looks()
    found = matching(looks, query)
    page_count = max(1, -(-len(found) // size))
    page = max(1, min(page, page_count))
    shown = found[(page - 1) * size : page * size]
    if len(shown) <= _WANTED_ROWS_MAX:
        daemon.watch.want(look.name for look in shown)
    return DevicePage(
        devices=[device_row(look) for look in shown],
        total_count=len(found),
        page=page,
        page_count=page_count,
        state_counts=Counter(state_of(look) for look in looks),
        sequence=daemon.watch.sequence,
        now_s=time.time(),
        inventory_problem=daemon.inventory_problem,
    )


def device_routes(daemon: Daemon) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/api/v1", tags=["devices"])
    _listing(routes, daemon)
    # Before the route of a device itself, whose name may hold slashes.
    _over_time(routes, daemon)
    _single(routes, daemon)
    return routes


def _listing(routes: APIRouter, daemon: Daemon) -> None:
    @routes.get("/devices")
    async def list_devices(
        q: Annotated[
            str, Query(max_length=200, description="Part of a name, label, group, board or holder.")
        ] = "",
        group: Annotated[str, Query(max_length=200)] = "",
        state: Annotated[str, Query(description="One of: " + ", ".join(STATES))] = "",
        sort: Annotated[
            str, Query(description="One of: " + ", ".join(SORTS) + "; with - in front backwards.")
        ] = "name",
        page: Annotated[int, Query(ge=1)] = 1,
        size: Annotated[int, Query(ge=1, le=_PAGE_ROWS_MAX)] = 50,
        after: Annotated[
            int | None, Query(description="Answer when one of the page was looked at after this.")
        ] = None,
        wait_s: Annotated[float, Query(ge=0, le=_WAIT_S_MAX)] = 5.0,
    ) -> DevicePage:
        """List the devices of the fleet as they were seen last."""
        query = page_query(q, group, state, sort)
        found = device_page(daemon, query, page, size)
        if after is not None and found.devices:
            await daemon.watch.changed([row.name for row in found.devices], after, wait_s)
            found = device_page(daemon, query, page, size)
        return found

    @routes.get("/groups")
    async def list_groups() -> list[GroupRow]:
        """List the groups of devices."""
        groups: dict[str, Counter[str]] = {}
        for look in daemon.watch.looks():
            for group in look.entry.groups:
                groups.setdefault(group, Counter())[state_of(look)] += 1
        return [
            GroupRow(name=name, device_count=counts.total(), state_counts=counts)
            for name, counts in sorted(groups.items())
        ]

    @routes.get("/leases")
    async def list_leases() -> list[LeaseRow]:
        """List who has a device, and who waits for one in which place."""
        return lease_rows(daemon.watch.looks())


def _single(routes: APIRouter, daemon: Daemon) -> None:
    @routes.get("/devices/{name:path}/history")
    async def device_history(
        name: str, after: int | None = None, wait_s: Annotated[float, Query(ge=0, le=_WAIT_S_MAX)] = 5.0
    ) -> History:
        """Return the last looks at a device that it answered."""
        find_look(daemon, name)
        daemon.watch.want([name])
        if after is not None:
            await daemon.watch.changed([name], after, wait_s)
        return History(
            moments=list(daemon.watch.history(name)),
            sequence=find_look(daemon, name).sequence,
            now_s=time.time(),
        )

    @routes.get("/devices/{name:path}")
    async def one_device(name: str) -> DeviceDetail:
        """Return everything that is known of a device now."""
        look = find_look(daemon, name)
        daemon.watch.want([name])
        return DeviceDetail(
            device=device_row(look),
            leases=lease_rows([look]),
            facts=to_json(look.facts) if look.facts else None,
            vitals=to_json(look.vitals) if look.vitals else None,
            deployments=None if look.deployments is None else [to_json(one) for one in look.deployments],
            serving=[to_json(one) for one in look.serving],
            now_s=time.time(),
        )


def _over_time(routes: APIRouter, daemon: Daemon) -> None:
    @routes.get("/devices/{name:path}/series")
    async def device_series(
        name: str,
        since_s: Annotated[
            float, Query(gt=0, le=90 * 86_400, description="Length of the window up to now.")
        ] = 3600.0,
        steps: Annotated[int, Query(ge=1, le=1000)] = 120,
    ) -> list[Series]:
        """Return what was collected from a device, each quantity over a window; steps without a sample are left out."""
        find_look(daemon, name)

        def read() -> list[Series]:
            try:
                shown = look_back(daemon.app, name, now_s=time.time(), since_s=since_s, steps=steps)
            except NotFoundError:
                return []  # nothing was collected yet
            return [*shown.series, *shown.served_series]

        return await asyncio.to_thread(read)

    @routes.get("/devices/{name:path}/telemetry")
    async def device_telemetry(
        name: str,
        since_s: Annotated[
            float, Query(gt=0, le=90 * 86_400, description="Length of the window up to now.")
        ] = 3600.0,
        steps: Annotated[int, Query(ge=1, le=1000)] = 12,
    ) -> dict[str, Any]:
        """Return what was collected from a device: its newest sample, series, what it served, bytes by day."""
        now_s = time.time()
        shown = await asyncio.to_thread(
            look_back, daemon.app, name, now_s=now_s, since_s=since_s, steps=steps
        )
        return to_json(shown)

    @routes.get("/alerts", tags=["alerts"])
    async def list_alerts(
        resolved: Annotated[bool, Query(description="Resolved ones as well, the latest 100.")] = False,
        device: Annotated[str, Query(max_length=255)] = "",
    ) -> list[AlertRow]:
        """List alerts, the newest first."""
        return await asyncio.to_thread(alert_rows, daemon, device, resolved=resolved)
