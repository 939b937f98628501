"""Files of a simulated board: what the drivers find in them, what scripts of faults put there, what preflight says."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from edgeloop_agent.board import RunnerStart
from edgeloop_agent.fitness.preflight import Look, failed_checks, judge
from edgeloop_agent.fitness.watch import Watcher
from edgeloop_agent.sensors import BUILTIN
from edgeloop_agent.simulate import SimulatedBoard
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_profiles import Profile, list_profiles, load_profile
from edgeloop_profiles.profile import Sensor, ThrottleStep
from edgeloop_protocol.types.conditions import Preflight

MakeBoard = Callable[..., SimulatedBoard]
MakeStart = Callable[..., RunnerStart]
GOVERNOR = "sys/devices/system/cpu/cpufreq/policy0/scaling_governor"
LIMITS = "sys/devices/system/cpu/cpufreq/policy0/scaling_min_freq"
BITS = "sys/devices/platform/soc/soc:firmware/get_throttled"


def changed(profile: Profile, name: str, **fields: object) -> Profile:
    """Return a profile in which one sensor declares something else."""
    return dataclasses.replace(
        profile,
        sensors=tuple(
            dataclasses.replace(sensor, **fields) if sensor.name == name else sensor  # type: ignore[arg-type]
            for sensor in profile.sensors
        ),
    )


def added(profile: Profile, *sensors: Sensor) -> Profile:
    return dataclasses.replace(profile, sensors=(*profile.sensors, *sensors))


def sensor(name: str, quantity: str, channels: tuple[str, ...], **fields: object) -> Sensor:
    words = {"kind": "assumed", "source": "test", "unit": "count", "scope": "board"}
    return Sensor(name=name, quantity=quantity, channels=channels, **words, **fields)  # type: ignore[arg-type]


async def preflight(board: SimulatedBoard) -> Preflight:
    before = await board.vitals()
    await board.clock.sleep(1.0)
    return judge(Look(before=before, after=await board.vitals()), series="nominal")


def failed(found: Preflight) -> list[str]:
    return [check.name for check in failed_checks(found)]


@pytest.mark.parametrize("name", list_profiles())
async def test_drivers_find_what_a_profile_declares_and_nothing_else(
    name: str, make_board: MakeBoard
) -> None:
    profile = load_profile(name)
    facts = {sensor.name: sensor for sensor in (await make_board(profile).facts()).sensors}
    assert set(BUILTIN) <= set(facts), "every driver is asked"
    there = {sensor.name: sensor for sensor in profile.sensors if sensor.channels}
    if profile.thermal.trips:
        assert facts["trip_points"].channels
    found = {name for name, fact in facts.items() if not fact.reason} - {"trip_points"}
    assert found == set(there)
    for declared in there.values():
        fact = facts[declared.name]
        assert (fact.quantity, fact.unit, fact.scope) == (declared.quantity, declared.unit, declared.scope)
        wanted = {f"{declared.name}/{channel}" for channel in declared.channels}
        assert wanted <= set(fact.channels)
    assert all(fact.reason.startswith("absent") for fact in facts.values() if fact.reason)
    assert all(fact.cost_s is None for fact in facts.values())


@pytest.mark.parametrize("name", list_profiles())
async def test_every_declared_channel_of_a_board_has_a_value(name: str, make_board: MakeBoard) -> None:
    profile = load_profile(name)
    conditions = await make_board(profile).conditions()
    values = {reading.name: reading.value for reading in conditions.readings}
    for declared in profile.sensors:
        for channel in declared.channels:
            assert values[f"{declared.name}/{channel}"] is not None, channel
    assert all(f"simulated by profile {name}" in reading.source for reading in conditions.readings)
    has_clock = any(sensor.name == "cpufreq" and sensor.channels for sensor in profile.sensors)
    assert conditions.governor == (profile.processor.governor if has_clock else "")


@pytest.mark.parametrize("name", list_profiles())
async def test_power_of_an_idle_board_is_what_its_sensor_sees_of_it(name: str, make_board: MakeBoard) -> None:
    profile = load_profile(name)
    board = make_board(profile)
    meters = [s for s in profile.sensors if s.quantity in ("power", "energy") and s.channels]
    readings = [{r.name: r.value for r in (await board.conditions()).readings}]
    await board.clock.sleep(10)
    readings.append({r.name: r.value for r in (await board.conditions()).readings})
    for meter in meters:
        seen_w = meter.gain * profile.power.idle_w + meter.offset_w
        for channel, share in zip(meter.channels, meter.shares, strict=True):
            before, after = (found[f"{meter.name}/{channel}"] for found in readings)
            assert before is not None
            assert after is not None
            watt = (after - before) / 10 if meter.quantity == "energy" else after
            # A Jetson's chip has steps of 40 mW and 8 mV; one update of the Pi 5's is off by some percent.
            assert watt == pytest.approx(seen_w * share, abs=0.05, rel=0.1 if meter.noise_fraction else 0.01)
    watched = {r for r in readings[1] if r.partition("/")[0] in ("rapl", "pmic", "jetson_power")}
    assert bool(watched) == bool(meters)


@pytest.mark.parametrize(
    ("name", "number", "shown"),
    [
        ("jetson_orin_nano", 0, "15W"),
        ("jetson_orin_nano@25w", 1, "25W"),
        ("jetson_orin_nano@7w", 3, "7W"),
        ("jetson_nano", 0, "MAXN"),
        ("jetson_nano@5w", 1, "5W"),
        ("jetson_xavier_nx@10w_2core", 3, "MODE_10W_2CORE"),
    ],
)
async def test_the_power_mode_that_was_chosen_is_the_one_that_is_observed(
    name: str, number: int, shown: str, make_board: MakeBoard
) -> None:
    board = make_board(name)
    (mode,) = (r for r in (await board.conditions()).readings if r.name == "nvpmodel/mode")
    assert mode.value == number
    assert f"({shown})" in mode.source
    observed = {check.name: check for check in (await preflight(board)).checks}
    assert observed["power_mode"].observed == f"pmode:{number:04d}"


async def test_a_raspberry_pi_3b_plus_shows_its_soft_limit_below_80_degrees(
    make_board: MakeBoard, make_start: MakeStart
) -> None:
    profile = load_profile("raspberry_pi_3b_plus")
    board = make_board(
        dataclasses.replace(profile, thermal=dataclasses.replace(profile.thermal, ambient_celsius=45.0))
    )
    session = await board.start_runner(make_start())
    await session.request("open", {}, 1e9)
    while board.state.die_celsius < 61.0:
        await session.request("infer", {"count": 500}, 1e9)
    values = {reading.name: reading.value for reading in (await board.conditions()).readings}
    assert values["throttle/soft_temperature_limit_now"] == 1.0
    assert values["throttle/throttled_now"] == 0.0
    assert values["cpufreq/policy0/current"] == 1.2e9


async def test_nothing_is_written_before_the_first_reading_and_little_after(make_board: MakeBoard) -> None:
    board = make_board("raspberry_pi_4")
    assert not board.system.root.exists()
    await board.conditions()
    files = [path for path in board.system.root.rglob("*") if path.is_file()]
    assert 5 < len(files) < 40
    before = {path: path.stat().st_mtime_ns for path in files}
    await board.conditions()
    assert before == {path: path.stat().st_mtime_ns for path in files}, "what stays is not written again"


async def test_a_board_as_it_comes_is_fit(make_board: MakeBoard) -> None:
    found = await preflight(make_board("raspberry_pi_4"))
    assert found.fit
    observed = {check.name: check.observed for check in found.checks}
    assert observed["governor"] == "ondemand with a pinned clock"
    assert observed["throttling"] == "none"


async def test_turbo_of_an_intel_board_is_recorded(make_board: MakeBoard) -> None:
    found = await preflight(make_board("nuc11"))
    assert {check.name: check.observed for check in found.checks}["boost"] == "on"


async def test_a_governor_that_follows_the_load_is_refused(make_board: MakeBoard) -> None:
    profile = load_profile("raspberry_pi_4")
    found = await preflight(make_board(changed(profile, "cpufreq", minimum_hz=0.6e9)))
    assert failed(found) == ["governor", "frequency_limits"]


async def test_a_governor_file_that_says_powersave_is_refused(make_board: MakeBoard) -> None:
    board = make_board("raspberry_pi_4")
    board.system.force(GOVERNOR, "powersave\n")
    board.system.force(LIMITS, "600000\n")
    found = await preflight(board)
    assert failed(found) == ["governor", "frequency_limits"]
    assert (await board.conditions()).governor == "powersave"
    board.system.release(GOVERNOR)
    board.system.release(LIMITS)
    assert (await preflight(board)).fit


async def test_powersave_really_is_slow_on_arm(make_board: MakeBoard) -> None:
    profile = changed(load_profile("raspberry_pi_4"), "cpufreq", minimum_hz=0.6e9)
    processor = dataclasses.replace(profile.processor, governor="powersave")
    slow = make_board(dataclasses.replace(profile, processor=processor))
    assert slow.state.frequency_hz == 0.6e9
    assert make_board(profile).state.frequency_hz == 1.8e9


@pytest.mark.parametrize(("text", "wanted"), [("4", "throttled"), ("1", "under_voltage"), ("e0000", "none")])
async def test_throttle_bits_decide_as_on_a_real_board(text: str, wanted: str, make_board: MakeBoard) -> None:
    board = make_board("raspberry_pi_4")
    board.system.force(BITS, f"{text}\n")
    found = await preflight(board)
    observed = next(check.observed for check in found.checks if check.name == "throttling")
    assert observed == wanted
    assert found.fit == (wanted == "none")


async def test_a_file_that_goes_away_fails_closed(make_board: MakeBoard) -> None:
    board = make_board("raspberry_pi_4")
    await board.facts()
    board.system.force(BITS, None)
    found = await preflight(board)
    assert failed(found) == ["throttling"]
    reading = next(r for r in (await board.conditions()).readings if r.name == "throttle")
    assert reading.value is None
    assert "it was there before" in reading.reason


async def test_a_fall_of_the_supply_voltage_is_seen_and_slows_the_board(
    make_board: MakeBoard, make_start: MakeStart
) -> None:
    board = make_board("raspberry_pi_4")
    session = await board.start_runner(make_start())
    await session.request("open", {}, 1e9)
    watcher = Watcher(board, None)
    await watcher.begin()
    board.state.set_under_voltage(True)
    await session.request("infer", {"count": 50}, 1e9)
    await watcher.between_batches()
    during = {r.name: r.value for r in (await board.conditions()).readings}
    board.state.set_under_voltage(False)
    watched = await watcher.end()
    after = {r.name: r.value for r in (await board.conditions()).readings}
    assert during["throttle/under_voltage_now"] == 1.0
    assert during["cpufreq/policy0/current"] == 0.6e9
    assert (after["throttle/under_voltage_now"], after["throttle/under_voltage_since_boot"]) == (0.0, 1.0)
    assert after["throttle/soft_temperature_limit_since_boot"] == 0.0
    assert watched is not None
    assert watched.throttled == ("throttled", "under_voltage")
    assert watched.watch.throttle_event_count == 2


async def test_the_soft_limit_of_a_3b_plus_has_a_bit_of_its_own(
    make_board: MakeBoard, make_start: MakeStart
) -> None:
    pi4 = load_profile("raspberry_pi_4")
    steps = (ThrottleStep(temperature_celsius=40.0, frequency_hz=1.2e9), *pi4.throttle.steps[1:])
    board = make_board(dataclasses.replace(pi4, throttle=dataclasses.replace(pi4.throttle, steps=steps)))
    session = await board.start_runner(make_start())
    await session.request("open", {}, 1e9)
    await session.request("infer", {"count": 3000}, 1e9)
    values = {r.name: r.value for r in (await board.conditions()).readings}
    assert values["throttle/soft_temperature_limit_now"] == 1.0
    assert values["throttle/frequency_capped_now"] == 0.0


async def test_time_in_state_counts_job_time(make_board: MakeBoard) -> None:
    board = make_board("raspberry_pi_4")
    await board.clock.sleep(12.0)
    board.state.set_under_voltage(True)
    await board.clock.sleep(6.0)
    values = {r.name: r.value for r in (await board.conditions()).readings}
    assert values["time_in_state/policy0/total"] == pytest.approx(18.0, abs=0.02)
    assert values["time_in_state/policy0/at_maximum"] == pytest.approx(12.0, abs=0.02)
    assert values["time_in_state/policy0/full_speed_equivalent"] == pytest.approx(14.0, abs=0.02)


JETSON = (
    sensor("jetson_throttle", "events", ("cpu-throttle-alert/events", "cpu-throttle-alert_now")),
    sensor("overcurrent", "events", ("oc1", "oc2", "oc3")),
    sensor("nvpmodel", "power_mode", ("mode",), text="2 MAXN_SUPER"),
    sensor("devfreq", "frequency", ("gpu/current",), path="sys/class/devfreq/17000000.gpu", minimum_hz=306e6),
    sensor("devfreq_load", "load", ("gpu",), path="sys/class/devfreq/17000000.gpu"),
    sensor(
        "jetson_power",
        "power",
        ("VDD_IN", "VDD_SOC"),
        shares=(1.0, 0.3),
        volts=(5.0, 5.0),
        shunt_ohm=0.005,
        path="sys/class/hwmon/hwmon3",
    ),
)


async def test_a_jetson_shows_what_jetpack_shows(make_board: MakeBoard, make_start: MakeStart) -> None:
    pi4 = load_profile("raspberry_pi_4")
    hot = dataclasses.replace(pi4, thermal=dataclasses.replace(pi4.thermal, ambient_celsius=70.0))
    without = tuple(s for s in hot.sensors if s.name != "throttle")
    board = make_board(added(dataclasses.replace(hot, sensors=without), *JETSON))
    facts = {fact.name: fact for fact in (await board.facts()).sensors}
    assert facts["jetson_power"].resolution == pytest.approx(0.04)
    assert facts["ina3221"].reason == "absent: the INA3221 chips of a Jetson are read by jetson_power"
    session = await board.start_runner(make_start())
    await session.request("open", {}, 1e9)
    await session.request("infer", {"count": 5000}, 1e9)
    board.state.set_under_voltage(True)
    conditions = await board.conditions()
    values = {reading.name: reading.value for reading in conditions.readings}
    assert values["jetson_power/total"] == pytest.approx(board.state.power_w, abs=0.04)
    assert values["jetson_throttle/cpu-throttle-alert/events"] == board.state.throttle_count > 0
    assert values["jetson_throttle/cpu-throttle-alert_now"] == 1.0
    assert (values["overcurrent/oc1"], values["overcurrent/oc2"]) == (1.0, 0.0)
    assert (values["devfreq/gpu/current"], values["devfreq_load/gpu"]) == (306e6, 0.0)
    assert (await board.vitals()).power_mode.value == "pmode:0002"
    (mode,) = (reading for reading in conditions.readings if reading.name == "nvpmodel/mode")
    assert (mode.value, "MAXN_SUPER" in mode.source) == (2.0, True)


async def test_commands_are_answered_where_there_is_no_file(make_board: MakeBoard) -> None:
    pi4 = changed(load_profile("raspberry_pi_4"), "throttle", path="commands/vcgencmd_get_throttled")
    mode = sensor("nvpmodel", "power_mode", ("mode",), text="0 MAXN", path="commands/nvpmodel_q")
    board = make_board(added(pi4, mode))
    board.state.set_under_voltage(True)
    readings = {reading.name: reading for reading in (await board.conditions()).readings}
    assert readings["throttle/under_voltage_now"].value == 1.0
    assert readings["throttle/under_voltage_now"].source.startswith("vcgencmd get_throttled")
    assert "MAXN" in readings["nvpmodel/mode"].source


def test_a_sensor_that_no_driver_reads_is_refused(make_board: MakeBoard) -> None:
    profile = load_profile("raspberry_pi_4")
    with pytest.raises(InvalidInputError, match="sensors: found the name 'thermometer', allowed is one of"):
        make_board(added(profile, sensor("thermometer", "temperature", ("die",))))


@pytest.mark.parametrize(
    ("name", "field"), [("rapl", "range_j"), ("jetson_power", "path"), ("pmic", "volts")]
)
def test_what_a_sensor_cannot_do_without_is_named(name: str, field: str, make_board: MakeBoard) -> None:
    lacking = sensor(name, "energy" if name == "rapl" else "power", ("0/package-0",))
    with pytest.raises(InvalidInputError, match=f"sensors.{name}.{field}: found nothing"):
        make_board(added(load_profile("raspberry_pi_4"), lacking))
