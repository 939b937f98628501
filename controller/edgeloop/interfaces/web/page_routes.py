"""The pages for people: fleet, device, experiments, queue, models, rollouts, leases, audit."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

from edgeloop_protocol.convert import to_json
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from edgeloop.domain.registry import find_model
from edgeloop.interfaces.web.api_devices import alert_rows, device_page, find_look, page_query
from edgeloop.interfaces.web.api_queue import queue_rows
from edgeloop.interfaces.web.api_rollouts import AUDIT_ROWS, audit_page, rollout_row
from edgeloop.interfaces.web.pages import Pages, asset
from edgeloop.interfaces.web.views import SORTS, STATES, device_row, lease_rows
from edgeloop.orchestrate.daemon import Daemon

__all__ = ["page_routes"]

_DEVICES_A_PAGE, _ROWS_A_PAGE = 50, 50


def page_routes(daemon: Daemon, pages: Pages) -> APIRouter:
    """Return the routes; none of them is part of the API's description."""
    routes = APIRouter(include_in_schema=False)
    _fleet(routes, daemon, pages)
    _experiments(routes, daemon, pages)
    _models(routes, daemon, pages)
    _rollouts(routes, daemon, pages)

    @routes.get("/login")
    async def login(request: Request) -> Response:
        return pages.show(request, "login.html")

    @routes.get("/static/{name}")
    async def static(name: str) -> Response:
        return await asyncio.to_thread(asset, name)

    return routes


def _fleet(routes: APIRouter, daemon: Daemon, pages: Pages) -> None:
    @routes.get("/")
    async def fleet(
        request: Request,
        q: Annotated[str, Query(max_length=200)] = "",
        group: Annotated[str, Query(max_length=200)] = "",
        state: str = "",
        sort: str = "name",
        page: Annotated[int, Query(ge=1)] = 1,
    ) -> Response:
        query = page_query(q, group, state, sort)
        found = device_page(daemon, query, page, _DEVICES_A_PAGE)
        groups = sorted({name for look in daemon.watch.looks() for name in look.entry.groups})
        return pages.show(
            request, "fleet.html", found=found, query=query, groups=groups, states=STATES, sorts=SORTS
        )

    @routes.get("/devices/{name:path}")
    async def device(request: Request, name: str) -> Response:
        look = find_look(daemon, name)
        daemon.watch.want([name])
        overview = daemon.overview
        runs, alerts = await asyncio.gather(
            asyncio.to_thread(overview.runs, device=name, limit=_ROWS_A_PAGE),
            asyncio.to_thread(alert_rows, daemon, name),
        )
        return pages.show(
            request,
            "device.html",
            row=device_row(look),
            look=look,
            leases=lease_rows([look]),
            runs=runs,
            alerts=alerts,
        )

    @routes.get("/alerts")
    async def alerts(request: Request) -> Response:
        found = await asyncio.to_thread(alert_rows, daemon, resolved=True)
        return pages.show(request, "alerts.html", alerts=found, problems=daemon.collector.problems)

    @routes.get("/leases")
    async def leases(request: Request) -> Response:
        return pages.show(request, "leases.html", leases=lease_rows(daemon.watch.looks()))


def _experiments(routes: APIRouter, daemon: Daemon, pages: Pages) -> None:
    records = daemon.app.records

    @routes.get("/experiments")
    async def experiments(request: Request, before: float | None = None) -> Response:
        found = await asyncio.to_thread(daemon.overview.experiments, limit=_ROWS_A_PAGE, before_wall_s=before)
        more = found[-1].created_wall_s if len(found) == _ROWS_A_PAGE else None
        return pages.show(request, "experiments.html", experiments=found, more=more)

    @routes.get("/queue")
    async def queue(request: Request) -> Response:
        found = await queue_rows(daemon.queue, _ROWS_A_PAGE)
        url = f"{request.url.scheme}://{request.url.netloc}"
        return pages.show(request, "queue.html", rows=found, url=url)

    @routes.get("/experiments/{experiment_id}")
    async def experiment(request: Request, experiment_id: str) -> Response:
        from edgeloop.report.page import page_context

        def context() -> Mapping[str, Any]:
            return page_context(records.result(experiment_id), records.samples)

        return pages.show(request, "experiment.html", **await asyncio.to_thread(context))


def _models(routes: APIRouter, daemon: Daemon, pages: Pages) -> None:
    @routes.get("/models")
    async def models(request: Request) -> Response:
        found = await asyncio.to_thread(daemon.models)
        return pages.show(request, "models.html", models=found[::-1])

    @routes.get("/models/{word:path}")
    async def model(request: Request, word: str) -> Response:
        found = find_model(await asyncio.to_thread(daemon.models), word)
        return pages.show(request, "model.html", model=found)


def _rollouts(routes: APIRouter, daemon: Daemon, pages: Pages) -> None:
    @routes.get("/rollouts")
    async def rollouts(request: Request) -> Response:
        found = await asyncio.to_thread(daemon.rollouts.all)
        releases = await asyncio.to_thread(daemon.rollouts.releases)
        rows = [rollout_row(daemon, one) for one in reversed(found)]
        return pages.show(request, "rollouts.html", rollouts=rows, releases=releases)

    @routes.get("/rollouts/{rollout_id}")
    async def rollout(request: Request, rollout_id: str) -> Response:
        found = await asyncio.to_thread(daemon.rollouts.get, rollout_id)
        return pages.show(
            request,
            "rollout.html",
            row=rollout_row(daemon, found),
            rollout=found,
            gate=to_json(found.plan.gate),
        )

    @routes.get("/audit")
    async def audit(request: Request, before: int | None = None) -> Response:
        found = await asyncio.to_thread(audit_page, daemon, before, AUDIT_ROWS)
        more = found.entries[-1].get("number") if len(found.entries) == AUDIT_ROWS else None
        return pages.show(request, "audit.html", audit=found, more=more)
