"""Puts the front together: routes, errors, and the gate before all of them."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from edgeloop_foundation.errors import EdgeloopError, InvalidInputError, UnauthenticatedError
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp

from edgeloop import __version__
from edgeloop.interfaces.web.access import Access, Caller, Gate
from edgeloop.interfaces.web.api_devices import device_routes
from edgeloop.interfaces.web.api_queue import queue_routes
from edgeloop.interfaces.web.api_records import record_routes
from edgeloop.interfaces.web.api_rollouts import rollout_routes
from edgeloop.interfaces.web.errors import error_response, status_of
from edgeloop.interfaces.web.metrics import (
    CONTENT_TYPE,
    Family,
    alert_families,
    exposition,
    fleet_families,
    record_families,
    targets,
)
from edgeloop.interfaces.web.page_routes import page_routes
from edgeloop.interfaces.web.pages import Pages
from edgeloop.orchestrate.daemon import Daemon

__all__ = ["build"]

_ABOUT = (
    "Looks at the fleet, its records, models and rollouts, and runs experiments in a queue. "
    "Reading needs the observer's token or certificate, changing the operator's."
)


def build(daemon: Daemon, access: Access) -> ASGIApp:
    """Return the whole front of a daemon."""
    app = FastAPI(
        title="edgeloop",
        version=__version__,
        description=_ABOUT,
        openapi_url="/api/v1/openapi.json",
        # Its pages would fetch scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
    )
    pages = Pages(daemon, access)
    app.include_router(device_routes(daemon))
    app.include_router(queue_routes(daemon))
    app.include_router(record_routes(daemon))
    app.include_router(rollout_routes(daemon))
    app.include_router(_session_routes(access))
    app.include_router(_monitoring_routes(daemon))
    app.include_router(page_routes(daemon, pages))
    _answer_errors(app, pages)
    return Gate(app, access)


def _answer_errors(app: FastAPI, pages: Pages) -> None:
    def answer(request: Request, error: EdgeloopError) -> Response:
        if "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/api/"):
            return pages.error(request, error, status_of(error))
        return error_response(error)

    async def ours(request: Request, error: Exception) -> Response:
        if not isinstance(error, EdgeloopError):
            raise error
        return answer(request, error)

    async def invalid(request: Request, error: Exception) -> Response:
        if not isinstance(error, RequestValidationError):
            raise error
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"][1:])
        return answer(request, InvalidInputError(f"{where}: {first['msg']}."))

    async def http(request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        kind = "NotFoundError" if error.status_code == 404 else "InvalidInputError"
        tree = {"error": {"kind": kind, "message": f"{error.detail}.", "next_step": ""}}
        return JSONResponse(tree, status_code=error.status_code, headers=error.headers)

    app.add_exception_handler(EdgeloopError, ours)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)


def _session_routes(access: Access) -> APIRouter:
    routes = APIRouter(prefix="/api/v1", tags=["session"])

    @routes.post("/session")
    async def begin_session(request: Request) -> JSONResponse:
        """Give a browser a cookie for the token that it sends as Authorization: Bearer."""
        caller: Caller | None = request.state.caller
        if caller is None or caller.ambient or "authorization" not in request.headers:
            raise UnauthenticatedError(
                "this token is not known here.",
                next_step="The tokens stand in the files of serve/ in the controller's home.",
            )
        response = JSONResponse({"role": caller.role.value})
        access.give(response, caller.role)
        return response

    @routes.delete("/session")
    async def end_session() -> JSONResponse:
        """Have the browser forget its cookie."""
        response = JSONResponse({})
        access.take(response)
        return response

    return routes


def _monitoring_routes(daemon: Daemon) -> APIRouter:
    routes = APIRouter(tags=["monitoring"])
    overview = daemon.overview
    begun_s = time.time()

    @routes.get("/healthz", response_class=PlainTextResponse)
    async def health() -> str:
        """Say that the daemon answers; needs no token and tells nothing else."""
        return "ok\n"

    @routes.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Return every metric as Prometheus text."""
        looks = daemon.watch.looks()
        counts, rollouts, problem, alerts = await asyncio.gather(
            asyncio.to_thread(overview.run_counts),
            asyncio.to_thread(daemon.rollouts.all),
            asyncio.to_thread(daemon.audit_problem),
            asyncio.to_thread(lambda: daemon.app.telemetry().alerts.open_alerts()),
        )
        started = Family("edgeloop_start_time_seconds", "When the daemon began, seconds since 1970.")
        started.add({}, begun_s)
        own = record_families(counts, rollouts, problem)
        text = exposition([started, *fleet_families(looks), *own, *alert_families(alerts)])
        return Response(text, media_type=CONTENT_TYPE)

    @routes.get("/api/v1/prometheus/targets")
    async def prometheus_targets(request: Request) -> list[dict[str, Any]]:
        """Return what Prometheus is to scrape, for its HTTP service discovery (http_sd_configs)."""
        return targets(daemon.watch.looks(), request.headers.get("host", ""), request.url.scheme)

    return routes
