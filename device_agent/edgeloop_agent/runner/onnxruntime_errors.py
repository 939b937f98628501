"""ONNX Runtime's messages as outcomes: what the model needs, what the runtime has, in one sentence."""

from __future__ import annotations

import re

from edgeloop_protocol.types.outcome import FailureKind, Outcome

from edgeloop_agent.failure import RunnerFailure

__all__ = ["explain"]

_LENGTH = 300

_OUT_OF_MEMORY = re.compile(
    r"bad_alloc|Failed to allocate memory|Cannot allocate memory|failed to map segment|Unable to allocate",
    re.I,
)

_UNSUPPORTED = (
    (
        re.compile(r"Unsupported model IR version: (\d+), max supported IR version: (\d+)"),
        "the model is written in ONNX IR version {0}; {runtime} reads up to {1}.",
    ),
    (
        re.compile(r"Opset (\d+) is under development.*?support for domain (\S+) is till opset (\d+)", re.S),
        "the model needs operator set {0} of {1}; {runtime} supports up to {2}.",
    ),
    (
        re.compile(r"No Op registered for (\S+) with domain_version of (\d+)"),
        "the model needs the operator {0} (operator set {1}), which {runtime} does not have.",
    ),
    (
        re.compile(r"Fatal error: (\S+) is not a registered function/op"),
        "the model needs the operator {0}, which {runtime} does not have.",
    ),
    (
        re.compile(r"(EPContext) node"),
        "the model holds an {0} node, code compiled for another provider, which {runtime} does not run.",
    ),
    (
        re.compile(r"Could not find an implementation for (\S+) node"),
        "the model needs {0} with its element types, for which {runtime} has no kernel.",
    ),
)

_NOISE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : |/onnxruntime_src/\S+ .*?\)( const)? (?=[A-Z])")


def explain(error: BaseException, runtime: str, *, loading: bool) -> RunnerFailure:
    """Return the outcome that stands for ``error``.

    Args:
        error: what ONNX Runtime raised.
        runtime: name and version, for the sentence.
        loading: whether it happened while the model was opened.
    """
    text = str(error)
    if isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(text):
        doing = "loading the model" if loading else "running the model"
        return RunnerFailure(
            Outcome.DEVICE_ERROR,
            FailureKind.OUT_OF_MEMORY,
            f"{doing} needs more memory than the runner may use: {_tidy(text) or 'allocation failed'}",
        )
    for pattern, sentence in _UNSUPPORTED:
        if found := pattern.search(text):
            return RunnerFailure(
                Outcome.UNSUPPORTED,
                FailureKind.UNSUPPORTED_MODEL,
                sentence.format(*found.groups(), runtime=runtime),
            )
    kind = FailureKind.LOAD_FAILED if loading else FailureKind.INFERENCE_FAILED
    verb = "load" if loading else "run"
    return RunnerFailure(Outcome.USER_ERROR, kind, f"{runtime} cannot {verb} the model: {_tidy(text)}")


def _tidy(text: str) -> str:
    return " ".join(_NOISE.sub("", text).split())[:_LENGTH]
