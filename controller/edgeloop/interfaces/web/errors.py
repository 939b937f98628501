"""Errors over HTTP: one JSON form, one table of status codes."""

from __future__ import annotations

from edgeloop_foundation import errors as e
from starlette.responses import JSONResponse

__all__ = ["error_response", "status_of"]

_STATUS: tuple[tuple[type[e.EdgeloopError], int], ...] = (
    (e.InvalidInputError, 400),
    (e.UnauthenticatedError, 401),
    (e.AccessDeniedError, 403),
    (e.NotFoundError, 404),
    (e.AlreadyExistsError, 409),
    (e.StateError, 409),
    (e.BusyError, 503),
    (e.UnavailableError, 503),
    (e.DeadlineError, 504),
    (e.UnsupportedError, 501),
    (e.MissingDependencyError, 501),
)


def status_of(error: e.EdgeloopError) -> int:
    """Return the status code of an error; 500 for damage and for faults of our own."""
    return next((code for kind, code in _STATUS if isinstance(error, kind)), 500)


def error_response(error: e.EdgeloopError) -> JSONResponse:
    """Return the answer that tells an error: its kind, its sentence and the next step."""
    kind = type(error).__name__
    status = status_of(error)
    headers = {"www-authenticate": 'Bearer realm="edgeloop"'} if status == 401 else None
    tree = {"error": {"kind": kind, "message": error.message, "next_step": error.next_step}}
    return JSONResponse(tree, status_code=status, headers=headers)
