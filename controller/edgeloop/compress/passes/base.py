"""What a pass promises, and how it is held to it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from edgeloop_foundation.errors import (
    EdgeloopError,
    InternalError,
    InvalidInputError,
    MissingDependencyError,
    UnsupportedError,
)

from edgeloop.compress.describe import MAX_OPSET, describe
from edgeloop.compress.graph import half_elements, integer_elements, load_model
from edgeloop.compress.passes.settings import parse_settings
from edgeloop.compress.quiet import quiet
from edgeloop.compress.runtime import first_line, open_session
from edgeloop.domain.dataset import Dataset
from edgeloop.domain.model import ModelDescription
from edgeloop.domain.ports import Evaluator, ParityCheck

__all__ = ["SMALLER", "UNCHANGED", "Condition", "Ensures", "Pass", "PassContext", "PassResult"]

S = TypeVar("S")

UNCHANGED = "unchanged"
"""Declared precision of a pass that keeps the arithmetic as it is."""

SMALLER = "smaller"
"""Declared precision of a pass that stores parameters in fewer bits and computes as before: the file must shrink."""


def _silent(text: str) -> None:
    """Drop a note."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PassContext:
    """Everything a pass may use beside the model."""

    #: Directory of its own, empty.
    work_directory: Path
    #: Items to calibrate on; None when there are none.
    calibration: Dataset | None = None
    #: Seed of everything random.
    seed: int = 0
    #: Runs a model over data on the host; None when the pass's own runs are enough.
    evaluator: Evaluator | None = None
    #: Compares outputs under the tolerance policy; None for the pass's own bound.
    parity: ParityCheck | None = None
    #: Takes notes for people.
    log: Callable[[str], None] = _silent
    #: Trainable form of the input; None when it has none.
    module: Path | None = None
    #: Trainable form of the user's own model; None when it came as another thing.
    original_module: Path | None = None
    #: Where a long pass keeps what it needs to go on after an interruption; made by the pass, None for nowhere.
    checkpoint_directory: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PassResult:
    """What a pass made."""

    #: The model it wrote.
    path: Path
    #: What is known of it.
    description: ModelDescription
    #: Things a person should know.
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One thing a pass needs of its input, checked before it runs."""

    #: What must hold, for people.
    text: str
    #: Returns why it does not hold, or an empty string.
    broken_because: Callable[[ModelDescription, Any, PassContext], str]
    #: What to try then; what the pass says of itself without it.
    advice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ensures:
    """What a pass promises of its output; all of it is checked."""

    #: "int8" when integer operators must appear, "fp16" when parameters must become halves, UNCHANGED when parameters
    #: and arithmetic keep their types, SMALLER when parameters are stored in fewer bits.
    precision: str = UNCHANGED
    #: Whether answers are expected to move although the arithmetic is as precise as before: decisions are then
    #: what is held against the original, not values.
    approximate: bool = False
    #: Highest standard operator set of the output, unless the input's was higher already.
    max_opset: int = MAX_OPSET
    #: Operator domains the output may use beyond the input's.
    domains: frozenset[str] = field(default_factory=frozenset)


class Pass(ABC, Generic[S]):
    """One transform of an ONNX file."""

    #: Registered driver name, the stem of its file.
    name: ClassVar[str]
    #: Name for people.
    title: ClassVar[str]
    #: Frozen dataclass of the settings.
    settings_type: ClassVar[type[Any]]
    #: What the input must fulfil.
    requires: ClassVar[tuple[Condition, ...]] = ()
    #: What the output fulfils.
    ensures: ClassVar[Ensures] = Ensures()
    #: Whether a later pass is to make good what this one costs; until then nobody judges it by its answers.
    provisional: ClassVar[bool] = False
    #: What to try where it does not apply, unless the reason has a better advice.
    otherwise: ClassVar[str] = "Leave the pass out for this model."

    def __init__(self, settings: S) -> None:
        self.settings = settings

    @classmethod
    def parse_settings(cls, values: Mapping[str, Any]) -> Any:
        """Return the settings.

        Raises:
            InvalidInputError: a setting is unknown, of the wrong type or out of range.
        """
        return parse_settings(cls.settings_type, cls.name, values)

    def fingerprint(self) -> str:
        """Return a digest of everything beside the settings that decides the outcome; empty without such."""
        return ""

    def expected_limit_s(self) -> float:
        """Return how long the pass may work beyond what every pass may, in seconds."""
        return 0.0

    def judge_of(self, context: PassContext) -> tuple[Callable[[Path], float], float] | None:
        """Return a score of ONNX files and the least share of the original's that this stage and later ones must
        keep; None for no check."""
        del context
        return None

    def check(self, model: ModelDescription, context: PassContext) -> None:
        """Hold the input against ``requires``.

        Raises:
            UnsupportedError: a condition does not hold; the message says which and why.
        """
        for condition in self.requires:
            reason = condition.broken_because(model, self.settings, context)
            if reason:
                raise UnsupportedError(
                    f"{self.title} does not apply to {model.name}: {reason}.",
                    next_step=condition.advice or self.otherwise,
                )

    def run(
        self, source: Path, target: Path, context: PassContext, source_model: ModelDescription
    ) -> PassResult:
        """Transform ``source`` into ``target`` and check that every promise was kept.

        Args:
            source: The input; not touched.
            target: Where to write; its directory is the pass's own.
            context: What may be used.
            source_model: Description of ``source``.

        Raises:
            UnsupportedError: the pass does not apply to this model.
            InvalidInputError: model or data cannot be used.
            InternalError: the pass broke a promise.
            MissingDependencyError: a package is needed that is not installed.
        """
        self.check(source_model, context)
        notes: list[str] = []
        try:
            with quiet():
                self._run(source, target, context, source_model, notes.append)
            result = self._checked(source, target, source_model)
        except MissingDependencyError:
            raise
        except UnsupportedError as error:
            if error.next_step:
                raise
            raise UnsupportedError(error.message, next_step=self.otherwise) from error
        except Exception as error:  # libraries raise anything; the promise is one family of errors
            self._require_sound(source, source_model)
            if isinstance(error, EdgeloopError):
                raise
            raise InvalidInputError(
                f"{self.title} failed on {source_model.name}: {type(error).__name__}: {first_line(error)}",
                next_step=self.otherwise,
            ) from error
        for note in notes:
            context.log(note)
        return PassResult(path=target, description=result, notes=tuple(notes))

    @abstractmethod
    def _run(
        self,
        source: Path,
        target: Path,
        context: PassContext,
        source_model: ModelDescription,
        note: Callable[[str], None],
    ) -> None:
        """Do the work; whatever is raised here reaches the caller as one of the promised errors."""

    def _require_sound(self, source: Path, model: ModelDescription) -> None:
        """Tell a model that the runtime does not load from a fault of the pass.

        Raises:
            UnsupportedError: it does not load before the pass either.
        """
        try:
            open_session(source)
        except InvalidInputError as error:
            raise UnsupportedError(
                f"{self.title} does not apply to {model.name}: {error.message}", next_step=error.next_step
            ) from error

    def _checked(self, source: Path, target: Path, before: ModelDescription) -> ModelDescription:
        if describe(source, before.name, before.state).digest != before.digest:
            raise InternalError(f"{self.title} changed its input {source.name}, which it may only read.")
        if not target.is_file():
            raise InternalError(f"{self.title} wrote no model.")
        try:
            after = describe(target, before.name, before.state)
            open_session(target)
        except EdgeloopError as error:
            raise InternalError(f"{self.title} wrote a model that does not load: {error.message}") from error
        self._check_interface(before, after)
        self._check_opsets(before, after)
        self._check_precision(source, target, before, after)
        return after

    def _check_interface(self, before: ModelDescription, after: ModelDescription) -> None:
        for role in ("inputs", "outputs"):
            was = [(s.name, s.dtype) for s in getattr(before, role)]
            found = [(s.name, s.dtype) for s in getattr(after, role)]
            if was != found:
                raise InternalError(f"{self.title} changed the {role} from {was} to {found}.")
        for old, new in zip(before.inputs, after.inputs, strict=True):
            if old.shape != new.shape:
                raise InternalError(
                    f"{self.title} changed the shape of input {old.name!r} from {old.shape} to {new.shape}."
                )

    def _check_opsets(self, before: ModelDescription, after: ModelDescription) -> None:
        was, found = dict(before.opsets), dict(after.opsets)
        allowed = max(self.ensures.max_opset, was.get("", 0))
        if found.get("", 0) > allowed:
            raise InternalError(
                f"{self.title} raised the operator set to {found['']}; {allowed} was promised."
            )
        strange = sorted(set(found) - set(was) - self.ensures.domains - {""})
        if strange:
            raise InternalError(
                f"{self.title} brought in the operator domain {strange[0]!r}, which it did not declare."
            )

    def _check_precision(
        self, source: Path, target: Path, before: ModelDescription, after: ModelDescription
    ) -> None:
        declared = self.ensures.precision
        if declared == UNCHANGED:
            if (after.precision, after.quantized) != (before.precision, before.quantized):
                raise InternalError(
                    f"{self.title} promised to keep the precision {before.precision}, but its output is "
                    f"{'quantised ' if after.quantized else ''}{after.precision}."
                )
        elif declared == "fp16":
            if half_elements(load_model(target)) <= half_elements(load_model(source)):
                raise InternalError(
                    f"{self.title} promised fp16, but no parameter of its output became a half."
                )
        elif declared == SMALLER:
            if after.size_bytes >= before.size_bytes:
                raise InternalError(
                    f"{self.title} promised a smaller file, but it went from {before.size_bytes} to "
                    f"{after.size_bytes} bytes."
                )
        elif not (
            after.quantized and integer_elements(load_model(target)) > integer_elements(load_model(source))
        ):
            raise InternalError(
                f"{self.title} promised {declared}, but no parameter of its output became an integer."
            )
