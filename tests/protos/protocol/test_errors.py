"""The one table between errors and status codes."""

from __future__ import annotations

import grpc
import pytest
from edgeloop_foundation import errors
from edgeloop_protocol.errors import error_for, status_for

_KINDS = [
    getattr(errors, name)
    for name in errors.__all__
    if name not in ("EdgeloopError", "MissingDependencyError")
]
_CODES = [status_for(kind("x")) for kind in _KINDS]


@pytest.mark.parametrize("kind", _KINDS, ids=lambda kind: kind.__name__)
def test_an_error_comes_back_as_what_it_was(kind: type[errors.EdgeloopError]) -> None:
    error = kind("the thing is wrong.", next_step="Do better.")
    received = error_for(status_for(error), str(error))
    assert type(received) is kind
    assert str(received) == "the thing is wrong. Do better."


def test_every_error_has_a_code_of_its_own() -> None:
    assert len(set(_CODES)) == len(_KINDS)
    assert grpc.StatusCode.OK not in _CODES


@pytest.mark.parametrize("code", [c for c in grpc.StatusCode if c not in _CODES], ids=lambda code: code.name)
def test_other_codes_are_our_own_fault_and_say_which(code: grpc.StatusCode) -> None:
    received = error_for(code, "something")
    assert type(received) is errors.InternalError
    assert str(received) == f"{code.name}: something"


def test_a_package_missing_on_the_device_is_unsupported_for_the_other_side() -> None:
    assert status_for(errors.MissingDependencyError("x")) is grpc.StatusCode.UNIMPLEMENTED
    assert type(error_for(grpc.StatusCode.UNIMPLEMENTED, "x")) is errors.UnsupportedError


@pytest.mark.parametrize(
    "error", [KeyError("x"), OSError(28, "x"), ValueError("x"), errors.EdgeloopError("x")]
)
def test_anything_else_is_internal(error: Exception) -> None:
    assert status_for(error) is grpc.StatusCode.INTERNAL


def test_a_lease_error_is_not_taken_for_its_parent() -> None:
    assert status_for(errors.LeaseError("x")) is not status_for(errors.StateError("x"))


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_is_drawn_in_the_tree(name: str) -> None:
    assert name in (errors.__doc__ or "")
    kind = getattr(errors, name)
    assert issubclass(kind, errors.EdgeloopError)
    if kind is not errors.EdgeloopError:
        assert len(kind.__mro__) > 4, "it also inherits the built-in that fits"
