"""A request of the Open Inference Protocol, taken apart so that its tensors stay where the wire has put them.

The library for messages copies raw contents twice, into a message and out of it again. Both copies find nothing in the
processor's caches, from which the run before has pushed everything: they cost more than all the rest of a request.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from edgeloop_protocol.v1 import open_inference_grpc_pb2 as pb
from edgeloop_protocol.wire_format import fields_of, tag_of

A = TypeVar("A")
M = TypeVar("M")
T = TypeVar("T")

__all__ = ["Head", "RawRequest", "RequestReader"]

_RAW = tag_of(pb.ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER)
# More, or less to copy, and the library is faster; a request of millions of fields would keep the interpreter busy.
_FIELDS_MAX, _BYTES_MIN = 32, 4096
# A client says the same again and again, but for its tensors; what is longer, or of more kinds, is no such client's.
_LAYOUTS_KEPT, _AROUND_BYTES_MAX, _ANSWERS_KEPT = 8, 1024, 8


class Head:
    """Everything of a request but its raw contents; requests of one layout share it, and nobody changes it.

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


class RawRequest(NamedTuple):
    """What came over the wire."""

    #: All of it but raw contents.
    head: Head
    #: Raw contents in their order, within the bytes that came.
    raw: Sequence[bytes | memoryview]


class _Layout:
    """Requests that are the same but for their raw contents, which lie in the same places."""

    def __init__(self, data: bytes, places: Sequence[slice], head: Head) -> None:
        self.places, self.head, self._size = places, head, len(data)
        begins, ends = [0, *(place.stop for place in places)], [*(place.start for place in places), len(data)]
        self._around = [(begin, data[begin:end]) for begin, end in zip(begins, ends, strict=True)]

    @property
    def bytes_around(self) -> int:
        """What is compared."""
        return sum(len(piece) for _, piece in self._around)

    def fits(self, data: bytes) -> bool:
        """Return whether a request is one of these."""
        return len(data) == self._size and all(data.startswith(piece, at) for at, piece in self._around)

    def request(self, data: bytes) -> RawRequest:
        """Return a request that fits."""
        view = memoryview(data)
        return RawRequest(self.head, [view[place] for place in self.places])


class RequestReader:
    """Reads requests, and knows again those that differ in raw contents alone; threads may read at once."""

    def __init__(self) -> None:
        self._layouts: tuple[_Layout, ...] = ()

    def read(self, data: bytes) -> RawRequest:
        """Return the request that ``data`` encodes.

        Raises:
            google.protobuf.message.DecodeError: it encodes none.
        """
        for layout in self._layouts:
            if layout.fits(data):
                return layout.request(data)
        rest, places = _apart(data) if len(data) >= _BYTES_MIN else ([], [])
        if not places:
            message = pb.ModelInferRequest.FromString(data)
            return RawRequest(Head(message), list(message.raw_input_contents))
        layout = _Layout(data, places, Head(pb.ModelInferRequest.FromString(b"".join(rest))))
        if layout.bytes_around <= _AROUND_BYTES_MAX:
            self._layouts = (layout, *self._layouts[: _LAYOUTS_KEPT - 1])
        return layout.request(data)


def _apart(data: bytes) -> tuple[list[memoryview], list[slice]]:
    """Return the fields around raw contents, and where these lie; none where the library had better look at it all."""
    view, at = memoryview(data), 0
    rest: list[memoryview] = []
    places: list[slice] = []
    try:
        for count, field in enumerate(fields_of(data)):
            if count == _FIELDS_MAX:
                return [], []
            if field.tag == _RAW:
                rest.append(view[at : field.begin])
                places.append(slice(field.content, field.end))
                at = field.end
    except ValueError:
        return [], []
    rest.append(view[at:])
    return rest, places
