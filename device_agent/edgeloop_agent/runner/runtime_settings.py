"""What several runtimes share: pinning, packages that are there, settings that cannot be applied."""

from __future__ import annotations

import os

from edgeloop_protocol.types.outcome import FailureKind, Outcome
from edgeloop_protocol.types.trial import RuntimeSettings

from edgeloop_agent.failure import RunnerFailure

__all__ = ["installed_version", "out_of_memory", "pin", "refuse", "require_plain", "unsupported"]


def installed_version(*distributions: str) -> str:
    """Return the version of the first of these packages that is installed; empty when none is."""
    # It brings the mail and archive modules along, which a runner that opens a model does without.
    import importlib.metadata

    for name in distributions:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # noqa: PERF203 - two or three names
            continue
    return ""


def refuse(reason: str) -> RunnerFailure:
    """Return the failure of a setting that this runtime or device cannot apply."""
    return RunnerFailure(Outcome.UNSUPPORTED, FailureKind.LOAD_FAILED, reason)


def unsupported(reason: str) -> RunnerFailure:
    """Return the failure of a model that this runtime does not run."""
    return RunnerFailure(Outcome.UNSUPPORTED, FailureKind.UNSUPPORTED_MODEL, reason)


def out_of_memory(doing: str, error: BaseException) -> RunnerFailure:
    """Return the failure of an allocation."""
    text = " ".join(str(error).split())[:300] or "allocation failed"
    reason = f"{doing} needs more memory than the runner may use: {text}"
    return RunnerFailure(Outcome.DEVICE_ERROR, FailureKind.OUT_OF_MEMORY, reason)


def pin(affinity: tuple[int, ...]) -> None:
    """Pin this process to processors; none leaves it as it is.

    Raises:
        RunnerFailure: the kernel refuses.
    """
    if not affinity:
        return
    try:
        os.sched_setaffinity(0, affinity)
    except (OSError, ValueError) as error:
        allowed = sorted(os.sched_getaffinity(0))
        raise refuse(
            f"the runner cannot be pinned to the processors {list(affinity)}: {error}; it may use {allowed}."
        ) from error


def require_plain(
    settings: RuntimeSettings, version: str, *, precision: bool = False, options: bool = False
) -> None:
    """Refuse what ONNX Runtime can be told and this runtime cannot.

    Args:
        settings: settings of the trial.
        version: name and version of the runtime.
        precision: whether it can be told a precision to compute in.
        options: whether it takes options of its own.

    Raises:
        RunnerFailure: a setting differs from the only one there is.
    """
    told, named = settings.inference_precision, ", ".join(name for name, _ in settings.options)
    for wrong, what in (
        (settings.inter_op_threads > 1, "threads across operators"),
        (settings.allow_spinning, "spinning worker threads"),
        (settings.graph_optimization != "all", f"graph optimisation {settings.graph_optimization!r}"),
        (not settings.memory_arena, "memory without an arena"),
        (not precision and told != "fp32", f"computing in {told}"),
        (not options and bool(settings.options), f"the options {named}"),
    ):
        if wrong:
            raise refuse(f"{version} has no setting for {what}.")
