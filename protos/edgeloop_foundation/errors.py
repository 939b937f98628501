"""One root error; every subclass also inherits the built-in that fits.

::

    EdgeloopError
    ├── InvalidInputError (ValueError)        the caller gave something that cannot be used
    ├── NotFoundError (LookupError)           the named thing does not exist
    ├── AlreadyExistsError (ValueError)       the name or request id is taken by something else
    ├── StateError (RuntimeError)             right request, wrong moment
    │   └── LeaseError                        no lease, an expired lease, or a stale fencing token
    ├── BusyError (RuntimeError)              a resource is used up: device, disk, memory, quota
    ├── UnavailableError (ConnectionError)    the other side cannot be reached now
    ├── DeadlineError (TimeoutError)          it took longer than allowed
    ├── AccessDeniedError (PermissionError)   known, but not allowed
    ├── UnauthenticatedError (PermissionError) not known
    ├── CancelledByUserError (RuntimeError)   somebody asked for it to stop
    ├── CorruptDataError (ValueError)         stored bytes do not match their digest
    ├── UnsupportedError (NotImplementedError) this device, runtime or format cannot do it
    ├── MissingDependencyError (ImportError)  an optional package is not installed
    └── InternalError (RuntimeError)          our own fault

A message names the thing, what was found and what was expected; ``next_step`` says what to do about it.
"""

from __future__ import annotations

__all__ = [
    "AccessDeniedError",
    "AlreadyExistsError",
    "BusyError",
    "CancelledByUserError",
    "CorruptDataError",
    "DeadlineError",
    "EdgeloopError",
    "InternalError",
    "InvalidInputError",
    "LeaseError",
    "MissingDependencyError",
    "NotFoundError",
    "StateError",
    "UnauthenticatedError",
    "UnavailableError",
    "UnsupportedError",
]


class EdgeloopError(Exception):
    """Root of every error that edgeloop raises on purpose."""

    def __init__(self, message: str, *, next_step: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.message} {self.next_step}".strip() if self.next_step else self.message


class InvalidInputError(EdgeloopError, ValueError):
    """The caller gave something that cannot be used; retrying the same will not help."""


class NotFoundError(EdgeloopError, LookupError):
    """The named thing does not exist."""


class AlreadyExistsError(EdgeloopError, ValueError):
    """The name or the request id already belongs to something else."""


class StateError(EdgeloopError, RuntimeError):
    """The request is right but the state does not allow it now."""


class LeaseError(StateError):
    """The lease is missing, expired, or its fencing token is stale."""


class BusyError(EdgeloopError, RuntimeError):
    """A resource is used up: the device, its disk, its memory or a quota."""


class UnavailableError(EdgeloopError, ConnectionError):
    """The other side cannot be reached now; trying again may help."""


class DeadlineError(EdgeloopError, TimeoutError):
    """The operation took longer than it was allowed to."""


class AccessDeniedError(EdgeloopError, PermissionError):
    """The caller is known but not allowed to do this."""


class UnauthenticatedError(EdgeloopError, PermissionError):
    """The caller did not prove who it is."""


class CancelledByUserError(EdgeloopError, RuntimeError):
    """Somebody asked for the operation to stop."""


class CorruptDataError(EdgeloopError, ValueError):
    """Stored or received bytes do not match their digest."""


class UnsupportedError(EdgeloopError, NotImplementedError):
    """This device, runtime, format or version cannot do what was asked."""


class MissingDependencyError(EdgeloopError, ImportError):
    """An optional package is not installed."""


class InternalError(EdgeloopError, RuntimeError):
    """A fault of edgeloop itself."""
