"""Experiments that wait at a controller: what was handed in, how each stands, and the table of what may follow.

::

    QUEUED -> RUNNING -> DONE | FAILED
       ^         |
       |         v
       +--- INTERRUPTED      the controller ended meanwhile; it begins anew with the next one

    QUEUED, RUNNING, INTERRUPTED -> CANCELLED

DONE, FAILED and CANCELLED are the ends; no I/O here.
"""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_foundation.transitions import next_in

from edgeloop.domain.experiment import ExperimentRequest
from edgeloop.domain.plain_text import plain_text
from edgeloop.domain.turn import Turn

__all__ = [
    "ATTEMPTS_MAX",
    "QUEUE_ENDS",
    "TRANSITIONS",
    "QueueEvent",
    "QueueState",
    "QueuedExperiment",
    "Submission",
    "SubmittedFile",
    "next_state",
]

ATTEMPTS_MAX = 5
"""An experiment that ended its controller so often is not begun again by itself."""

_FILES_MAX = 20_000
_PATH_MAX = 400
_DIGEST = re.compile(r"[0-9a-f]{64}")
# No separator, no colon (it would name a function), no question mark (it would begin options), nothing hidden.
_STEP = re.compile(r"\w[\w .,+@=()\[\]-]*", re.UNICODE)
_FUNCTION = re.compile(r".+\.py:[A-Za-z_]\w*|[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_CODE_SETTINGS = frozenset({"train", "validate", "loss", "teacher", "student"})
"""Settings of passes that name functions or files of whoever wrote the recipe."""


class QueueState(enum.Enum):
    """How an experiment in the queue stands."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


class QueueEvent(enum.Enum):
    """What can happen to it."""

    BEGIN = "begin"
    FINISH = "finish"
    FAIL = "fail"
    CANCEL = "cancel"
    INTERRUPT = "interrupt"
    QUEUE_AGAIN = "queue_again"


S, E = QueueState, QueueEvent

QUEUE_ENDS = frozenset({S.DONE, S.FAILED, S.CANCELLED})
"""States in which nothing goes on."""

TRANSITIONS: dict[tuple[QueueState, QueueEvent], QueueState] = {
    (S.QUEUED, E.BEGIN): S.RUNNING,
    (S.RUNNING, E.FINISH): S.DONE,
    (S.RUNNING, E.FAIL): S.FAILED,
    (S.RUNNING, E.INTERRUPT): S.INTERRUPTED,
    (S.INTERRUPTED, E.QUEUE_AGAIN): S.QUEUED,
    # Its result was recorded before the controller ended.
    (S.INTERRUPTED, E.FINISH): S.DONE,
    # Refused after the last attempt, or before the first because it can no longer be begun.
    (S.INTERRUPTED, E.FAIL): S.FAILED,
    (S.QUEUED, E.FAIL): S.FAILED,
    **{(state, E.CANCEL): S.CANCELLED for state in (S.QUEUED, S.RUNNING, S.INTERRUPTED)},
}
"""(state, event) -> state; what it does not hold cannot happen."""


def next_state(state: QueueState, event: QueueEvent) -> QueueState:
    """Return the state after ``event``.

    Raises:
        StateError: it cannot happen in this state.
    """
    step = "See how it stands: edgeloop queue list."
    return next_in(TRANSITIONS, state, event, "an experiment", next_step=step)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmittedFile:
    """A file that was uploaded for an experiment.

    Raises:
        InvalidInputError: the path leads elsewhere or hides something, or the digest is none.
    """

    #: Where it stands beside the others: names with "/" between them.
    path: str
    #: SHA-256 of its content, in hexadecimal digits.
    digest: str

    def __post_init__(self) -> None:
        steps = self.path.split("/")
        if len(self.path) > _PATH_MAX or not all(_is_step(step) for step in steps):
            raise InvalidInputError(
                f"{plain_text(self.path, 80)!r} cannot be the path of a file here.",
                next_step="Use letters, digits, spaces and . , + @ = ( ) [ ] _ -, and no sign at the beginning.",
            )
        if not _DIGEST.fullmatch(self.digest):
            raise InvalidInputError(f"the digest of {self.path} is 64 hexadecimal digits in lower case.")


def _is_step(step: str) -> bool:
    return bool(_STEP.fullmatch(step)) and step == step.strip(" .") and plain_text(step) == step


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """An experiment as somebody hands it in from afar: what to do, the files for it, and where.

    Nothing in it may name code: a function would run on the controller.

    Raises:
        InvalidInputError: it names code, a file that is not among its own, or no device.
    """

    #: What to do. ``model`` and ``data`` are paths of ``files``, ``data`` with options behind "?"; no devices.
    request: ExperimentRequest
    #: The files.
    files: tuple[SubmittedFile, ...]
    #: Devices by the words of ``--on``, as the controller's inventory knows them.
    on: tuple[str, ...]
    #: A higher one goes first, here and in the queues of devices; -100 to 100.
    priority: int = 0
    #: How long to wait for a busy device; None leaves it to the experiment.
    wait_s: float | None = None

    def __post_init__(self) -> None:
        Turn(priority=self.priority, wait_s=self.wait_s)
        if self.request.devices:
            raise InvalidInputError('devices are named by the words of "on", not by their addresses.')
        if not any(word.strip() for word in self.on):
            raise InvalidInputError(
                "no device is named.", next_step="Say where to measure, for example --on pi."
            )
        if len(self.files) > _FILES_MAX:
            raise InvalidInputError(
                f"an experiment brings at most {_FILES_MAX} files, not {len(self.files)}.",
                next_step="Pack the data into one .npz file.",
            )
        if not math.isfinite(self.request.budget_s or 0.0) or not 0 <= self.request.lease_wait_s <= 86_400:
            raise InvalidInputError("a budget and a wait are numbers of seconds.")
        _refuse_code(self.request)
        paths = [file.path for file in self.files]
        if len({path.casefold() for path in paths}) != len(paths):
            raise InvalidInputError("two files have the same path.")
        if self.request.model not in paths:
            raise InvalidInputError(
                f"the model {plain_text(self.request.model, 80)!r} is not among the files."
            )
        data = self.request.data.partition("?")[0]
        if data and not any(path == data or path.startswith(f"{data}/") for path in paths):
            raise InvalidInputError(f"the data {plain_text(data, 80)!r} are not among the files.")

    @property
    def turn(self) -> Turn:
        """How it queues for devices."""
        return Turn(priority=self.priority, wait_s=self.wait_s)


def _refuse_code(request: ExperimentRequest) -> None:
    """Refuse what would have the controller run code of somebody else.

    Raises:
        InvalidInputError: see above.
    """
    for what, text in (("the model", request.model), ("the data", request.data.partition("?")[0])):
        if _FUNCTION.fullmatch(text):
            raise InvalidInputError(
                f"{what} {plain_text(text, 80)!r} is a function, which would run on the server.",
                next_step="Give a file: an ONNX model, and data as .npz, .csv, .parquet or a folder.",
            )
    for recipe in request.recipes:
        for step in recipe.passes:
            for name, value in step.settings:
                if (name in _CODE_SETTINGS and value) or any(
                    _FUNCTION.fullmatch(text) for text in _texts(value)
                ):
                    where = f"recipe {plain_text(recipe.label, 60)!r}, pass {plain_text(step.name, 60)}"
                    raise InvalidInputError(
                        f"{where}: {plain_text(name, 60)} names code or a file, which would be run on the server.",
                        next_step="Run such a recipe without a server.",
                    )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedExperiment:
    """One experiment of the queue as it stands."""

    #: Identifier in the queue.
    queue_id: str
    #: Rises with every one that is handed in: equals of a priority go in this order.
    number: int
    #: Who handed it in.
    submitted_by: str
    #: When, seconds since 1970.
    created_wall_s: float
    state: QueueState
    submission: Submission
    #: How often it was begun.
    attempt_count: int = 0
    #: Identifier of the experiment of the latest attempt; empty before the first.
    experiment_id: str = ""
    #: When that began; None before the first.
    started_wall_s: float | None = None
    #: When it ended; None before.
    ended_wall_s: float | None = None
    #: Why it failed, was cancelled or is queued again, one sentence; empty otherwise.
    reason: str = ""
    #: Class of the error that it failed by; empty otherwise.
    error_kind: str = ""

    @property
    def over(self) -> bool:
        """Whether nothing goes on any more."""
        return self.state in QUEUE_ENDS
