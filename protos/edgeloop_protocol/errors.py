"""The one table between errors and gRPC status codes."""

from __future__ import annotations

import grpc
from edgeloop_foundation import errors as e

__all__ = ["error_for", "status_for"]

_STATUS: tuple[tuple[type[e.EdgeloopError], grpc.StatusCode], ...] = (
    (e.InvalidInputError, grpc.StatusCode.INVALID_ARGUMENT),
    (e.NotFoundError, grpc.StatusCode.NOT_FOUND),
    (e.AlreadyExistsError, grpc.StatusCode.ALREADY_EXISTS),
    (e.LeaseError, grpc.StatusCode.ABORTED),
    (e.StateError, grpc.StatusCode.FAILED_PRECONDITION),
    (e.BusyError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (e.UnavailableError, grpc.StatusCode.UNAVAILABLE),
    (e.DeadlineError, grpc.StatusCode.DEADLINE_EXCEEDED),
    (e.AccessDeniedError, grpc.StatusCode.PERMISSION_DENIED),
    (e.UnauthenticatedError, grpc.StatusCode.UNAUTHENTICATED),
    (e.CancelledByUserError, grpc.StatusCode.CANCELLED),
    (e.CorruptDataError, grpc.StatusCode.DATA_LOSS),
    (e.UnsupportedError, grpc.StatusCode.UNIMPLEMENTED),
    # One way only: the other side cannot install it, so to it this is a thing the device cannot do.
    (e.MissingDependencyError, grpc.StatusCode.UNIMPLEMENTED),
    (e.InternalError, grpc.StatusCode.INTERNAL),
)


def status_for(error: BaseException) -> grpc.StatusCode:
    """Return the status code under which ``error`` travels; INTERNAL for anything unknown."""
    for kind, code in _STATUS:
        if isinstance(error, kind):
            return code
    return grpc.StatusCode.INTERNAL


def error_for(code: grpc.StatusCode, message: str) -> e.EdgeloopError:
    """Return the error that a status received from the wire stands for."""
    for kind, known in _STATUS:
        if known is code:
            return kind(message)
    return e.InternalError(f"{code.name}: {message}")
