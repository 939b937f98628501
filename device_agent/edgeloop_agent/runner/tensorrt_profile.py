"""TensorRT's layer profiles and layer lists, as ``trtexec --exportProfile`` and ``--exportLayerInfo`` write them.

Layers are what TensorRT made of the model's nodes: several fused into one, and copies between formats added.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgeloop_protocol.types.outcome import NodeTime, Placement

__all__ = ["LayerRecorder", "LayerTime", "layer_types", "parse_profile", "placement_from_layers"]

_MILLI = 1e-3
_UNKNOWN = ""
_EARLY_RUNS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerTime:
    """One layer and the mean of its times."""

    #: Name that TensorRT gave it, for example "Conv_4 + PWN(Clip_7)".
    name: str
    #: Mean seconds per run.
    mean_s: float


def parse_profile(content: bytes) -> tuple[LayerTime, ...]:
    """Return the layers of an exported profile in order of execution.

    The file is a list: ``{"count": runs}`` first, then one object per layer with ``name``, ``timeMs`` over all runs,
    ``averageMs`` and ``percentage`` (newer versions add ``medianMs``).

    Raises:
        ValueError: it is not such a list, or a time contradicts the count.
    """
    entries = json.loads(content)
    if not isinstance(entries, list) or not entries or not isinstance(entries[0], dict):
        raise ValueError("a TensorRT profile is a list that begins with the count of runs")
    count = entries[0].get("count")
    if not isinstance(count, int) or count < 1:
        raise ValueError("a TensorRT profile begins with the count of runs")
    return tuple(_layer(entry, count) for entry in entries[1:])


def _layer(entry: object, count: int) -> LayerTime:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise ValueError("a layer of a TensorRT profile has a name")
    total, average = (_milliseconds(entry, key) for key in ("timeMs", "averageMs"))
    # Six digits are printed of each.
    if not math.isclose(total / count, average, rel_tol=1e-4, abs_tol=1e-9):
        raise ValueError(
            f"the layer {entry['name']!r} took {total} ms in {count} runs, not {average} ms in each"
        )
    return LayerTime(name=entry["name"], mean_s=average * _MILLI)


def _milliseconds(entry: Mapping[str, object], key: str) -> float:
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"the layer {entry['name']!r} has no time")
    return float(value)


def layer_types(content: bytes | str) -> dict[str, str]:
    """Return the type of each layer by its name; empty text where the engine was built without details.

    An engine built with less than detailed verbosity lists names alone.

    Raises:
        ValueError: it is no such list.
    """
    document = json.loads(content)
    layers = document.get("Layers") if isinstance(document, dict) else None
    if not isinstance(layers, list):
        raise ValueError('TensorRT\'s layer information is an object with a list "Layers"')
    found: dict[str, str] = {}
    for layer in layers:
        if isinstance(layer, str):
            found[layer] = _UNKNOWN
        elif isinstance(layer, dict) and isinstance(layer.get("Name"), str):
            found[layer["Name"]] = str(layer.get("LayerType", _UNKNOWN))
        else:
            raise ValueError("a layer of TensorRT's layer information has a name")
    return found


def placement_from_layers(layers: Sequence[LayerTime], types: Mapping[str, str], provider: str) -> Placement:
    """Return layers as nodes; those that took no time were folded away and are not listed.

    Args:
        layers: in order of execution.
        types: type by name, see ``layer_types``.
        provider: what ran them.
    """
    nodes = tuple(
        NodeTime(
            name=layer.name,
            op_type=types.get(layer.name) or "layer",
            provider=provider,
            mean_s=layer.mean_s,
        )
        for layer in layers
        if layer.mean_s > 0.0
    )
    if not nodes:
        return Placement(reason="TensorRT's profile holds no layer of a measured run")
    return Placement(nodes=nodes, nodes_per_provider=((provider, len(nodes)),))


class LayerRecorder:
    """Adds up the times that TensorRT reports layer by layer, run by run."""

    def __init__(self) -> None:
        self._runs = 0
        self._totals: dict[str, float] = {}
        self._early: dict[int, dict[str, float]] = {0: {}}

    def report(self, name: str, time_ms: float) -> None:
        """Take the time of one layer in the current run; a layer may report several times."""
        self._totals[name] = self._totals.get(name, 0.0) + time_ms

    def end_run(self) -> None:
        """Close the current run."""
        self._runs += 1
        if self._runs <= _EARLY_RUNS:
            self._early[self._runs] = dict(self._totals)

    def means(self, first_run: int) -> tuple[LayerTime, ...]:
        """Return the mean of each layer over the runs from ``first_run`` on; none when there are no such runs.

        Raises:
            ValueError: more early runs are to be left out than are kept apart.
        """
        counted = self._runs - first_run
        if counted < 1:
            return ()
        if first_run not in self._early:
            raise ValueError(f"at most {_EARLY_RUNS} early runs can be left out, not {first_run}")
        before = self._early[first_run]
        return tuple(
            LayerTime(name=name, mean_s=(total - before.get(name, 0.0)) / counted * _MILLI)
            for name, total in self._totals.items()
        )
