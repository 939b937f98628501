"""Charts of what load and heat do: a sustained run with its temperature and clock, throughput, latency over rate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from edgeloop_protocol.types.load import Sustained, Window
from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import Run

from edgeloop.domain.experiment import DeviceResult
from edgeloop.domain.sweep import BatchSweep, RateSweep
from edgeloop.report.spec import Figure, safe
from edgeloop.report.units import amount, scale

__all__ = ["load_figures"]


def load_figures(device: DeviceResult, compared: str) -> tuple[Figure, ...]:
    """Return the charts that there are figures for."""
    found = (
        _sustained(device.runs, compared),
        _throughput(device.batch_sweep),
        _rates(device.rate_sweep),
    )
    return tuple(figure for figure in found if figure is not None)


def _shown(runs: Sequence[Run], compared: str) -> list[tuple[Run, Sustained]]:
    """Return the anchor's and the compared candidate's sustained runs, or the first two."""
    sustained = [(run, run.sustained) for run in runs if run.sustained]
    chosen = [pair for pair in sustained if pair[0].trial.anchor or pair[0].trial.label == compared]
    return (chosen or sustained)[:2]


def _sustained(runs: Sequence[Run], compared: str) -> Figure | None:
    shown = _shown(runs, compared)
    if not shown:
        return None
    slowest = max((w.p50_s or 0.0 for _, s in shown for w in s.windows), default=0.0)
    factor, unit = scale(slowest, "s")
    panels: list[tuple[str, Callable[[Window], float | None]]] = [
        (f"latency [{unit}]", lambda w: None if w.p50_s is None else w.p50_s / factor)
    ]
    if any(w.temperature_celsius is not None for _, s in shown for w in s.windows):
        panels.append(("hottest zone [°C]", lambda w: w.temperature_celsius))
    if any(w.frequency_hz is not None for _, s in shown for w in s.windows):
        panels.append(("clock [GHz]", lambda w: None if w.frequency_hz is None else w.frequency_hz / 1e9))
    if any(w.power_w is not None for _, s in shown for w in s.windows):
        panels.append(("power [W]", lambda w: w.power_w))
    data: list[dict[str, Any]] = []
    for run, sustained in shown:
        color = "var:original" if run.trial.anchor else "var:accent"
        for number, (_, value) in enumerate(panels, start=1):
            data.append(_line(run.trial.label, sustained, value, color, number))
        data += _tail(run.trial.label, sustained, factor, color)
        data += _throttles(sustained, factor, shown=run is shown[0][0])
    return Figure(
        title="Burst to sustained",
        caption=_sustained_caption(shown, len(panels)),
        spec={"data": data, "layout": _stacked([title for title, _ in panels])},
        height_px=230 + 130 * len(panels),
        wide=True,
    )


def _minutes(window: Window) -> float:
    return (window.start_s + window.duration_s / 2) / 60


def _line(
    label: str,
    sustained: Sustained,
    value: Callable[[Window], float | None],
    color: str,
    panel: int,
) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": f"{safe(label)}, median" if panel == 1 else safe(label),
        "legendgroup": safe(label),
        "showlegend": panel == 1,
        "x": [_minutes(w) for w in sustained.windows],
        "y": [value(w) for w in sustained.windows],
        "yaxis": "y" if panel == 1 else f"y{panel}",
        "line": {"color": color, "width": 2 if panel == 1 else 1.5},
        "hovertemplate": "%{x:.1f} min: %{y:.4g}<extra></extra>",
    }


def _tail(label: str, sustained: Sustained, factor: float, color: str) -> list[dict[str, Any]]:
    known = [w for w in sustained.windows if w.p95_s is not None]
    if not known:
        return []
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "name": f"{safe(label)}, p95",
            "legendgroup": safe(label),
            "x": [_minutes(w) for w in known],
            "y": [(w.p95_s or 0.0) / factor for w in known],
            "line": {"color": color, "width": 1, "dash": "dot"},
            "hovertemplate": "p95 at %{x:.1f} min: %{y:.4g}<extra></extra>",
        }
    ]


def _throttles(sustained: Sustained, factor: float, *, shown: bool) -> list[dict[str, Any]]:
    hit = [w for w in sustained.windows if w.throttle_event_count and w.p50_s is not None]
    if not hit:
        return []
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "name": "throttled in this window",
            "legendgroup": "throttled",
            "showlegend": shown,
            "x": [_minutes(w) for w in hit],
            "y": [(w.p50_s or 0.0) / factor for w in hit],
            "marker": {"color": "var:bad", "symbol": "triangle-down", "size": 10},
            "text": [f"{w.throttle_event_count} throttle events" for w in hit],
            "hovertemplate": "%{text} at %{x:.1f} min<extra></extra>",
        }
    ]


def _stacked(titles: Sequence[str]) -> dict[str, Any]:
    """Return a layout of panels over one time axis, the first twice as high as the others."""
    gap, parts = 0.06, len(titles) + 1
    height = (1.0 - gap * (len(titles) - 1)) / parts
    layout: dict[str, Any] = {
        "xaxis": {"title": {"text": "time [min]"}, "anchor": "y" if len(titles) == 1 else f"y{len(titles)}"}
    }
    top = 1.0
    for number, title in enumerate(titles, start=1):
        bottom = max(0.0, top - height * (2 if number == 1 else 1))
        axis = {"title": {"text": title}, "domain": [bottom, top], "anchor": "x"}
        layout["yaxis" if number == 1 else f"yaxis{number}"] = axis
        top = bottom - gap
    return layout


def _sustained_caption(shown: Sequence[tuple[Run, Sustained]], panel_count: int) -> str:
    said = []
    for run, sustained in shown:
        ratio, throttle = sustained.ratio, sustained.time_to_throttle_s
        by = f"last minute over first {_times(ratio)}" if ratio.value is not None else ratio.reason
        when = amount(throttle.value, "s") if throttle.value is not None else throttle.reason
        said.append(f"{run.trial.label}: {by}; time to throttle: {when}")
    absent = "" if panel_count > 1 else " Temperature and clock cannot be read on this device."
    return f"Each point is one window. {'. '.join(said)}.{absent}"


def _times(estimate: Estimate) -> str:
    text = f"{estimate.value:.3f}×"
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} ({estimate.low:.3f} to {estimate.high:.3f})"


def _bars(estimates: Sequence[Estimate], factor: float, color: str) -> dict[str, Any]:
    values = [e.value or 0.0 for e in estimates]
    up = [((v if e.high is None else e.high) - v) / factor for e, v in zip(estimates, values, strict=True)]
    down = [(v - (v if e.low is None else e.low)) / factor for e, v in zip(estimates, values, strict=True)]
    return {"type": "data", "array": up, "arrayminus": down, "thickness": 1, "width": 4, "color": color}


def _throughput(sweep: BatchSweep | None) -> Figure | None:
    points = [p for p in sweep.points if p.throughput_hz.value is not None] if sweep else []
    if sweep is None or not points:
        return None
    best = [p.batch_size == sweep.best_batch_size for p in points]
    trace = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": safe(sweep.candidate),
        "x": [p.batch_size for p in points],
        "y": [p.throughput_hz.value for p in points],
        "error_y": _bars([p.throughput_hz for p in points], 1.0, "var:accent"),
        "line": {"color": "var:accent", "width": 1.5},
        "marker": {
            "color": ["var:good" if b else "var:accent" for b in best],
            "symbol": ["star" if b else "circle" for b in best],
            "size": [16 if b else 9 for b in best],
        },
        "hovertemplate": "batch %{x}: %{y:.4g} items/s<extra></extra>",
    }
    layout = {
        "xaxis": {"title": {"text": "batch size"}, "type": "log", "tickvals": [p.batch_size for p in points]},
        "yaxis": {"title": {"text": "items per second"}, "rangemode": "tozero"},
        "showlegend": False,
    }
    return Figure(
        title="Throughput over batch size",
        caption=f"{sweep.candidate}: {sweep.reason} Bars are 95 % intervals.",
        spec={"data": [trace], "layout": layout},
    )


def _rates(sweep: RateSweep | None) -> Figure | None:
    points = [p for p in sweep.points if p.p50_s.value is not None] if sweep else []
    if sweep is None or not points:
        return None
    factor, unit = scale(max(p.p99_s.value or p.p50_s.value or 0.0 for p in points), "s")
    data: list[dict[str, Any]] = []
    for name, estimates, color in (
        ("p50", [p.p50_s for p in points], "var:original"),
        ("p99", [p.p99_s for p in points], "var:accent"),
    ):
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": f"{name} from intended time",
                "x": [p.offered_rate_hz for p in points],
                "y": [None if e.value is None else e.value / factor for e in estimates],
                "error_y": _bars(estimates, factor, color),
                "line": {"color": color, "width": 1.5},
                "marker": {"color": [_rate_color(p.carried, color) for p in points], "size": 9},
                "hovertemplate": f"{name} at %{{x:g}} /s: %{{y:.4g}} {unit}<extra></extra>",
            }
        )
    layout: dict[str, Any] = {
        "xaxis": {"title": {"text": "requests per second"}, "rangemode": "tozero"},
        "yaxis": {"title": {"text": f"latency [{unit}]"}, "type": "log", "dtick": "D2"},
    }
    if sweep.knee_hz is not None:
        line = {"color": "var:good", "width": 1.5, "dash": "dash"}
        ends = {"x0": sweep.knee_hz, "x1": sweep.knee_hz, "y0": 0, "y1": 1, "yref": "paper"}
        layout["shapes"] = [{"type": "line", "line": line, **ends}]
    return Figure(
        title="Latency over rate",
        caption=f"{sweep.candidate}, {sweep.arrival.replace('_', ' ')} arrivals: {sweep.reason} "
        "Red points are not carried.",
        spec={"data": data, "layout": layout},
    )


def _rate_color(carried: bool | None, color: str) -> str:
    return "var:bad" if carried is False else color
