"""Models as a registry lists them: what was given, the artifacts made of it, and what became of those."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeloop_foundation.errors import NotFoundError

__all__ = ["ModelVersion", "Placed", "RegisteredModel", "find_model"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Where an artifact serves."""

    #: Name of the device.
    device: str
    #: Name of the deployment on it.
    deployment: str
    #: Where this is known from: "device" when it said so itself just now, else the identifier of the rollout.
    known_from: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """One kept artifact of a model."""

    #: SHA-256 of its manifest.
    digest: str
    #: Its place among the artifacts of its model, from 1, the oldest first.
    number: int
    #: Label, for example "original" or the name of a recipe.
    label: str
    #: "onnx" or another format.
    format: str
    #: What most of its arithmetic is in.
    precision: str
    #: Bytes of all its files.
    size_bytes: int
    #: Names that people gave to it, sorted.
    tags: tuple[str, ...] = ()
    #: Signed releases that stand for it now, with their counters.
    releases: tuple[tuple[str, int], ...] = ()
    #: Where it serves, as far as is known.
    placed: tuple[Placed, ...] = ()
    #: Runs of it on record, failed ones included.
    run_count: int = 0
    #: Those that did not succeed.
    error_count: int = 0
    #: When the last one began, seconds since 1970; absent before the first.
    last_run_wall_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredModel:
    """One model with every artifact that was made of it."""

    #: As the user named it.
    name: str
    #: SHA-256 of what the user gave.
    source_digest: str
    #: Its artifacts, the oldest first.
    versions: tuple[ModelVersion, ...]

    @property
    def run_count(self) -> int:
        """Runs of all of them."""
        return sum(version.run_count for version in self.versions)

    @property
    def error_count(self) -> int:
        """Runs of all of them that did not succeed."""
        return sum(version.error_count for version in self.versions)


def find_model(models: Sequence[RegisteredModel], word: str) -> RegisteredModel:
    """Return the model of a name, a tag, or the beginning of a digest, of the model or of an artifact of it.

    Raises:
        NotFoundError: there is none, or there are several.
    """
    found = [model for model in models if _fits(model, word)]
    named = [model for model in found if word in (model.name, model.source_digest)]
    found = named if len(named) == 1 else found
    if len(found) != 1:
        what = "no model is called" if not found else "several models are called"
        listed = ", ".join(f"{m.name} ({m.source_digest[:12]})" for m in (found or models)[-10:]) or "none"
        raise NotFoundError(f"{what} {word[:80]!r}.", next_step=f"There are: {listed}.")
    return found[0]


def _fits(model: RegisteredModel, word: str) -> bool:
    digests = (model.source_digest, *(version.digest for version in model.versions))
    return (
        word == model.name
        or any(word in version.tags for version in model.versions)
        or (len(word) >= 6 and any(digest.startswith(word) for digest in digests))
    )
