"""ONNX Runtime as this room uses it: telemetry off, one thread, processor only."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeloop_foundation.errors import InvalidInputError

__all__ = ["LEVELS", "first_line", "onnxruntime", "open_session", "session_options"]

LEVELS = {
    "none": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
"""Graph optimisation levels by the names that settings use."""

_FATAL = 4
_ERROR = 3

_PORTABLE = {"session.qdqisint8allowed": "1"}
"""On x86 the runtime rewrites signed activations to unsigned by default, which would hide what a board
executes."""


_NOT_IMPLEMENTED = re.compile(r"Could not find an implementation for (\w+)\((\d+)\) node with name '([^']*)'")
_UNKNOWN = re.compile(r"(?:Fatal error: )(?:([\w.]+):)?(\w+)\(-?\d+\) is not a registered function/op")


def onnxruntime() -> Any:
    """Return the module ``onnxruntime``, imported with its telemetry switched off."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    os.environ["ORT_TELEMETRY_DISABLED"] = "1"
    import onnxruntime as module

    module.set_default_logger_severity(_ERROR)
    return module


def session_options(
    level: str = "all", entries: Mapping[str, str] | None = None, *, portable: bool = False
) -> Any:
    """Return options for one thread.

    Args:
        level: Graph optimisation, one of :data:`LEVELS`.
        entries: Further configuration entries.
        portable: Leave out rewrites that this machine's instruction set asks for; for graphs that are kept.
    """
    module = onnxruntime()
    options = module.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL
    options.graph_optimization_level = getattr(module.GraphOptimizationLevel, LEVELS[level])
    for key, value in ({**(_PORTABLE if portable else {}), **(entries or {})}).items():
        options.add_session_config_entry(key, value)
    return options


def open_session(path: Path, options: Any | None = None) -> Any:
    """Open a model on the processor.

    Raises:
        InvalidInputError: ONNX Runtime does not load it; the message carries its reason in one line.
    """
    options = session_options() if options is None else options
    try:
        return onnxruntime().InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # every failure of the runtime is a class of its own C++ binding
        reason, advice = _why_unloadable(error)
        raise InvalidInputError(
            f"ONNX Runtime does not load {path.name}: {reason}", next_step=advice
        ) from error


def _why_unloadable(error: BaseException) -> tuple[str, str]:
    """Return which operator is at fault, where the runtime names one, and what to try."""
    text = first_line(error)
    if found := _NOT_IMPLEMENTED.search(text):
        return (
            "it has no implementation of {} of operator set {} (node {!r}).".format(*found.groups()),
            "Export the model again with operator set 13 to 21.",
        )
    if found := _UNKNOWN.search(text):
        domain = f" of the domain {found[1]}" if found[1] else ""
        return (
            f"it does not know the operator {found[2]}{domain}.",
            "Put standard operators in its place, or cut that part off the model.",
        )
    return text, "Check the file with onnx.checker, or export it with an operator set up to 21."


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, cut to a readable length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:297] + "..."
