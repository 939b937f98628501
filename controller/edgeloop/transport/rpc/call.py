"""Calls with a deadline each, retried where that is safe, failing with errors that name the device."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
import grpc.aio
from edgeloop_foundation.errors import (
    DeadlineError,
    EdgeloopError,
    InvalidInputError,
    StateError,
    UnavailableError,
    UnsupportedError,
)
from edgeloop_protocol.convert import from_wire
from edgeloop_protocol.errors import error_for
from google.protobuf.message import Message

__all__ = ["Caller", "RetryPolicy", "decoded", "is_break"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and how long we try again; the waiting has full jitter."""

    #: Attempts in a row that bring nothing before we give up; with the waits in between about 40 s, in which a
    #: device reboots and an agent notices (after 30 s) that an old connection of ours is dead.
    attempt_count: int = 16
    #: Longest wait after the first failure; doubles with each further one.
    base_s: float = 0.2
    #: Longest wait of all.
    cap_s: float = 5.0
    #: A single message that is not taken within this time means that the other side is gone.
    stall_s: float = 30.0
    #: Silence up to which a call that may be repeated is: keepalive takes 30 s to find that a connection is dead, and
    #: a call with a shorter deadline cannot tell that from a device that hangs.
    silence_s: float = 40.0

    def __post_init__(self) -> None:
        negative = min(self.base_s, self.silence_s) < 0
        if self.attempt_count < 1 or negative or self.cap_s < self.base_s or self.stall_s <= 0:
            raise ValueError("a retry policy has at least one attempt and waits that do not shrink")

    def longest_wait_s(self, failure_count: int) -> float:
        """Return the longest wait after this many failures in a row."""
        return float(min(self.cap_s, self.base_s * 2 ** min(failure_count, 30)))


