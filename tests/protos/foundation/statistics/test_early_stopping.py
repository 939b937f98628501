"""Early stopping against what LoadGen itself made of the same latencies."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_foundation.statistics import early_stopping_estimate, early_stopping_fast_count_min

FIXTURES = Path(__file__).parents[3] / "fixtures" / "loadgen"


def recorded(name: str) -> Any:
    return json.loads((FIXTURES / f"{name}.json").read_text())


@pytest.mark.parametrize(
    ("name", "q", "key"),
    [
        ("single_stream", 0.9, "early_stopping_latency_ss"),
        ("single_stream", 0.99, "early_stopping_latency_ms"),
        ("single_stream_64", 0.9, "early_stopping_latency_ss"),
        ("multi_stream", 0.99, "early_stopping_latency_ms"),
    ],
)
def test_the_estimate_is_that_of_loadgen(name: str, q: float, key: str) -> None:
    run = recorded(name)
    assert early_stopping_estimate(sorted(run["latencies_ns"]), q) == run["results"][key]


@pytest.mark.parametrize("name", ["server_1800us", "server_2200us", "server_2600us"])
def test_a_server_run_that_fails_needs_as_many_more_queries_as_loadgen_says(name: str) -> None:
    run = recorded(name)
    slow = sum(latency > run["latency_bound_ns"] for latency in run["latencies_ns"])
    more = re.search(r"at least (\d+)\s+more queries", run["results"]["early_stopping_result"])
    assert more is not None
    needed = slow + early_stopping_fast_count_min(slow, 0.99)
    assert needed - len(run["latencies_ns"]) == int(more[1])


@pytest.mark.parametrize(("q", "floor"), [(0.9, 64), (0.99, 662)])
def test_the_floors_are_those_of_the_rules(q: float, floor: int) -> None:
    assert early_stopping_estimate(range(floor - 1), q) is None
    assert early_stopping_estimate(range(floor), q) == floor - 1
    assert 1 + early_stopping_fast_count_min(1, q) == floor


def test_more_samples_discard_more_of_the_tail() -> None:
    shares = [early_stopping_estimate(range(count), 0.9) for count in (100, 1000, 100_000)]
    gaps = [estimate / count - 0.9 for estimate, count in zip(shares, (100, 1000, 100_000), strict=True)]  # type: ignore[operator]
    assert gaps == sorted(gaps, reverse=True)
    assert 0.0 < gaps[-1] < 0.01


def test_no_quantile_and_no_negative_count() -> None:
    for q in (0.0, 1.0):
        with pytest.raises(InvalidInputError):
            early_stopping_estimate([1.0] * 100, q)
    with pytest.raises(InvalidInputError):
        early_stopping_fast_count_min(-1, 0.9)
