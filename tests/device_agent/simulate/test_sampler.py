"""Energy that the agent integrates from simulated sensors, through the drivers that read them on a real board."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from edgeloop_agent.board import RunnerStart
from edgeloop_agent.energy import EnergyMeter, summarise_energy
from edgeloop_agent.power.sensor_watch import sensor_anomalies
from edgeloop_agent.power.trace import EnergySpan
from edgeloop_agent.simulate import SimulatedBoard
from edgeloop_profiles import Profile, load_profile
from edgeloop_profiles.predict import sensor_power_w
from edgeloop_profiles.profile import Sensor
from edgeloop_protocol.types.conditions import AnomalyKind

MakeBoard = Callable[..., SimulatedBoard]
MakeStart = Callable[..., RunnerStart]

_BATCHES, _COUNT = 30, 50
_SLOW = {"battery": 400, "plug": 1000}
"""Batches for what has a new value once a second, or counts whole watt-minutes."""


def sensor(name: str, quantity: str, **fields: object) -> Sensor:
    declared = {
        "kind": "assumed",
        "source": "test",
        "name": name,
        "quantity": quantity,
        "unit": {"power": "watt", "energy": "joule"}.get(quantity, "count"),
        "scope": "board",
        **fields,
    }
    return Sensor(**declared)  # type: ignore[arg-type]


def with_power(base: str, *sensors: Sensor) -> Profile:
    """Return a board with these sensors of power instead of its own."""
    profile = load_profile(base)
    others = tuple(s for s in profile.sensors if s.quantity not in ("power", "energy"))
    return dataclasses.replace(profile, sensors=(*others, *sensors))


JETPACK_6 = sensor(
    "jetson_power",
    "power",
    channels=("VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"),
    shares=(1.0, 0.4, 0.3),
    volts=(4.984, 4.984, 4.984),
    shunt_ohm=0.005,
    path="sys/class/hwmon/hwmon1",
)
JETPACK_4 = sensor(
    "jetson_power",
    "power",
    channels=("POM_5V_IN", "POM_5V_GPU", "POM_5V_CPU"),
    shares=(1.0, 0.1, 0.5),
    path="sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0",
)
HAT = sensor(
    "ina3221",
    "power",
    scope="rail",
    channels=("5V",),
    volts=(5.0,),
    shunt_ohm=0.01,
)
INA226 = sensor("ina2xx", "power", scope="rail", channels=("supply",), resolution=1e-3)
BATTERY = sensor("power_supply", "power", channels=("total", "BAT0"))
PLUG = sensor("shelly", "energy", scope="wall", channels=("channel-0",), gain=1.1, sees_fan=True)
BOARDS = {
    "nuc11 RAPL": (load_profile("nuc11"), "rapl", "package"),
    "Pi 5 PMIC": (load_profile("raspberry_pi_5"), "pmic", "rail"),
    "JetPack 6": (with_power("raspberry_pi_4", JETPACK_6), "jetson_power", "board"),
    "JetPack 4": (with_power("raspberry_pi_4", JETPACK_4), "jetson_power", "board"),
    "INA3221 hat": (with_power("raspberry_pi_4", HAT), "ina3221", "rail"),
    "INA226": (with_power("raspberry_pi_4", INA226), "ina2xx", "rail"),
    "battery": (with_power("nuc11", BATTERY), "power_supply", "board"),
    "plug": (with_power("raspberry_pi_5", PLUG), "shelly", "wall"),
}


@dataclasses.dataclass
class Truth:
    """What the model knows about one stretch of load."""

    energy_j: float = 0.0
    fan_j: float = 0.0
    count: int = 0


async def measured(
    board: SimulatedBoard,
    start: RunnerStart,
    spans: int = 3,
    batches: int = _BATCHES,
    *,
    looked_at: bool = False,
) -> tuple[EnergyMeter, list[EnergySpan], Truth]:
    """Run batches as a job does, and add up the true energy beside them."""
    meter = await EnergyMeter.prepare(board)
    session = await board.start_runner(start)
    await session.request("open", {}, 1e9)
    truth, found = Truth(), []
    for _ in range(spans):
        await meter.begin()
        before_ns, count = board.clock.monotonic_ns(), 0
        for _ in range(batches):
            begin_ns = board.clock.monotonic_ns()
            await session.request("infer", {"count": _COUNT}, 1e9)
            truth.energy_j += board.state.power_w * (board.clock.monotonic_ns() - begin_ns) / 1e9
            count += _COUNT
            await meter.between_batches()
            if looked_at:
                await board.conditions()
        span = await meter.end(count)
        assert span is not None
        assert span.duration_s == pytest.approx((board.clock.monotonic_ns() - before_ns) / 1e9, rel=0.05)
        found.append(span)
        truth.count += count
    await session.close()
    return meter, found, truth


@pytest.mark.parametrize("name", BOARDS)
async def test_energy_per_inference_is_the_models(
    name: str, make_board: MakeBoard, make_start: MakeStart
) -> None:
    profile, driver, scope = BOARDS[name]
    declared = next(s for s in profile.sensors if s.name == driver)
    board = make_board(profile)
    meter, spans, truth = await measured(board, make_start(), batches=_SLOW.get(name, _BATCHES))
    energy = summarise_energy(meter, spans)
    assert (energy.sensor, energy.scope) == (driver, scope)
    assert meter.sensor is not None
    seconds = sum(span.duration_s for span in spans)
    seen_j = sensor_power_w(declared, truth.energy_j / seconds) * seconds
    assert energy.gross_j.value is not None
    assert energy.gross_j.low is not None
    half = energy.gross_j.value - energy.gross_j.low
    assert abs(energy.gross_j.value - seen_j / truth.count) <= max(half, 1e-4 * energy.gross_j.value)
    assert half < 0.2 * energy.gross_j.value, "the sensor's stated error is what decides, not a wide interval"


@pytest.mark.parametrize(("name", "rate_hz"), [("Pi 5 PMIC", 10.0), ("JetPack 6", 100.0), ("battery", 1.0)])
async def test_a_sensor_is_asked_at_its_own_rate(
    name: str, rate_hz: float, make_board: MakeBoard, make_start: MakeStart
) -> None:
    board = make_board(BOARDS[name][0])
    batches = _SLOW.get(name, 10)
    _, (span,), _ = await measured(board, make_start(), spans=1, batches=batches)
    assert (span.reading_count - 1) / span.duration_s == pytest.approx(rate_hz, rel=0.15)
    assert span.interval_s == pytest.approx(1 / rate_hz)


def wrapping(range_j: float) -> Profile:
    rapl = next(s for s in load_profile("nuc11").sensors if s.name == "rapl")
    return with_power("nuc11", dataclasses.replace(rapl, range_j=range_j))


async def test_a_counter_that_wraps_costs_no_energy(make_board: MakeBoard, make_start: MakeStart) -> None:
    counted = []
    for range_j in (1e6, 200.0):
        board = make_board(wrapping(range_j))
        meter, spans, truth = await measured(board, make_start())
        energy = summarise_energy(meter, spans).gross_j.value
        trace = meter.trace()
        assert energy is not None
        assert trace is not None
        counted.append((energy * truth.count, trace.wrap_count, sensor_anomalies(trace)))
    assert counted[0][0] == pytest.approx(counted[1][0], rel=1e-5)
    assert counted[0][1] == 0
    assert counted[1][1] >= 1
    assert [finding.kind for finding in counted[1][2]] == [AnomalyKind.SENSOR_WRAPPED]


async def test_a_missed_wrap_and_a_wrong_scope_would_be_seen(
    make_board: MakeBoard, make_start: MakeStart
) -> None:
    """The bound of the test above is no empty one: two mistakes that agents make fall outside of it."""
    profile = wrapping(200.0)
    board = make_board(profile)
    meter, spans, truth = await measured(board, make_start())
    energy = summarise_energy(meter, spans).gross_j
    assert energy.value is not None
    assert energy.low is not None
    half = energy.value - energy.low
    chip = board.state.chips["rapl"]
    raw = [int((board.system.root / "sys/class/powercap/intel-rapl:0/energy_uj").read_text()) * 1e-6]
    session = await board.start_runner(make_start())
    await session.request("open", {}, 1e9)
    before_j = chip.energy_j
    while chip.counter_uj(0) * 1e-6 >= raw[0] or chip.energy_j - before_j < 1.0:
        await session.request("infer", {"count": 1}, 1e9)
    board.system.refresh("rapl")
    raw.append(int((board.system.root / "sys/class/powercap/intel-rapl:0/energy_uj").read_text()) * 1e-6)
    assert raw[1] - raw[0] < 0 < chip.energy_j - before_j, "without the wrap, energy would be negative"
    # Taking the package's counter for the whole board's energy.
    assert abs(truth.energy_j / truth.count - energy.value) > half
    # Taking a part of the package for all of it.
    core = next(s for s in profile.sensors if s.name == "rapl").shares[1]
    assert abs(core * energy.value - energy.value) > half


async def test_a_counter_that_is_set_back_is_no_energy(make_board: MakeBoard, make_start: MakeStart) -> None:
    board = make_board("nuc11")
    meter = await EnergyMeter.prepare(board)
    await meter.begin()
    board.system.force("sys/class/powercap/intel-rapl:0/energy_uj", "0\n")
    await board.clock.sleep(1.0)
    assert await meter.end(10) is None


async def test_a_plug_that_averages_is_found_out(make_board: MakeBoard, make_start: MakeStart) -> None:
    """Its power trails the load by seconds, which it does not state: nothing is taken from it."""
    plug = dataclasses.replace(PLUG, quantity="power", unit="watt", lag_s=4.0)
    findings = {}
    for lag_s in (4.0, 0.0):
        board = make_board(with_power("raspberry_pi_4", dataclasses.replace(plug, lag_s=lag_s)))
        meter, spans, _ = await measured(board, make_start(), spans=1, batches=120)
        energy = summarise_energy(meter, spans)
        findings[lag_s] = (energy.gross_j.value, energy.gross_j.reason)
    assert findings[4.0][0] is None
    assert "follows the load" in findings[4.0][1]
    assert findings[0.0][0] is not None


async def test_two_boards_of_one_seed_read_the_same(make_board: MakeBoard, make_start: MakeStart) -> None:
    runs = []
    for seed in (3, 3, 4):
        board = make_board("raspberry_pi_5", seed=seed)
        _, spans, _ = await measured(board, make_start(), spans=1, batches=5)
        readings = (await board.conditions()).readings
        runs.append(([dataclasses.replace(span, reading_s=0.0) for span in spans], readings))
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


@pytest.mark.parametrize("name", ["raspberry_pi_5", "nuc11"])
async def test_who_looks_at_a_board_changes_nothing(
    name: str, make_board: MakeBoard, make_start: MakeStart
) -> None:
    samples = []
    for looked_at in (False, True):
        meter, _, _ = await measured(make_board(name), make_start(), 1, 10, looked_at=looked_at)
        trace = meter.trace()
        assert trace is not None
        samples.append(trace.samples)
    assert samples[0] == samples[1]
