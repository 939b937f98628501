"""What stands before every call: admission, the limit on calls at once, and errors turned into status codes.

The library's own limit refuses calls blindly. Ours leaves a lane free for the calls that get a busy agent out
of trouble: health, cancel, heartbeat and release. Those who queue for the device have a lane of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import grpc
from edgeloop_foundation.errors import (
    BusyError,
    CorruptDataError,
    EdgeloopError,
    InternalError,
    UnsupportedError,
)
from edgeloop_protocol.errors import status_for

from edgeloop_agent.access.admission import Access, revocation
from edgeloop_agent.access.peer import Context

__all__ = ["ORDINARY_CALLS_MAX", "RESERVED_CALLS_MAX", "WAITING_CALLS_MAX", "Context", "Gate"]

ORDINARY_CALLS_MAX = 16
"""Calls at once, streams included."""

RESERVED_CALLS_MAX = 8
"""Further calls at once that only the reserved methods may take."""

WAITING_CALLS_MAX = 32
"""Further calls at once that only those who ask for the device may take: waiting must not keep the holder out."""

_WAITING = "/edgeloop.v1.LeaseService/Acquire"

_RESERVED = frozenset(
    {
        "/grpc.health.v1.Health/Check",
        "/edgeloop.v1.JobService/Cancel",
        "/edgeloop.v1.LeaseService/Renew",
        "/edgeloop.v1.LeaseService/Release",
    }
)

_MESSAGE_LENGTH_MAX = 2000

_log = logging.getLogger(__name__)

Handler = Callable[[Any, Context], Any]


def _known(error: Exception) -> EdgeloopError:
    """Return the error that the client is told."""
    if isinstance(error, EdgeloopError):
        return error
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return BusyError("the device's disk is full.", next_step="Free space on the device.")
    if isinstance(error, OSError) and error.errno in (errno.EIO, errno.EROFS):
        return CorruptDataError(f"the device's disk failed: {error}.", next_step="Check its storage.")
    if isinstance(error, NotImplementedError):
        return UnsupportedError("this agent does not offer that method.")
    _log.error("a call failed", exc_info=error)
    return InternalError(
        f"the agent failed with {type(error).__name__}.", next_step="Its log on the device has the details."
    )


class Gate(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # not generic when it runs
    """Admits calls, counts them and translates their errors."""

    def __init__(self, access: Access, ordinary_calls_max: int = ORDINARY_CALLS_MAX) -> None:
        self._access = access
        self._limit = ordinary_calls_max
        self._count = 0
        self._waiting_count = 0
        self._wrapped: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Return the method's handler behind this gate."""
        method = handler_call_details.method
        if method not in self._wrapped:
            handler: grpc.RpcMethodHandler[Any, Any] | None = await continuation(handler_call_details)
            if handler is None:
                # Nobody serves this method; the library says so.
                return None
            self._wrapped[method] = self._wrap(handler, method)
        return self._wrapped[method]

    def _wrap(self, handler: grpc.RpcMethodHandler[Any, Any], method: str) -> grpc.RpcMethodHandler[Any, Any]:
        kinds = (
            ("unary_unary", grpc.unary_unary_rpc_method_handler),
            ("unary_stream", grpc.unary_stream_rpc_method_handler),
            ("stream_unary", grpc.stream_unary_rpc_method_handler),
            ("stream_stream", grpc.stream_stream_rpc_method_handler),
        )
        for name, make in kinds:
            if (inner := getattr(handler, name)) is not None:
                generates = inspect.isasyncgenfunction(inner)
                guarded = self._generator(inner, method) if generates else self._call(inner, method)
                return make(guarded, handler.request_deserializer, handler.response_serializer)
        raise InternalError("a method has no handler.")

    @contextlib.contextmanager
    def _slot(self, method: str) -> Iterator[None]:
        if method in _RESERVED:
            yield
            return
        if method == _WAITING:
            with self._waiting_slot():
                yield
            return
        if self._count >= self._limit:
            raise BusyError(
                f"the agent serves {self._limit} calls at once already.", next_step="Try again in a moment."
            )
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1

    @contextlib.contextmanager
    def _waiting_slot(self) -> Iterator[None]:
        if self._waiting_count >= WAITING_CALLS_MAX:
            raise BusyError(f"{WAITING_CALLS_MAX} clients ask for the device.", next_step="Try again later.")
        self._waiting_count += 1
        try:
            yield
        finally:
            self._waiting_count -= 1

    @contextlib.contextmanager
    def _entered(self, method: str, context: Context) -> Iterator[None]:
        """Admit a call and give it a slot; an interruption by revocation becomes its error."""
        with self._access.admitted(method, context) as admission, self._slot(method):
            try:
                yield
            except asyncio.CancelledError:
                if not admission.revoked:
                    raise
                _go_on_after_cancel()
                raise revocation(admission.peer) from None

    def _call(self, inner: Handler, method: str) -> Handler:
        async def guarded(request: Any, context: Context) -> Any:
            try:
                with self._entered(method, context):
                    return await inner(request, context)
            except (grpc.aio.AbortError, asyncio.CancelledError):
                raise
            except Exception as error:
                return await _abort(context, error)

        return guarded

    def _generator(self, inner: Handler, method: str) -> Handler:
        # Written here and not by the library: an interruption must find its way in while a slow reader is waited for.
        async def written(request: Any, context: Context) -> None:
            async with contextlib.aclosing(inner(request, context)) as answers:
                async for answer in answers:
                    await context.write(answer)

        return self._call(written, method)


def _go_on_after_cancel() -> None:
    """Take the cancellation back, so that the task may still say why it ended."""
    task = asyncio.current_task()
    if task is not None and hasattr(task, "uncancel"):  # Python 3.11; older tasks keep no count
        task.uncancel()


async def _abort(context: Context, error: Exception) -> None:
    known = _known(error)
    await context.abort(status_for(known), str(known)[:_MESSAGE_LENGTH_MAX])
