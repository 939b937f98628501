"""A request of the Open Inference Protocol, taken apart so that its tensors stay where the wire has put them.

The library for messages copies raw contents twice, into a message and out of it again. Both copies find nothing in the
processor's caches, from which the run before has pushed everything: they cost more than all the rest of a request.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from edgeloop_protocol.v1 import open_inference_grpc_pb2 as pb
from edgeloop_protocol.wire_format import fields_of, tag_of

A = TypeVar("A")
M = TypeVar("M")
T = TypeVar("T")

__all__ = ["Head", "RawRequest", "RequestReader"]

_RAW = tag_of(pb.ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER)
# More, or less to copy, and the library is faster; a request of millions of fields would keep the interpreter busy.
_FIELDS_MAX, _BYTES_MIN = 32, 4096
# A client says the same again and again, but for its tensors; more or longer heads are no such client's.
_HEADS_KEPT, _HEAD_BYTES_MAX, _ANSWERS_KEPT = 8, 1024, 8


class Head:
    """Everything of a request but its raw contents; requests that begin alike share one, and nobody changes it.

    Args:
        message: what was read.
    """

    __slots__ = ("_answers", "_claims", "message")

    def __init__(self, message: pb.ModelInferRequest) -> None:
        self.message = message
        # Weak: a version that has been replaced gives its memory back.
        self._claims: tuple[weakref.ref[Any], Any] | None = None
        self._answers: dict[Any, bytes] = {}

    def checked(self, model: M, check: Callable[[M, pb.ModelInferRequest], T]) -> T:
        """Return what ``check`` says of the message for a model, asked once as long as the model stays the same."""
        known = self._claims
        if known is not None and known[0]() is model:
            found: T = known[1]
            return found
        found = check(model, self.message)
        self._claims = weakref.ref(model), found
        return found

    def encoded(self, answer: A, encode: Callable[[pb.ModelInferRequest, A], bytes]) -> bytes:
        """Return what ``encode`` makes of the message and an answer, made once for answers that are equal."""
        found = self._answers.get(answer)
        if found is None:
            found = encode(self.message, answer)
            if len(self._answers) >= _ANSWERS_KEPT:
                self._answers.clear()
            self._answers[answer] = found
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class RawRequest:
    """What came over the wire."""

    #: What came before, or around, raw contents.
    head: Head
    #: Raw contents in their order, within the bytes that came.
    raw: Sequence[bytes | memoryview]


class RequestReader:
    """Reads requests and knows their heads again; any number of threads may read at once."""

    def __init__(self) -> None:
        self._heads: tuple[tuple[bytes, Head], ...] = ()

    def read(self, data: bytes) -> RawRequest:
        """Return the request that ``data`` encodes.

        Raises:
            google.protobuf.message.DecodeError: it encodes none.
        """
        for start, head in self._heads:
            if data.startswith(start) and (raw := _raw_to_the_end(data, len(start))):
                return RawRequest(head=head, raw=raw)
        found = _apart(data) if len(data) >= _BYTES_MIN else None
        if found is None:
            message = pb.ModelInferRequest.FromString(data)
            return RawRequest(head=Head(message), raw=list(message.raw_input_contents))
        rest, raw = found
        start = b"".join(rest)
        head = Head(pb.ModelInferRequest.FromString(start))
        # What comes among or behind tensors is no beginning that others can share.
        if raw and len(start) == len(rest[0]) <= _HEAD_BYTES_MAX:
            self._heads = ((start, head), *self._heads[: _HEADS_KEPT - 1])
        return RawRequest(head=head, raw=raw)


def _raw_to_the_end(data: bytes, at: int) -> list[memoryview] | None:
    """Return raw contents from ``at`` to the end; None where there is anything else."""
    found = _apart(data, at)
    return None if found is None or any(found[0]) else found[1]


def _apart(data: bytes, at: int = 0) -> tuple[list[memoryview], list[memoryview]] | None:
    """Return what is around raw contents from ``at`` on, and these; None where the library had better look at all."""
    view = memoryview(data)
    rest: list[memoryview] = []
    raw: list[memoryview] = []
    try:
        for count, field in enumerate(fields_of(data, at)):
            if count == _FIELDS_MAX:
                return None
            if field.tag == _RAW:
                rest.append(view[at : field.begin])
                raw.append(view[field.content : field.end])
                at = field.end
    except ValueError:
        return None
    rest.append(view[at:])
    return rest, raw
