"""Looks and trials to judge, as a healthy device gives them; a test changes what it is about."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from edgeloop_agent.fitness.anomalies import SeenBlock, SeenTrial
from edgeloop_agent.fitness.preflight import Look
from edgeloop_agent.fitness.vitals import ClockPolicy, ProcessorTime, Seen, Vitals
from edgeloop_agent.fitness.watch import Watched
from edgeloop_protocol.types.conditions import Watch
from edgeloop_protocol.types.measurement import Reading
from edgeloop_protocol.types.trial import RuntimeSettings

GIB = 1 << 30


def policy(
    governor: str = "performance", low: float = 6e8, high: float = 1.5e9
) -> Seen[tuple[ClockPolicy, ...]]:
    return Seen(value=(ClockPolicy(name="policy0", governor=governor, minimum_hz=low, maximum_hz=high),))


def reading(name: str, value: float | None, unit: str = "count", reason: str = "") -> Reading:
    return Reading(name=name, value=value, unit=unit, reason=reason)


def healthy(**changes: Any) -> Vitals:
    """A fit board of four processors."""
    vitals = Vitals(
        monotonic_ns=0,
        processors=Seen(value=ProcessorTime(busy_s=100.0, stolen_s=0.0, total_s=1000.0, count=4)),
        load_average_1min=0.1,
        policies=policy(),
        boost=Seen(value=False),
        passive_trip_celsius=Seen(value=80.0),
        available_memory_bytes=Seen(value=2 * GIB),
        swapped_page_count=Seen(value=7),
        writing_bytes=Seen(value=0),
        clock_synchronised=Seen(value=True),
        power_mode=Seen(value="pmode:0002"),
        on_mains=Seen(value=True),
        readings=(reading("thermal/cpu", 45.0, "celsius"), reading("throttle/throttled_now", 0.0)),
    )
    return dataclasses.replace(vitals, **changes)


@pytest.fixture
def look() -> Callable[..., Look]:
    """Make a look of one second, of which the device's own work was 40 ms of 4 s."""

    def make(busy_s: float = 0.04, wanted: int = GIB, idle: float | None = 44.0, **after: Any) -> Look:
        time = ProcessorTime(busy_s=100.0 + busy_s, stolen_s=0.0, total_s=1004.0, count=4)
        later: dict[str, Any] = {"monotonic_ns": 10**9, "processors": Seen(value=time), **after}
        return Look(before=healthy(), after=healthy(**later), wanted_memory_bytes=wanted, idle_celsius=idle)

    return make


@pytest.fixture
def watched() -> Callable[..., Watched]:
    """Make what a watcher saw of one undisturbed second."""

    def make(**changes: Any) -> Watched:
        watch = Watch(
            runner_cpu_s=0.9,
            foreign_cpu_share=0.02,
            stolen_cpu_share=0.0,
            involuntary_switch_count=3,
            frequency_before_hz=1.5e9,
            frequency_after_hz=1.5e9,
            throttle_event_count=0,
        )
        fields = {name: changes.pop(name) for name in list(changes) if hasattr(watch, name)}
        seen = Watched(
            watch=dataclasses.replace(watch, **fields),
            duration_s=1.0,
            processor_count=4,
            governors=("performance", "performance"),
            fixed_clock=True,
            throttled=(),
            swapped_page_count=0,
            major_fault_count=0,
            loops_per_s=(5e7, 5e7),
        )
        return dataclasses.replace(seen, **changes)

    return make


@pytest.fixture
def trial(watched: Callable[..., Watched]) -> Callable[..., SeenTrial]:
    """Make a trial of three blocks; the one of the given round is disturbed."""

    def make(round_index: int = -1, series: str = "nominal", **disturbed: Any) -> SeenTrial:
        own = {
            name: disturbed.pop(name) for name in ("settings", "placement", "governors") if name in disturbed
        }
        times = {n: disturbed.pop(n) for n in ("first_inference_s", "warmup_slowest_s") if n in disturbed}
        blocks = []
        for index in range(3):
            here = index == round_index
            block = SeenBlock(
                round=index,
                watched=watched(**disturbed) if here else watched(),
                p50_s=0.01,
                first_inference_s=0.08,
                warmup_slowest_s=0.02,
            )
            blocks.append(dataclasses.replace(block, **times) if here else block)
        fields = {
            "settings": RuntimeSettings(),
            "placement": None,
            "governors": ("performance", "performance"),
        }
        return SeenTrial(blocks=blocks, series=series, **{**fields, **own})

    return make
