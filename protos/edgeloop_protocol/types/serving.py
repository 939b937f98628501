"""How a deployment is served on its device: what was asked for, and how it stands."""

from __future__ import annotations

import enum
import math
import re
from dataclasses import dataclass

from edgeloop_foundation.errors import InvalidInputError

from edgeloop_protocol.types.deployment import check_deployment_name
from edgeloop_protocol.types.outcome import Isolation

__all__ = ["MESSAGE_BYTES_MAX", "ServingSpec", "ServingState", "ServingStatus", "SwitchRule"]

# Four float32 images of 640 x 640 x 3 take 19.7 MB.
MESSAGE_BYTES_MAX = 20 << 20
"""Largest message that a serving process takes unless it is told otherwise."""

_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.%]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})")
_QUEUE_MAX, _BATCH_MAX, _THREADS_MAX = 1024, 256, 256
_MESSAGE_BYTES_ALLOWED = (1 << 10, 1 << 30)
_SECONDS_MAX = 60.0
_LOG_BYTES_ALLOWED = (4 << 10, 1 << 30)


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchRule:
    """When the second form of a model answers."""

    #: "temperature" (hottest zone, degrees Celsius), "queue" (requests that wait) or "file" (a number in a file).
    signal: str
    #: The second form answers from here on.
    high: float
    #: The usual form answers again at or below this.
    low: float
    #: The file; empty for the others.
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> SwitchRule:
        """Return the rule that a text states: ``temperature:HIGH:LOW``, ``queue:HIGH:LOW`` or ``file:PATH:HIGH:LOW``.

        Raises:
            InvalidInputError: it states none.
        """
        signal, _, rest = text.partition(":")
        rest, _, low_text = rest.rpartition(":")
        path, _, high_text = rest.rpartition(":")
        wrong = InvalidInputError(
            f"{text[:120]!r} is no rule for a switch.",
            next_step="Write temperature:HIGH:LOW, queue:HIGH:LOW or file:/PATH:HIGH:LOW, with LOW below HIGH.",
        )
        try:
            high, low = float(high_text), float(low_text)
        except ValueError:
            raise wrong from None
        if signal not in ("temperature", "queue", "file") or not -math.inf < low < high < math.inf:
            raise wrong
        if (signal == "file") != path.startswith("/"):
            raise wrong
        return cls(signal=signal, high=high, low=low, path=path)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingSpec:
    """How a deployment is served."""

    #: Name of the deployment, and of the model for clients.
    name: str
    #: HOST:PORT of the gRPC listener; port 0 lets the system choose once.
    grpc_address: str = "127.0.0.1:0"
    #: HOST:PORT of the HTTP listener, which has /metrics as well; port 0 lets the system choose once.
    http_address: str = "127.0.0.1:0"
    #: Most requests that wait; a further one is refused at once.
    queue_max: int = 32
    #: Most rows that are run together; 1 turns batching off.
    batch_max: int = 8
    #: Longest time that a batch may take to run, as measured at warm-up: larger batches are not formed.
    batch_s_max: float = 0.1
    #: Longest time that a request waits for others to fill its batch.
    delay_s_max: float = 0.0
    #: Largest message in bytes.
    message_bytes_max: int = MESSAGE_BYTES_MAX
    #: Threads of the runtime.
    threads: int = 1
    #: Whether inputs and outputs are counted into sketches that are held against the golden pack; no value is kept.
    drift: bool = False
    #: Most bytes of the log of requests on the device (times, queue, batch, precision; never inputs); 0 keeps none.
    request_log_bytes: int = 0
    #: Name of another deployment whose committed version gets a copy of each request; its answers are counted and never
    #: returned. Empty for none.
    shadow: str = ""
    #: Name of another deployment whose committed version stays loaded and answers while the signal is high. Empty for
    #: none.
    second: str = ""
    #: The signal and its two bounds, as ``SwitchRule.parse`` takes them. Empty without a second.
    switch: str = ""

    def __post_init__(self) -> None:
        check_deployment_name(self.name)
        for address in (self.grpc_address, self.http_address):
            match = _ADDRESS.fullmatch(address)
            if match is None or int(match[2]) > 65535:
                raise InvalidInputError(f"{address[:80]!r} is not of the form HOST:PORT.")
        _within("the queue", self.queue_max, 1, _QUEUE_MAX)
        _within("a batch", self.batch_max, 1, _BATCH_MAX)
        _within("the number of threads", self.threads, 1, _THREADS_MAX)
        _within("the largest message in bytes", self.message_bytes_max, *_MESSAGE_BYTES_ALLOWED)
        _within("the time of a batch in seconds", self.batch_s_max, 0, _SECONDS_MAX)
        _within("the delay in seconds", self.delay_s_max, 0, _SECONDS_MAX)
        if self.request_log_bytes:
            _within("the request log in bytes", self.request_log_bytes, *_LOG_BYTES_ALLOWED)
        if self.shadow and check_deployment_name(self.shadow) == self.name:
            raise InvalidInputError(f"{self.name!r} cannot be tried against itself.")
        if bool(self.second) != bool(self.switch):
            raise InvalidInputError("a second form and the rule of its switch go together.")
        if self.second:
            SwitchRule.parse(self.switch)
            if check_deployment_name(self.second) == self.name:
                raise InvalidInputError(f"{self.name!r} cannot be its own second form.")


def _within(what: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise InvalidInputError(f"{what} lies within {low:g}..{high:g}, not {value:g}.")


class ServingState(enum.Enum):
    """How a serving process stands."""

    STARTING = "starting"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingStatus:
    """How one deployment is served now."""

    #: What was asked for, with the ports that were chosen.
    spec: ServingSpec
    #: How it stands.
    state: ServingState
    #: Counter of the release that answers; 0 before one does.
    counter: int = 0
    #: Digest of the artifact that answers; empty before one does.
    digest: str = ""
    #: Largest batch that is formed, as warm-up found it; 0 before it is known.
    batch_limit: int = 0
    #: Why there is no batching, why a new version is not taken, or why it failed; empty otherwise.
    reason: str = ""
    #: How often the process was started again.
    restarts: int = 0
    #: Name of the deployment whose version answers; empty before one does.
    form: str = ""
    #: What keeps its process in; absent before it has told.
    isolation: Isolation | None = None
