"""The API's experiments, runs, artifacts, models and tags."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any

from edgeloop_foundation.errors import NotFoundError
from edgeloop_protocol.convert import to_json
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from edgeloop.domain.registry import RegisteredModel, find_model
from edgeloop.interfaces.web.access import Caller
from edgeloop.orchestrate.daemon import Daemon
from edgeloop.orchestrate.registry import tag_artifact, untag_artifact
from edgeloop.store.overview import PAGE_ROWS_MAX, RunRow
from edgeloop.store.records import ExperimentSummary

__all__ = ["record_routes"]

Limit = Annotated[int, Query(ge=1, le=PAGE_ROWS_MAX)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tagged:
    """A tag and the artifact that it stands for, or stood for."""

    tag: str
    artifact_digest: str


def record_routes(daemon: Daemon) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/api/v1")
    _experiments(routes, daemon)
    _artifacts(routes, daemon)
    _models(routes, daemon)
    return routes


def _experiments(routes: APIRouter, daemon: Daemon) -> None:
    records = daemon.app.records
    overview = daemon.overview

    @routes.get("/experiments", tags=["experiments"])
    async def list_experiments(
        limit: Limit = 50,
        before_wall_s: Annotated[
            float | None, Query(description="Of the last row of the page before.")
        ] = None,
    ) -> list[ExperimentSummary]:
        """List experiments, the newest first."""
        return list(await asyncio.to_thread(overview.experiments, limit=limit, before_wall_s=before_wall_s))

    @routes.get("/experiments/{experiment_id}", tags=["experiments"])
    async def one_experiment(experiment_id: str) -> dict[str, Any]:
        """Return an experiment as it ended, by its identifier, the beginning of it, or "latest"."""
        result = await asyncio.to_thread(records.result, experiment_id)
        tree: dict[str, Any] = to_json(result)
        return tree

    @routes.get("/runs", tags=["experiments"])
    async def list_runs(
        device: Annotated[str, Query(max_length=255)] = "",
        experiment: Annotated[str, Query(max_length=64)] = "",
        artifact: Annotated[str, Query(max_length=64)] = "",
        before: Annotated[int | None, Query(description="Number of the last row of the page before.")] = None,
        limit: Limit = 50,
    ) -> list[RunRow]:
        """List runs, failed ones included, the last one appended first."""
        found = await asyncio.to_thread(
            overview.runs, device=device, experiment=experiment, artifact=artifact, before=before, limit=limit
        )
        return list(found)

    @routes.get("/runs/{run_id}", tags=["experiments"])
    async def one_run(run_id: str) -> dict[str, Any]:
        """Return a run whole."""
        tree: dict[str, Any] = to_json(await asyncio.to_thread(records.run, run_id))
        return tree

    @routes.get("/samples/{digest}", tags=["experiments"], response_class=Response)
    async def run_samples(digest: str) -> Response:
        """Return the raw samples of a run by their SHA-256: little-endian int64, nanoseconds."""
        data = await asyncio.to_thread(records.samples, digest)
        if data is None:
            raise NotFoundError(f"no samples {digest[:64]!r} are kept here.")
        return Response(data, media_type="application/octet-stream")


def _artifacts(routes: APIRouter, daemon: Daemon) -> None:
    artifacts = daemon.app.artifacts

    @routes.get("/artifacts", tags=["models"])
    async def list_artifacts() -> list[str]:
        """List the digests of all kept artifacts, the oldest first."""
        return list(await asyncio.to_thread(artifacts.digests))

    @routes.get("/artifacts/{digest}", tags=["models"])
    async def one_artifact(digest: str) -> dict[str, Any]:
        """Return the manifest of an artifact; the beginning of its digest is enough."""

        def read() -> dict[str, Any]:
            whole = artifacts.find(digest)
            return {"digest": whole, "manifest": to_json(artifacts.manifest(whole))}

        return await asyncio.to_thread(read)


def _models(routes: APIRouter, daemon: Daemon) -> None:
    @routes.get("/models", tags=["models"])
    async def list_models() -> list[RegisteredModel]:
        """List the registry: each model with its versions, where they serve, and how often they were run."""
        return list(await asyncio.to_thread(daemon.models))

    @routes.get("/models/{word:path}", tags=["models"])
    async def one_model(word: str) -> RegisteredModel:
        """Return the model of a name, a tag, or the beginning of a digest."""
        return find_model(await asyncio.to_thread(daemon.models), word)

    @routes.put("/tags/{tag}", tags=["models"])
    async def put_tag(tag: str, artifact: str, request: Request) -> Tagged:
        """Let a tag stand for a kept artifact."""
        digest = await asyncio.to_thread(tag_artifact, daemon.app, artifact, tag, _who(request))
        return Tagged(tag=tag, artifact_digest=digest)

    @routes.delete("/tags/{tag}", tags=["models"])
    async def delete_tag(tag: str, request: Request) -> Tagged:
        """Forget a tag."""
        digest = await asyncio.to_thread(untag_artifact, daemon.app, tag, _who(request))
        return Tagged(tag=tag, artifact_digest=digest)


def _who(request: Request) -> str:
    caller: Caller = request.state.caller
    return caller.name
