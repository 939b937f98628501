"""A simulated board says what it is, gets warm, throttles, and leaves numerics to a real runner."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from array import array
from collections.abc import Callable
from statistics import fmean, median

import pytest
from edgeloop_agent.board import RunnerStart
from edgeloop_agent.simulate import SimulatedBoard
from edgeloop_profiles import load_profile
from edgeloop_protocol.types.conditions import Conditions

MakeBoard = Callable[..., SimulatedBoard]
MakeStart = Callable[..., RunnerStart]


def reading(conditions: Conditions, name: str) -> float:
    (found,) = (item.value for item in conditions.readings if item.name == name)
    assert found is not None
    return found


async def load(board: SimulatedBoard, start: RunnerStart, seconds: float) -> list[int]:
    session = await board.start_runner(start)
    await session.request("open", {}, 1e9)
    samples: list[int] = []
    end = board.clock.monotonic_ns() + seconds * 1e9
    while board.clock.monotonic_ns() < end:
        reply = await session.request("infer", {"count": 200}, 1e9)
        samples += array("q", reply.payload)
    return samples


async def test_facts_are_the_profile_and_say_simulated(make_board: MakeBoard) -> None:
    profile = load_profile("raspberry_pi_4")
    facts = await make_board("raspberry_pi_4", name="shelf 2").facts()
    assert (facts.simulated, facts.profile, facts.profile_digest) == (True, profile.name, profile.digest)
    assert facts.name == "shelf 2"
    assert facts.hardware.memory_total_bytes == 4 << 30
    assert facts.hardware.isa_flags == ("asimd", "crc32", "evtstrm", "fp")
    (runtime,) = facts.runtimes
    assert (runtime.name, runtime.max_opset) == ("onnxruntime", profile.runtimes[0].max_opset)
    assert facts.disk_total_bytes > facts.disk_free_bytes > 0


async def test_facts_of_a_power_mode_name_the_mode_and_the_runtime_that_is_absent(
    make_board: MakeBoard,
) -> None:
    facts = await make_board("jetson_orin_nano@7w").facts()
    assert (facts.profile, facts.hardware.logical_cores) == ("jetson_orin_nano@7w", 4)
    assert facts.profile_digest != (await make_board("jetson_orin_nano").facts()).profile_digest
    usable = {runtime.name: runtime.reason for runtime in facts.runtimes}
    assert usable["onnxruntime"] == ""
    assert "no figures exist for the Ampere GPU" in usable["tensorrt"]


async def test_a_raspberry_pi_4_has_no_power_sensor_and_says_so(make_board: MakeBoard) -> None:
    board = make_board("raspberry_pi_4")
    sensors = [s for s in (await board.facts()).sensors if s.quantity in ("power", "energy")]
    assert all(sensor.reason.startswith("absent") and not sensor.channels for sensor in sensors)
    (told,) = (sensor for sensor in sensors if sensor.name == "power")
    assert "no power sensor" in told.reason
    assert not [item for item in (await board.conditions()).readings if item.unit in ("watt", "joule")]


async def test_identity_comes_from_profile_name_and_seed(make_board: MakeBoard) -> None:
    first, again = await make_board().facts(), await make_board().facts()
    assert (first.device_id, first.boot_id) == (again.device_id, again.boot_id)
    others = [make_board("nuc11"), make_board(seed=2), make_board(name="other")]
    assert first.device_id not in [(await board.facts()).device_id for board in others]


async def test_the_basis_travels_with_the_board(make_board: MakeBoard) -> None:
    simulation = make_board("nuc11", seed=9).simulation
    assert simulation is not None
    assert (simulation.profile, simulation.basis, simulation.seed) == ("nuc11", "transferred, unvalidated", 9)
    assert simulation.profile_digest == load_profile("nuc11").digest
    assert simulation.interval_factor is not None
    assert simulation.interval_factor >= 2.5


async def test_load_warms_the_board_and_rest_cools_it(make_board: MakeBoard, make_start: MakeStart) -> None:
    board = make_board()
    cold = reading(await board.conditions(), "thermal/cpu-thermal")
    await load(board, make_start(), 120)
    warm = reading(await board.conditions(), "thermal/cpu-thermal")
    await board.clock.sleep(600)
    rested = reading(await board.conditions(), "thermal/cpu-thermal")
    assert warm > cold + 5
    assert rested < warm - 5


async def test_a_hot_board_throttles_and_gets_slower(make_board: MakeBoard, make_start: MakeStart) -> None:
    profile = load_profile("raspberry_pi_4")
    hot = dataclasses.replace(profile, thermal=dataclasses.replace(profile.thermal, ambient_celsius=60.0))
    board = make_board(hot)
    before = await board.conditions()
    samples = await load(board, make_start(), 400)
    after = await board.conditions()
    assert reading(before, "cpufreq/policy0/current") == 1.8e9
    assert reading(after, "cpufreq/policy0/current") < 1.6e9
    assert reading(before, "throttle/throttled_since_boot") == 0
    assert reading(after, "throttle/throttled_since_boot") == 1
    assert median(samples[-200:]) > 1.1 * median(samples[100:300])
    await board.clock.sleep(4000)
    # The room alone keeps it near the limit: idle at 60 degrees is 72, so the cap is lifted but stays known.
    rested = await board.conditions()
    assert reading(rested, "throttle/throttled_now") == 0
    assert reading(rested, "throttle/throttled_since_boot") == 1


async def test_energy_counter_integrates_idle_and_load(make_board: MakeBoard, make_start: MakeStart) -> None:
    board = make_board("nuc11")
    counters = [reading(await board.conditions(), "rapl/0/package-0")]
    await board.clock.sleep(10)
    counters.append(reading(await board.conditions(), "rapl/0/package-0"))
    start_ns = board.clock.monotonic_ns()
    await load(board, make_start(), 10)
    counters.append(reading(await board.conditions(), "rapl/0/package-0"))
    idle_w = (counters[1] - counters[0]) / 10
    busy_w = (counters[2] - counters[1]) / ((board.clock.monotonic_ns() - start_ns) / 1e9)
    assert idle_w == pytest.approx(0.85 * 5 - 2.5, rel=0.01)
    assert busy_w == pytest.approx(0.85 * 33 - 2.5, rel=0.05)


async def test_power_sensor_of_a_pi_5_sees_load_and_idle(
    make_board: MakeBoard, make_start: MakeStart
) -> None:
    board = make_board("raspberry_pi_5")

    async def idle_w() -> float:
        """Return a mean over 50 s, as readings that jump need it."""
        found = []
        for _ in range(250):
            await board.clock.sleep(0.2)
            found.append(reading(await board.conditions(), "pmic/total"))
        return fmean(found)

    idle = await idle_w()
    session = await board.start_runner(make_start())
    await session.request("open", {}, 1e9)
    await session.request("infer", {"count": 50}, 1e9)
    busy = reading(await board.conditions(), "pmic/total")
    await session.close()
    assert idle == pytest.approx((2.8 - 0.5879) / 1.1451, rel=0.01)
    assert busy > 2 * idle
    assert await idle_w() == pytest.approx(idle, rel=0.01)


async def test_conditions_leave_out_what_is_not_simulated(make_board: MakeBoard) -> None:
    conditions = await make_board().conditions()
    assert conditions.load_average_1min is None
    assert conditions.clock_synchronised is None
    assert conditions.governor == "ondemand"
    assert conditions.available_memory_bytes == (4 << 30) - 419430400
    assert all("simulated" in item.source for item in conditions.readings)


def test_simulating_imports_no_numerics() -> None:
    code = (
        "import sys, edgeloop_agent.simulate; "
        "print([m for m in ('numpy', 'onnx', 'onnxruntime', 'sqlite3', 'cryptography') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
