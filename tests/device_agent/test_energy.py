"""Energy from a board whose power is known."""

from __future__ import annotations

from typing import Any

import pytest
from edgeloop_agent.energy import EnergyMeter, summarise_energy
from edgeloop_agent.power.sampler import Sampler, SensorReader, SteppedSampler
from edgeloop_protocol.types.conditions import Conditions
from edgeloop_protocol.types.facts import Facts, Hardware, OperatingSystem, SensorFacts
from edgeloop_protocol.types.measurement import Reading

S = 1_000_000_000


class KnownBoard:
    """Draws 2 W idle and 5 W busy, on a clock that only ``sleep`` moves."""

    simulation = None

    def __init__(self, *sensors: SensorFacts) -> None:
        self._sensors = sensors
        self._now_ns = 0
        self._energy_j = 100.0
        self.power_w = 2.0
        self.clock = self

    def monotonic_ns(self) -> int:
        return self._now_ns

    def wall_s(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self._now_ns += round(seconds * S)
        self._energy_j += self.power_w * seconds

    async def facts(self) -> Facts:
        return Facts(
            device_id="d",
            name="known",
            hardware=Hardware(architecture="x86_64", logical_cores=1, memory_total_bytes=1),
            operating_system=OperatingSystem(name="n", kernel="k", python_version="3.11"),
            sensors=self._sensors,
        )

    def readings(self) -> tuple[Reading, ...]:
        return (
            Reading(name="rapl/0/package-0", unit="joule", value=self._energy_j),
            Reading(name="rapl/0:0/core", unit="joule", value=7.0),
            Reading(name="meter/input", unit="watt", value=self.power_w),
        )

    async def conditions(self) -> Conditions:
        return Conditions(wall_time_s=0.0, monotonic_ns=self._now_ns, readings=self.readings())

    def sampler(self, sensor: SensorFacts) -> Sampler:
        reader = SensorReader(read=self.readings, now_ns=self.monotonic_ns, wrap_count=lambda: 0)
        return SteppedSampler(sensor, reader)

    async def start_runner(self, start: Any) -> Any:
        raise NotImplementedError


RAPL = SensorFacts(name="rapl", quantity="energy", unit="joule", scope="package", period_s=0.001)
METER = SensorFacts(name="meter", quantity="power", unit="watt", scope="board", period_s=0.01)


@pytest.mark.parametrize(("sensor", "scope"), [(RAPL, "package"), (METER, "board")])
async def test_energy_per_inference_is_power_times_time(sensor: SensorFacts, scope: str) -> None:
    board = KnownBoard(sensor)
    meter = await EnergyMeter.prepare(board)
    spans = []
    for _ in range(3):
        board.power_w = 5.0
        await meter.begin()
        for _ in range(10):
            await board.clock.sleep(0.1)
            await meter.between_batches()
        spans.append(await meter.end(100))
    energy = summarise_energy(meter, [span for span in spans if span])
    assert (energy.sensor, energy.scope) == (sensor.name, scope)
    assert energy.idle_power_w.value == pytest.approx(2.0)
    assert energy.mean_power_w.value == pytest.approx(5.0)
    assert energy.gross_j.value == pytest.approx(0.05)
    assert energy.above_idle_j.value == pytest.approx(0.03)
    # Three equal spans: what is left is one period of the sensor at the ends of one second.
    period_s = sensor.period_s or 0.0
    assert energy.gross_j.low == pytest.approx(0.05 * (1 - period_s))
    assert energy.gross_j.high == pytest.approx(0.05 * (1 + period_s))


async def test_the_sensor_that_covers_most_is_taken() -> None:
    meter = await EnergyMeter.prepare(KnownBoard(RAPL, METER))
    assert meter.sensor == METER


async def test_without_a_sensor_there_is_a_reason_and_no_number() -> None:
    forbidden = SensorFacts(
        name="rapl", quantity="energy", unit="joule", scope="package", reason="failed: no"
    )
    meter = await EnergyMeter.prepare(KnownBoard(forbidden))
    energy = summarise_energy(meter, [])
    for estimate in (energy.gross_j, energy.above_idle_j, energy.mean_power_w, energy.idle_power_w):
        assert estimate.value is None
        assert "rapl: failed: no" in estimate.reason


async def test_a_phase_too_short_for_the_sensor_has_no_energy() -> None:
    board = KnownBoard(METER)
    meter = await EnergyMeter.prepare(board)
    await meter.begin()
    await board.clock.sleep(0.1)
    await meter.between_batches()
    span = await meter.end(10)
    assert span
    assert "20 periods" in summarise_energy(meter, [span]).gross_j.reason
