"""Prometheus text: buckets that add up, and names that cannot break out."""

from __future__ import annotations

from edgeloop_agent.serving.metrics import Counter, Histogram, exposition, gauge


def test_a_histogram_counts_upward_to_all() -> None:
    times = Histogram("t_seconds", "Times.", ("model",), (0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 7.0):
        times.observe(value, "m")
    assert list(times.lines()) == [
        "# HELP t_seconds Times.",
        "# TYPE t_seconds histogram",
        't_seconds_bucket{model="m",le="0.1"} 2',
        't_seconds_bucket{model="m",le="1"} 3',
        't_seconds_bucket{model="m",le="+Inf"} 4',
        't_seconds_sum{model="m"} 7.65',
        't_seconds_count{model="m"} 4',
    ]


def test_hostile_values_stay_between_their_quotes() -> None:
    errors = Counter("e_total", "Errors.", ("error",))
    errors.add('"} 1\nfree 2 \\')
    errors.add('"} 1\nfree 2 \\')
    text = exposition(errors.lines())
    assert text.splitlines()[-1] == rb'e_total{error="\"} 1\nfree 2 \\"} 2'
    assert len(text.splitlines()) == 3


def test_a_gauge_is_one_series() -> None:
    assert list(gauge("g", "G.", {}, 2.0))[-1] == "g 2"
