"""The API's queue: files are sent, experiments handed in, followed and called off."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any

from edgeloop_foundation.errors import DeadlineError, UnavailableError
from edgeloop_protocol.convert import from_json
from fastapi import APIRouter, Body, Query, Request
from starlette.requests import ClientDisconnect

from edgeloop.domain.queue import Submission
from edgeloop.interfaces.queue_rows import QueueNews, QueueRow, queue_row
from edgeloop.interfaces.web.access import Caller
from edgeloop.orchestrate.daemon import Daemon
from edgeloop.orchestrate.queue import QueueDesk
from edgeloop.store.uploads import Upload

__all__ = ["QueueRow", "queue_routes", "queue_row", "queue_rows"]

_WAIT_S_MAX = 20.0
_SILENCE_S_MAX = 60.0
_WRITE_BYTES = 1 << 20
_DIGESTS_MAX = 500

_EXAMPLE = {
    "on": ["sim:raspberry_pi_5"],
    "files": [
        {"path": "model/m.onnx", "digest": "64 hexadecimal digits of the SHA-256"},
        {"path": "data/d.npz", "digest": "of a file that was sent as well"},
    ],
    "request": {
        "model": "model/m.onnx",
        "data": "data/d.npz",
        "require": ["latency_p95 < 30ms"],
        "prefer": "size",
    },
    "priority": 0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """Files that are still to be sent."""

    digests: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A file that is here now."""

    digest: str
    size_bytes: int


async def queue_rows(desk: QueueDesk, limit: int) -> list[QueueRow]:
    """Return the rows of the queue, what was handed in last first."""
    return [queue_row(desk, entry) for entry in await asyncio.to_thread(desk.all, limit=limit)]


def queue_routes(daemon: Daemon) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/api/v1", tags=["queue"])
    _handing_in(routes, daemon.queue)
    _looking(routes, daemon.queue)
    return routes


def _handing_in(routes: APIRouter, desk: QueueDesk) -> None:
    @routes.post("/uploads/missing")
    async def missing_uploads(
        digests: Annotated[list[str], Body(embed=True, max_length=_DIGESTS_MAX)],
    ) -> Missing:
        """Say which files, by SHA-256, are not on the server yet; the others are kept for a day."""
        return Missing(digests=list(await asyncio.to_thread(desk.uploads.missing, digests)))

    @routes.put("/uploads/{digest}")
    async def put_upload(digest: str, request: Request) -> Received:
        """Take a file: its content is the body, its name its SHA-256. It is kept whole or not at all."""
        size = int(request.headers.get("content-length", "0"))
        with await asyncio.to_thread(desk.uploads.begin, digest, size) as upload:
            await _receive(request, upload)
        return Received(digest=digest, size_bytes=size)

    @routes.post("/experiments")
    async def submit(
        request: Request,
        tree: Annotated[dict[str, Any], Body(openapi_examples={"a model and its data": {"value": _EXAMPLE}})],
        queue_id: Annotated[
            str,
            Query(
                max_length=32, description="32 hexadecimal digits of the caller's own, to ask twice safely."
            ),
        ] = "",
    ) -> QueueRow:
        """Hand in an experiment, after its files were sent.

        "request" has the fields of ExperimentRequest; "model" and "data" are paths of "files". Nothing may name a
        function, in the model, the data or a recipe: it would run on the server. "on" has the words of --on, as the
        server's inventory knows them.
        """
        caller: Caller = request.state.caller
        if isinstance(tree.get("request"), dict):
            tree = {**tree, "request": {"devices": [], **tree["request"]}}
        entry = await desk.submit(await asyncio.to_thread(from_json, tree, Submission), caller.name, queue_id)
        return queue_row(desk, entry)

    @routes.delete("/queue/{queue_id}")
    async def cancel(queue_id: str, request: Request) -> QueueRow:
        """Call an experiment off, whether it waits or runs; one that runs gives its devices back first."""
        caller: Caller = request.state.caller
        return queue_row(desk, await desk.cancel(queue_id, caller.name))


async def _receive(request: Request, upload: Upload) -> None:
    """Write what is sent as it comes, in pieces that are worth a thread.

    Raises:
        UnavailableError: the sender went away.
        DeadlineError: nothing came for too long.
    """
    waiting = bytearray()
    stream = request.stream()
    try:
        while True:
            async with asyncio.timeout(_SILENCE_S_MAX):
                piece = await anext(stream, None)
            if piece is None:
                break
            waiting += piece
            if len(waiting) >= _WRITE_BYTES:
                await asyncio.to_thread(upload.write, bytes(waiting))
                waiting.clear()
    except ClientDisconnect as error:
        raise UnavailableError("the sender went away before the file was whole.") from error
    except TimeoutError as error:
        raise DeadlineError(f"nothing was sent for {_SILENCE_S_MAX:.0f} s.") from error
    await asyncio.to_thread(upload.write, bytes(waiting))
    await asyncio.to_thread(upload.keep)


def _looking(routes: APIRouter, desk: QueueDesk) -> None:
    @routes.get("/queue")
    async def list_queue(limit: Annotated[int, Query(ge=1, le=200)] = 50) -> list[QueueRow]:
        """List what was handed in, the last first."""
        return await queue_rows(desk, limit)

    @routes.get("/queue/{queue_id}")
    async def one_queued(queue_id: str) -> QueueRow:
        """Return one by its identifier in the queue, that of its latest experiment, or the beginning of it."""
        return queue_row(desk, await asyncio.to_thread(desk.get, queue_id))

    @routes.get("/queue/{queue_id}/events")
    async def queue_events(
        queue_id: str,
        after: Annotated[int, Query(ge=0, description="Answer when something happened after this.")] = 0,
        wait_s: Annotated[float, Query(ge=0, le=_WAIT_S_MAX)] = 0.0,
    ) -> QueueNews:
        """Return how it stands and what happened in it; waits for something new."""
        news = await desk.news(queue_id, after, wait_s)
        return QueueNews(
            entry=queue_row(desk, news.entry), happenings=news.happenings, sequence=news.sequence
        )
