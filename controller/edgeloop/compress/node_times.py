"""How long each node of a float model takes on this host, unfused, so that nodes keep their names."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop.compress.runtime import open_session, session_options

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["node_times"]

_REPEATS = 5
_SUFFIX = "_kernel_time"


def node_times(path: Path, feed: Mapping[str, NDArray[np.generic]]) -> dict[str, float]:
    """Return seconds by node name: the fastest of five runs, one thread, no fusion.

    Args:
        path: an ONNX file whose nodes have names of their own.
        feed: every input.
    """
    with tempfile.TemporaryDirectory(prefix="edgeloop-times-") as name:
        options = session_options("none")
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(name) / "profile")
        session = open_session(path, options)
        try:
            for _ in range(_REPEATS):
                session.run(None, dict(feed))
        finally:
            events: list[dict[str, Any]] = json.loads(Path(session.end_profiling()).read_text())
    times: dict[str, float] = {}
    for event in events:
        if event.get("cat") == "Node" and str(event.get("name", "")).endswith(_SUFFIX):
            node, duration = event["name"][: -len(_SUFFIX)], float(event["dur"]) * 1e-6
            times[node] = min(times.get(node, duration), duration)
    return times
