"""Answers for one deployment: over the Open Inference Protocol in a process of its own, or inside a program.

Law: started by exec as ``python -I -m edgeloop_agent.serving``, or imported by programs on the board for
``open_session``; the daemon never imports it. Uses NumPy, the runner's runtimes and, in the process alone, the
protocol's stubs. Serves what the deployment's pointer names and nothing else; every answer comes whole from one
version, and says which.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeloop_agent.serving.session import Session, open_session

__all__ = ["Session", "open_session"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from edgeloop_agent.serving import session

    return getattr(session, name)
