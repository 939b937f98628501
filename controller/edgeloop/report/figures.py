"""Charts as plotly.js specifications; colours are names that the page resolves for light and dark."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from edgeloop_protocol.types.run import Run

from edgeloop.domain.experiment import DeviceResult, ExperimentResult
from edgeloop.domain.strategy import Evidence, Finding
from edgeloop.report.figures_load import load_figures
from edgeloop.report.spec import Figure, safe
from edgeloop.report.units import amount, quantity_name, quantity_unit, scale
from edgeloop.report.view import run_of

__all__ = ["Figure", "Samples", "figures"]

Samples = Callable[[str], bytes | None]
"""Digest of a samples blob -> little-endian int64 nanoseconds, or None when it is not kept."""

_DRAWN_SAMPLES = 400
_DRAWN_NODES = 15
_NAME_LENGTH = 42


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mark:
    """How one standing looks."""

    name: str
    color: str
    symbol: str
    size: int = 11


_MARKS = {
    "chosen": _Mark(name="chosen", color="var:good", symbol="star", size=17),
    "original": _Mark(name="original", color="var:original", symbol="diamond", size=12),
    "front": _Mark(name="on the front", color="var:accent", symbol="circle"),
    "other": _Mark(name="feasible, not on the front", color="var:quiet", symbol="circle-open"),
    "undecided": _Mark(name="undecided", color="var:open", symbol="circle-open"),
    "out": _Mark(name="infeasible", color="var:bad", symbol="x", size=10),
}


def figures(
    result: ExperimentResult, device: DeviceResult, compared: str, samples: Samples | None
) -> tuple[Figure, ...]:
    """Return the charts of one device; one without data is left out."""
    found = (
        _pareto(result, device),
        _latency(device, samples),
        _nodes(device, compared),
        *load_figures(device, compared),
    )
    return tuple(figure for figure in found if figure is not None)


def _standing(evidence: Evidence, finding: Finding | None) -> str:
    if finding and finding.standing == "chosen":
        return "chosen"
    if evidence.original:
        return "original"
    if finding is None or finding.standing in ("infeasible", "excluded"):
        return "out"
    if finding.on_front:
        return "front"
    return "undecided" if finding.standing == "undecided" else "other"


def _pareto(result: ExperimentResult, device: DeviceResult) -> Figure | None:
    x, y = "latency_p50", "quality"
    shown = [e for e in device.evidence if e.value(x).value is not None and e.value(y).value is not None]
    if not shown:
        y = "size"
        shown = [e for e in device.evidence if e.value(x).value is not None and e.value(y).value is not None]
    if not shown:
        return None
    findings = {f.candidate: f for f in (device.strategy.findings if device.strategy else ())}
    groups: dict[str, list[Evidence]] = {}
    for evidence in shown:
        groups.setdefault(_standing(evidence, findings.get(evidence.candidate)), []).append(evidence)
    metric = result.data.metric
    axes = (_Axis.over(shown, x, metric), _Axis.over(shown, y, metric))
    front = [e for e in shown if e.candidate in findings and findings[e.candidate].on_front]
    data = [
        *_front_line(front, axes),
        *(_points(_MARKS[name], groups[name], axes) for name in _MARKS if name in groups),
    ]
    layout = {"xaxis": {"title": {"text": axes[0].title}}, "yaxis": {"title": {"text": axes[1].title}}}
    better = "up" if y == "quality" else "down"
    return Figure(
        title=f"{quantity_name(y, metric).capitalize()} against latency",
        caption=f"Better is left and {better}. Bars are 95 % intervals; the line joins the Pareto front.",
        spec={"data": data, "layout": layout},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axis:
    """A quantity in the unit that its axis has."""

    quantity: str
    factor: float
    title: str

    @classmethod
    def over(cls, shown: Sequence[Evidence], quantity: str, metric: str) -> _Axis:
        largest = max(abs(e.value(quantity).value or 0.0) for e in shown)
        factor, unit = scale(largest, quantity_unit(quantity, metric))
        name = quantity_name(quantity, metric)
        return cls(quantity=quantity, factor=factor, title=f"{name} [{unit}]" if unit else name)

    def value(self, evidence: Evidence) -> float:
        return (evidence.value(self.quantity).value or 0.0) / self.factor

    def bars(self, group: Sequence[Evidence]) -> dict[str, Any]:
        up, down = [], []
        for estimate in (e.value(self.quantity) for e in group):
            value = estimate.value or 0.0
            up.append(((value if estimate.high is None else estimate.high) - value) / self.factor)
            down.append((value - (value if estimate.low is None else estimate.low)) / self.factor)
        return {"type": "data", "array": up, "arrayminus": down, "thickness": 1, "width": 3}


def _front_line(front: Sequence[Evidence], axes: tuple[_Axis, _Axis]) -> list[dict[str, Any]]:
    if len(front) < 2:
        return []
    ordered = sorted(front, key=axes[0].value)
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [axes[0].value(e) for e in ordered],
            "y": [axes[1].value(e) for e in ordered],
            "line": {"color": "var:accent", "width": 1.5, "dash": "dot"},
            "hoverinfo": "skip",
            "name": "Pareto front",
        }
    ]


def _points(mark: _Mark, group: Sequence[Evidence], axes: tuple[_Axis, _Axis]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": mark.name,
        "x": [axes[0].value(e) for e in group],
        "y": [axes[1].value(e) for e in group],
        "error_x": axes[0].bars(group) | {"color": mark.color},
        "error_y": axes[1].bars(group) | {"color": mark.color},
        "text": [safe(e.candidate) for e in group],
        "marker": {"color": mark.color, "symbol": mark.symbol, "size": mark.size, "line": {"width": 1.5}},
        "hovertemplate": "<b>%{text}</b><br>%{xaxis.title.text} %{x:.4g}<br>"
        "%{yaxis.title.text} %{y:.5g}<extra></extra>",
    }


def _latency(device: DeviceResult, samples: Samples | None) -> Figure | None:
    runs = [r for e in device.evidence if (r := run_of(device, e.candidate)) and r.timing and r.timing.steady]
    if not runs:
        return None
    slowest = max(r.timing.steady.p50.value or 0.0 for r in runs if r.timing and r.timing.steady)
    factor, unit = scale(slowest, "s")
    raw = {r.run_id: _raw_seconds(r, samples) for r in runs}
    data = [_cloud(run, raw[run.run_id], factor) for run in reversed(runs)]
    caption = "Raw samples of the steady phase; shapes of larger sets are drawn evenly by rank from "
    caption = f"{caption}{_DRAWN_SAMPLES} of them, smallest and largest included."
    if not all(raw.values()):
        caption = "Medians of the processes, and the quantiles; the raw samples are not kept here."
    layout = {
        "xaxis": {"title": {"text": f"latency [{unit}]"}, "rangemode": "normal"},
        "yaxis": {"automargin": True},
        "showlegend": False,
    }
    return Figure(
        title="Latency distributions",
        caption=caption,
        spec={"data": data, "layout": layout},
        height_px=130 + 62 * len(runs),
    )


def _raw_seconds(run: Run, samples: Samples | None) -> list[float]:
    blob = (
        samples(run.timing.samples_digest) if samples and run.timing and run.timing.samples_digest else None
    )
    if not blob:
        return []
    count = len(blob) // 8
    ordered = sorted(value / 1e9 for (value,) in struct.iter_unpack("<q", blob[: count * 8]))
    if count <= _DRAWN_SAMPLES:
        return ordered
    return [ordered[round(i * (count - 1) / (_DRAWN_SAMPLES - 1))] for i in range(_DRAWN_SAMPLES)]


def _cloud(run: Run, raw: Sequence[float], factor: float) -> dict[str, Any]:
    color = "var:original" if run.trial.anchor else "var:accent"
    label = _short(run.trial.label)
    if raw:
        return {
            "type": "violin",
            "orientation": "h",
            "x": [value / factor for value in raw],
            "y": [label] * len(raw),
            "name": label,
            "points": False,
            "box": {"visible": True, "width": 0.25},
            "meanline": {"visible": False},
            "line": {"color": color, "width": 1.2},
            "spanmode": "hard",
            "hoverinfo": "x",
        }
    values = _summary_points(run)
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [value / factor for _, value in values],
        "y": [label] * len(values),
        "text": [name for name, _ in values],
        "marker": {
            "color": color,
            "size": 10,
            "symbol": ["line-ns-open" if n != "p50" else "diamond" for n, _ in values],
        },
        "hovertemplate": "%{text} %{x:.4g}<extra></extra>",
    }


def _summary_points(run: Run) -> list[tuple[str, float]]:
    timing = run.timing
    if timing is None or timing.steady is None:
        return []
    steady = timing.steady
    quantiles = (("p50", steady.p50), ("p90", steady.p90), ("p95", steady.p95), ("p99", steady.p99))
    found = [(name, estimate.value) for name, estimate in quantiles if estimate.value is not None]
    found += [(f"median of round {b.round}", b.p50_s) for b in timing.blocks if b.p50_s is not None]
    return [("smallest", steady.minimum), *found, ("largest", steady.maximum)]


def _nodes(device: DeviceResult, compared: str) -> Figure | None:
    original = next((e.candidate for e in device.evidence if e.original), "")
    shown = [name for name in dict.fromkeys((original, compared)) if name]
    times = {name: _node_times(device, name) for name in shown}
    largest: dict[str, float] = {}
    for nodes in times.values():
        for name, seconds in nodes.items():
            largest[name] = max(largest.get(name, 0.0), seconds)
    top = sorted(largest, key=lambda name: largest[name])[-_DRAWN_NODES:]
    if not top:
        return None
    factor, unit = scale(largest[top[-1]], "s")
    data = [
        {
            "type": "bar",
            "orientation": "h",
            "name": safe(label),
            "y": [_short(name) for name in top],
            "x": [nodes[name] / factor if name in nodes else None for name in top],
            "customdata": [safe(name) for name in top],
            "marker": {"color": "var:original" if label == original else "var:good"},
            "hovertemplate": f"%{{customdata}}<br>%{{x:.3g}} {unit}<extra></extra>",
        }
        for label, nodes in times.items()
        if nodes
    ]
    total = "; ".join(
        f"{label}: {amount(sum(n.values()), 's')} in {len(n)} nodes" for label, n in times.items() if n
    )
    layout = {
        "xaxis": {"title": {"text": f"mean time [{unit}]"}},
        "yaxis": {"automargin": True},
        "barmode": "group",
    }
    return Figure(
        title="Time per node",
        caption=f"The {len(top)} longest, from a pass of its own with profiling on. {total}.",
        spec={"data": data, "layout": layout},
        height_px=150 + 26 * len(top),
        wide=True,
    )


def _node_times(device: DeviceResult, candidate: str) -> dict[str, float]:
    run = run_of(device, candidate)
    return {n.name: n.mean_s for n in run.placement.nodes} if run and run.placement else {}


def _short(text: str) -> str:
    return safe(text if len(text) <= _NAME_LENGTH else f"…{text[-_NAME_LENGTH + 1 :]}")
