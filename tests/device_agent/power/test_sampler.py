"""The sampler on this machine's real board, reading a sensor that a thread writes below an injected root."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from edgeloop_agent.board import RealBoard
from edgeloop_agent.energy import EnergyMeter, EnergySpan, summarise_energy
from edgeloop_agent.power.sampler import interval_of
from edgeloop_agent.power.sensor_watch import sensor_anomalies
from edgeloop_agent.sensors.base import Sensor
from edgeloop_foundation.ports.process import SystemProcesses
from edgeloop_protocol.types.conditions import AnomalyKind
from edgeloop_protocol.types.facts import SensorFacts
from edgeloop_protocol.types.measurement import Reading
from edgeloop_protocol.types.run import Energy

FACTS = SensorFacts(
    name="rail_file", quantity="power", unit="watt", scope="board", period_s=0.01, resolution=0.001
)
IDLE_W, BUSY_W = 2.0, 5.0


class RailFile(Sensor):
    """One file with microwatts, as hwmon shows it."""

    name: ClassVar[str] = "rail_file"
    quantity: ClassVar[str] = "power"
    unit: ClassVar[str] = "watt"
    scope: ClassVar[str] = "board"
    # Judged by processor time, so that other work on the machine that runs the tests is not taken for the sensor's.
    waits_outside = True
    read_s = 0.0

    def _readings(self) -> tuple[Reading, ...]:
        time.sleep(self.read_s)
        return (self._reading("input", self._root / "power1_input", 1e-6),)


class Rail:
    """Writes what a sensor would show, every 4 ms."""

    def __init__(self, root: Path) -> None:
        self.path = root / "power1_input"
        self.busy = False
        self.shown: Callable[[float], float] = lambda watts: watts
        self.lag_s = 0.0
        self._history = [(0.0, IDLE_W)]
        self._stop = threading.Event()
        self._source = random.Random(5)
        self._write(IDLE_W)
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _write(self, watts: float) -> None:
        fresh = self.path.with_name("fresh")
        fresh.write_text(f"{round(self.shown(watts) * 1e6)}\n")
        # A reader sees the old or the new value, never half of one.
        os.replace(fresh, self.path)

    def _work(self) -> None:
        while not self._stop.wait(0.004):
            now = time.monotonic()
            self._history.append((now, BUSY_W if self.busy else IDLE_W))
            watts = next(w for at, w in reversed(self._history) if at <= now - self.lag_s or at == 0.0)
            self._write(watts + self._source.gauss(0.0, 0.03))

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


@pytest.fixture
def rail(tmp_path: Path) -> Iterator[Rail]:
    rail = Rail(tmp_path)
    yield rail
    rail.stop()


def make_meter(tmp_path: Path, facts: SensorFacts = FACTS, read_s: float = 0.0) -> EnergyMeter:
    board = RealBoard(tmp_path / "state", "bench", SystemProcesses(), tmp_path)
    driver = RailFile(tmp_path)
    driver.read_s, driver.waits_outside = read_s, not read_s
    board.attach_meters([driver])
    return EnergyMeter(board, facts, "")


async def stretch(meter: EnergyMeter, rail: Rail, seconds: float, count: int) -> EnergySpan | None:
    """Let the board be busy (or idle, without inferences) and never give the sampler a step."""
    rail.busy = count > 0
    # Load begins before what is measured, as warm-up does.
    await asyncio.sleep(0.1)
    await meter.begin()
    await asyncio.sleep(seconds)
    span = await meter.end(count)
    rail.busy = False
    return span


async def job(meter: EnergyMeter, rail: Rail, busy_s: float = 0.6) -> Energy:
    await stretch(meter, rail, 0.4, 0)
    spans = [await stretch(meter, rail, busy_s, 100) for _ in range(3)]
    await stretch(meter, rail, 0.4, 0)
    return summarise_energy(meter, [span for span in spans if span])


async def test_power_is_sampled_while_batches_run(tmp_path: Path, rail: Rail) -> None:
    meter = make_meter(tmp_path)
    energy = await job(meter, rail, busy_s=1.0)
    assert energy.mean_power_w.value == pytest.approx(BUSY_W, rel=0.05)
    assert energy.idle_power_w.value == pytest.approx(IDLE_W, rel=0.1)
    assert energy.idle_after_w is not None
    assert energy.idle_after_w.value == pytest.approx(IDLE_W, rel=0.1)
    gross, above = energy.gross_j, energy.above_idle_j
    # A second and what a loaded machine adds to it.
    assert gross.value is not None
    assert above.value is not None
    assert BUSY_W * 0.01 * 0.95 <= gross.value <= BUSY_W * 0.01 * 1.6
    assert above.value / gross.value == pytest.approx(1 - IDLE_W / BUSY_W, rel=0.1)
    assert gross.low is not None
    assert gross.low < gross.value * (1 - 0.01 / 1.6)
    assert energy.rate_hz is not None
    # Never faster than its period.
    assert 8 <= energy.rate_hz <= 103
    assert energy.perturbation_share is not None
    assert 0.0 < energy.perturbation_share < 0.2
    trace = meter.trace()
    assert trace is not None
    times = [sample.time_ns for sample in trace.samples]
    assert times == sorted(times)
    kinds = {anomaly.kind for anomaly in sensor_anomalies(trace)}
    assert kinds <= {AnomalyKind.SENSOR_TOO_FAST}


async def test_a_stuck_sensor_yields_no_energy(tmp_path: Path, rail: Rail) -> None:
    rail.shown = lambda _: 3.217
    await asyncio.sleep(0.05)
    meter = make_meter(tmp_path)
    energy = await job(meter, rail)
    assert energy.gross_j.value is None
    assert energy.idle_power_w.value is None
    assert "stayed at 3.217 watt" in energy.gross_j.reason
    assert AnomalyKind.SENSOR_STUCK in [a.kind for a in sensor_anomalies(meter.trace())]


async def test_a_lagging_sensor_yields_no_energy(tmp_path: Path, rail: Rail) -> None:
    rail.lag_s = 0.6
    meter = make_meter(tmp_path)
    energy = await job(meter, rail, busy_s=1.2)
    assert energy.gross_j.value is None
    assert "follows the load" in energy.gross_j.reason
    assert AnomalyKind.SENSOR_LAGGING in [a.kind for a in sensor_anomalies(meter.trace())]


async def test_a_reading_that_takes_long_is_taken_less_often_and_said(tmp_path: Path, rail: Rail) -> None:
    meter = make_meter(tmp_path, read_s=0.02)
    energy = await job(meter, rail)
    assert energy.perturbation_share is not None
    # Two readings are the least for a span; a hundred of them would have taken all of it.
    assert 0.02 < energy.perturbation_share < 0.2
    assert "20 periods of the sensor" in energy.gross_j.reason
    found = [a for a in sensor_anomalies(meter.trace()) if a.kind is AnomalyKind.SENSOR_TOO_FAST]
    assert len(found) == 1
    assert not found[0].disqualifying


async def test_a_sensor_that_vanishes_yields_the_reason(tmp_path: Path, rail: Rail) -> None:
    meter = make_meter(tmp_path)
    await stretch(meter, rail, 0.2, 0)
    rail.stop()
    rail.path.unlink()
    assert await stretch(meter, rail, 0.2, 10) is None
    assert "not read around the steady phase" in summarise_energy(meter, []).gross_j.reason


async def test_a_span_that_was_given_up_leaves_no_thread(tmp_path: Path, rail: Rail) -> None:
    meter = make_meter(tmp_path)
    await meter.begin()
    await meter.begin()
    await meter.end(1)
    assert "power-sampler" not in [thread.name for thread in threading.enumerate()]


@pytest.mark.parametrize(
    ("period_s", "cost_s", "expected_s"),
    [(None, None, 0.1), (0.001, None, 0.01), (0.5, 0.0001, 0.5), (0.02, 0.001, 0.2)],
)
def test_the_rate_follows_period_and_cost(
    period_s: float | None, cost_s: float | None, expected_s: float
) -> None:
    facts = SensorFacts(
        name="m", quantity="power", unit="watt", scope="rail", period_s=period_s, cost_s=cost_s
    )
    assert interval_of(facts) == pytest.approx(expected_s)
