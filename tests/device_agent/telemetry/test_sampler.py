"""The sampler: what a look becomes, what is absent and why, what it may cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from edgeloop_agent.fitness.vitals import ProcessorTime, Seen
from edgeloop_agent.telemetry.activity import Activity, NetworkBytes, own_memory_bytes, read_activity
from edgeloop_agent.telemetry.options import TelemetryOptions
from edgeloop_agent.telemetry.ring import Ring
from edgeloop_agent.telemetry.sampler import Telemetry, power_of, sample_of
from edgeloop_foundation.errors import InvalidInputError, UnavailableError
from edgeloop_foundation.ports.fs import OsFileSystem
from edgeloop_foundation.ports.simulated_clock import SimulatedClock
from edgeloop_protocol.types.measurement import Reading
from edgeloop_protocol.types.telemetry import ServedTelemetry
from edgeloop_protocol.types.vitals import DeviceVitals

from tests.device_agent.conftest import QuietBoard

NET = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls
    lo: 9999999    100    0    0    0     0          0         0  9999999    100    0    0    0     0       0          0
  eth0: 1000       10    0    0    0     0          0         0   200       10    0    0    0     0       0          0
 wlan0:  500        5    0    0    0     0          0         0    50        5    0    0    0     0       0          0
"""


def reading(name: str, unit: str, value: float) -> Reading:
    return Reading(name=name, unit=unit, value=value)


def busy(busy_s: float, total_s: float) -> Seen[ProcessorTime]:
    return Seen(value=ProcessorTime(busy_s=busy_s, stolen_s=0.0, total_s=total_s, count=4))


def test_a_look_becomes_a_sample() -> None:
    vitals = DeviceVitals(
        wall_s=5.0,
        age_s=0.5,
        frequency_hz=1.8e9,
        disk_free_bytes=10,
        readings=(
            reading("thermal/cpu", "celsius", 61.0),
            reading("throttle/cpu/throttled_now", "count", 1.0),
            reading("throttle/cpu/events", "count", 4.0),
            reading("ina3221/total", "watt", 7.5),
            reading("ina3221/cpu", "watt", 3.0),
        ),
    )
    activity = Activity(
        processors=busy(30.0, 200.0),
        network=Seen(value=NetworkBytes(received=7, sent=8)),
        disk_total_bytes=Seen(value=100),
    )
    sample = sample_of(vitals, activity, busy(10.0, 160.0).value)
    assert sample.cpu_busy_share == 0.5
    assert (sample.temperature_celsius, sample.frequency_hz, sample.power_w) == (61.0, 1.8e9, 7.5)
    assert (sample.throttled, sample.throttle_event_count) == (("throttled",), 4.0)
    assert (sample.network_received_bytes, sample.network_sent_bytes, sample.disk_total_bytes) == (7, 8, 100)
    assert (sample.look_age_s, sample.agent_cpu_s > 0) == (0.5, True)
    assert dict(sample.absent).keys() == {"available_memory_bytes", "load_average_1min"}


def test_what_is_absent_has_a_reason_and_is_never_zero() -> None:
    nothing = Activity(
        processors=Seen(reason="no stat"), network=Seen(reason="no net"), disk_total_bytes=Seen()
    )
    sample = sample_of(DeviceVitals(wall_s=0.0), nothing, None)
    absent = dict(sample.absent)
    for name in (
        "cpu_busy_share",
        "temperature_celsius",
        "power_w",
        "network_sent_bytes",
        "throttle_event_count",
    ):
        assert getattr(sample, name) is None
        assert absent[name]
    assert (absent["cpu_busy_share"], absent["network_sent_bytes"]) == ("no stat", "no net")
    assert absent["throttled"] == "no throttle sensor"


@pytest.mark.parametrize(
    ("watts", "value", "reason"),
    [
        ({}, None, "no sensor of power"),
        ({"plug/active": 4.0}, 4.0, ""),
        ({"a/total": 9.0, "a/cpu": 4.0}, 9.0, ""),
        ({"a/cpu": 4.0, "a/gpu": 5.0}, None, "2 rails and no total: a/cpu, a/gpu"),
    ],
)
def test_power_is_a_total_or_the_only_channel(
    watts: dict[str, float], value: float | None, reason: str
) -> None:
    found = power_of(tuple(reading(name, "watt", watt) for name, watt in watts.items()))
    assert found.value == value
    if reason:
        assert found.reason == reason


def test_counters_of_the_kernel(tmp_path: Path) -> None:
    (tmp_path / "proc/net").mkdir(parents=True)
    (tmp_path / "proc/net/dev").write_text(NET)
    (tmp_path / "proc/stat").write_text("cpu  100 0 50 850 0 0 0 0 0 0\ncpu0 100 0 50 850 0 0 0 0 0 0\n")
    found = read_activity(tmp_path, Seen(value=5))
    assert found.network.value == NetworkBytes(received=1500, sent=250)
    assert found.processors.value is not None
    assert found.processors.value.busy_s / found.processors.value.total_s == pytest.approx(0.15)
    gone = read_activity(tmp_path / "nowhere", Seen())
    assert (gone.network.value, gone.network.reason) == (None, "no proc/net/dev")
    memory = own_memory_bytes().value
    assert memory is not None
    assert memory > 1 << 20


class _Looks:
    """Looks that take as much processor time as they are told to."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    async def look(self) -> DeviceVitals:
        if self.error is not None:
            raise self.error
        return DeviceVitals(wall_s=1.0)


async def nothing_served() -> tuple[ServedTelemetry, ...]:
    return (ServedTelemetry(name="demo", process="", reason="it is starting"),)


def make(tmp_path: Path, looks: _Looks, **words: Any) -> Telemetry:
    ring = Ring(OsFileSystem(), tmp_path / "ring", capacity_bytes=1 << 20)
    ring.open()
    return Telemetry(
        ring=ring,
        options=TelemetryOptions(**words),
        board=QuietBoard(),  # type: ignore[arg-type]
        look=looks.look,
        served=nothing_served,
        clock=SimulatedClock(),
    )


async def test_a_look_that_fails_is_a_sample_that_was_dropped(tmp_path: Path) -> None:
    looks = _Looks()
    telemetry = make(tmp_path, looks)
    await telemetry.sample()
    looks.error = UnavailableError("the sensor is gone.")
    await telemetry.sample()
    assert "could not be looked at: the sensor is gone." in telemetry.status().reason
    looks.error = None
    await telemetry.sample()
    status = telemetry.status()
    assert (status.next_sequence, status.spoiled_count, status.reason) == (4, 1, "")
    dropped, samples = telemetry.ring.read("", 0)
    kept = list(samples)
    assert (dropped, [sample.sequence for sample in kept]) == (1, [1, 3])
    assert kept[0].served[0].reason == "it is starting"


async def test_the_period_grows_where_samples_would_cost_too_much(tmp_path: Path) -> None:
    telemetry = make(tmp_path, _Looks(), period_s=1.0, processor_share_max=1e-9)
    assert (telemetry.period_s, telemetry.status().reason) == (1.0, "")
    await telemetry.sample()
    assert telemetry.period_s > 1.0
    assert telemetry.status().period_s == telemetry.period_s
    assert "would take more of a processor than it may" in telemetry.status().reason


@pytest.mark.parametrize(
    "words",
    [{"period_s": 0.5}, {"ring_bytes": 1000}, {"processor_share_max": 0.0}, {"processor_share_max": 2.0}],
)
def test_options_that_cannot_be(words: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        TelemetryOptions(**words)
