"""Node-by-node times and placement from ONNX Runtime's profile, a Chrome trace in microseconds."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeloop_protocol.types.outcome import NodeTime, Placement

__all__ = ["placement_from_events", "placement_from_profile"]

_SUFFIX = "_kernel_time"
_MICRO = 1e-6


def placement_from_profile(path: Path, first_run: int) -> Placement:
    """Return the mean time of each node over the runs from ``first_run`` on, or the reason why not."""
    try:
        events = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        return Placement(reason=f"the runtime's profile cannot be read: {error}")
    return placement_from_events(events, first_run)


def placement_from_events(events: Sequence[Mapping[str, Any]], first_run: int) -> Placement:
    """Return the mean time of each node.

    Nodes inside the body of a Loop, If or Scan are listed beside the node that holds them; its time includes
    theirs.

    Args:
        events: the trace; times in microseconds, whole.
        first_run: earlier runs are warm-up and do not count.
    """
    runs = sorted(event["ts"] for event in events if event.get("name") == "model_run")[first_run:]
    kernels = [event for event in events if _is_kernel(event) and runs and event["ts"] >= runs[0]]
    if not kernels:
        return Placement(reason="the runtime's profile holds no node of a measured run")
    totals: dict[tuple[str, str, str], int] = {}
    for event in sorted(kernels, key=lambda event: int(event["ts"])):
        node = (event["name"].removesuffix(_SUFFIX), event["args"]["op_name"], event["args"]["provider"])
        totals[node] = totals.get(node, 0) + int(event["dur"])
    providers = Counter(provider for _, _, provider in totals)
    return Placement(
        nodes=tuple(
            NodeTime(name=name, op_type=op_type, provider=provider, mean_s=total * _MICRO / len(runs))
            for (name, op_type, provider), total in totals.items()
        ),
        nodes_per_provider=tuple(sorted(providers.items())),
    )


def _is_kernel(event: Mapping[str, Any]) -> bool:
    return event.get("cat") == "Node" and str(event.get("name", "")).endswith(_SUFFIX)