class Caller:
    """Makes the calls to one device."""

    def __init__(
        self,
        device: str,
        address: str,
        policy: RetryPolicy,
        diagnose: Callable[[], str] = lambda: "",
        examine: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.device = device
        self.address = address
        self.policy = policy
        # Says why trying again is in vain, for example because the agent's process ended.
        self._diagnose = diagnose
        # Looks at the connection from outside and raises what no further attempt will mend.
        self._examine = examine
        self._random = random.SystemRandom()

    async def once(self, method: Any, request: Any, *, what: str, deadline_s: float) -> Any:
        """Make a call that answers once.

        Raises:
            EdgeloopError: the one that the status stands for.
        """
        try:
            return await method(request, timeout=deadline_s)
        except (grpc.aio.AioRpcError, grpc.aio.UsageError) as error:
            raise self.error(error, what, deadline_s) from error

    async def again(self, method: Any, request: Any, *, what: str, deadline_s: float) -> Any:
        """Make a call that may be repeated without harm, as long as the device cannot be reached."""
        return await self.repeat(lambda: self.once(method, request, what=what, deadline_s=deadline_s))

    async def repeat(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Run ``operation`` until it ends neither by ``UnavailableError`` nor without an answer, or give up.

        Raises:
            UnavailableError: the attempts are used up.
            DeadlineError: attempts went unanswered for longer than a dead connection stays unnoticed.
        """
        failure_count, start = 0, time.monotonic()
        while True:
            try:
                return await operation()
            except (UnavailableError, DeadlineError) as error:
                failure_count += 1
                silent = isinstance(error, DeadlineError)
                if silent and time.monotonic() - start >= self.policy.silence_s:
                    raise
                if failure_count >= self.policy.attempt_count or self._diagnose():
                    raise
            await self.pause(failure_count)

    async def stream(
        self, method: Any, request: Any, *, what: str, deadline_s: float
    ) -> AsyncGenerator[Any, None]:
        """Yield what a streaming call answers; leaving early cancels the call.

        Raises:
            EdgeloopError: the one that the status stands for.
        """
        try:
            call = method(request, timeout=deadline_s)
            try:
                async for response in call:
                    yield response
            finally:
                call.cancel()
        except (grpc.aio.AioRpcError, grpc.aio.UsageError) as error:
            raise self.error(error, what, deadline_s) from error

    async def pause(self, failure_count: int) -> None:
        """Wait before the next attempt.

        Raises:
            UnauthenticatedError: further attempts are in vain, because one of the two certificates is refused.
        """
        if self._examine is not None:
            await self._examine()
        await asyncio.sleep(self._random.uniform(0, self.policy.longest_wait_s(failure_count)))

    def hopeless(self) -> bool:
        """Return whether trying again is in vain."""
        return bool(self._diagnose())

    def error(self, error: BaseException, what: str, deadline_s: float) -> EdgeloopError:
        """Return the error that a failed call stands for, in one sentence that names the device."""
        if not isinstance(error, grpc.aio.AioRpcError):
            return StateError(f"{self.device}: the connection is closed, {what} is not possible.")
        code, details = error.code(), (error.details() or "").strip()
        if code is grpc.StatusCode.UNAVAILABLE or is_break(error):
            return self._unreachable(what, details)
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineError(
                f"{self.device}: {what} got no answer within {deadline_s:g} s.",
                next_step="See whether the device is overloaded or the network drops packets.",
            )
        if code is grpc.StatusCode.UNIMPLEMENTED:
            return UnsupportedError(
                f"{self.device}: its agent cannot do {what} ({details}).", next_step="Update the agent."
            )
        if code is grpc.StatusCode.UNKNOWN:
            return error_for(code, f"{self.device}: {what} failed inside the agent: {details}")
        return error_for(code, f"{self.device}: {details or what + ' failed without a reason.'}")

    def _unreachable(self, what: str, details: str) -> UnavailableError:
        if reason := self._diagnose():
            return UnavailableError(f"{self.device}: {reason}", next_step="Start the run again.")
        where = f" at {self.address}" if self.address else ""
        return UnavailableError(
            f"{self.device} cannot be reached{where} ({what}): {_plain(details)}.",
            next_step="See whether the device is on and its agent runs: edgeloop device doctor.",
        )


_PLAIN = (
    ("Connection refused", "nothing listens there"),
    ("No such file", "there is no such socket"),
    ("Connection reset", "the connection broke"),
    ("Socket closed", "the agent closed the connection"),
    ("Broken pipe", "the connection broke"),
    ("DNS resolution failed", "the host name is not known"),
    ("keepalive watchdog timeout", "it stopped answering"),
    ("GOAWAY", "the agent is going down"),
    ("Internal error from Core", "the connection broke"),
    ("Stream removed", "the connection broke"),
    ("RST_STREAM", "the connection broke"),
    ("CANCELLED", "the agent is going down"),
)

# What gRPC itself says, under a status of its own choice, when a connection breaks in the middle of a call.
_CANCELLED = "CANCELLED"
_BREAKS = ("Internal error from Core", "Stream removed", "RST_STREAM")


def is_break(error: BaseException) -> bool:
    """Return whether a failed call means that the connection broke, not that the agent answered."""
    if not isinstance(error, grpc.aio.AioRpcError):
        return False
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        return True
    if error.code() is grpc.StatusCode.CANCELLED:
        # A server that stops ends its calls so, without a word; an agent that means it gives a sentence.
        return (error.details() or _CANCELLED) == _CANCELLED
    own_words = error.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
    return own_words and any(text in (error.details() or "") for text in _BREAKS)


def _plain(details: str) -> str:
    for part, plain in _PLAIN:
        if part.lower() in details.lower():
            return plain
    return details.rstrip(".") or "no reason was given"


def decoded(message: Message, cls: type[T], device: str) -> T:
    """Return the value that a message from the device stands for.

    Raises:
        InvalidInputError: our values refuse it; the sentence names the device.
    """
    try:
        return from_wire(message, cls)
    except InvalidInputError as error:
        raise InvalidInputError(
            f"{device} sent something that this controller cannot read: {error.message}",
            next_step="Bring agent and controller to the same version.",
        ) from error
