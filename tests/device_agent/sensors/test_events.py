"""Throttling: what proves an event, what proves nothing; temperatures and clocks next to it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from edgeloop_agent.sensors import SensorSet
from edgeloop_agent.sensors.nvpmodel import Nvpmodel
from edgeloop_agent.sensors.throttle import Throttle, throttle_change
from edgeloop_agent.sensors.time_in_state import TimeInState
from edgeloop_agent.sensors.trip_points import TripPoints

from tests.device_agent.sensors.boards import TREES, Ticking, copy_of

FIRMWARE = "sys/devices/platform/soc/soc:firmware/get_throttled"


def pi(tmp_path: Path, bits: str) -> tuple[Path, Throttle]:
    path = tmp_path / FIRMWARE
    path.parent.mkdir(parents=True)
    path.write_text(bits)
    return path, Throttle(tmp_path)


def test_a_sticky_bit_that_was_set_before_is_blind(tmp_path: Path) -> None:
    path, sensor = pi(tmp_path, "0x40000")
    before = sensor.read()
    path.write_text("0x40000")
    same = throttle_change(before, sensor.read())
    assert same.events == ()
    assert same.blind == ("throttle/throttled_since_boot: set before, and it stays set until the next boot",)


def test_a_sticky_bit_that_becomes_set_proves_an_event(tmp_path: Path) -> None:
    path, sensor = pi(tmp_path, "0x0")
    before = sensor.read()
    path.write_text("0x50000")
    found = throttle_change(before, sensor.read())
    assert found.events == (
        "throttle/under_voltage_since_boot: 0 -> 1",
        "throttle/throttled_since_boot: 0 -> 1",
    )
    assert found.blind == ()


def test_a_bit_of_the_moment_proves_an_event_at_either_end(tmp_path: Path) -> None:
    path, sensor = pi(tmp_path, "0x1")
    before = sensor.read()
    path.write_text("0x0")
    assert throttle_change(before, sensor.read()).events == ("throttle/under_voltage_now: 1 -> 0",)


def test_the_zero_cannot_tell_under_voltage() -> None:
    sensor = Throttle(TREES / "from_documentation/raspberry_pi_zero_2w/root")
    readings = {r.name: r for r in sensor.read()}
    assert readings["throttle/under_voltage_now"].value is None
    assert "no detector" in readings["throttle/under_voltage_now"].reason
    change = throttle_change(sensor.read(), sensor.read())
    assert [name for name in change.blind if "under_voltage" in name]


def test_counts_prove_events_by_rising_on_a_jetson(tmp_path: Path) -> None:
    root = copy_of("from_documentation/jetson_orin_nano_jetpack6", tmp_path)
    found = SensorSet(root)
    before = found.read()
    assert throttle_change(before, found.read()).events == ()
    (root / "sys/devices/platform/cpu-throttle-alert/thermal_trip_event").write_text("4\n")
    (root / "sys/class/hwmon/hwmon2/oc3_event_cnt").write_text("27399\n")
    (root / "sys/class/thermal/cooling_device1/cur_state").write_text("2\n")
    change = throttle_change(before, found.read())
    assert set(change.events) == {
        "jetson_throttle/cpu-throttle-alert/events: 3 -> 4",
        "jetson_throttle/gpu-throttle-alert_now: 0 -> 2",
        "overcurrent/oc3: 27390 -> 27399",
    }


def test_a_count_that_cannot_be_read_after_is_blind(tmp_path: Path) -> None:
    root = copy_of("from_documentation/jetson_orin_nano_jetpack6", tmp_path)
    found = SensorSet(root)
    before = found.read()
    (root / "sys/class/hwmon/hwmon2/oc1_event_cnt").unlink()
    assert [b for b in throttle_change(before, found.read()).blind if b.startswith("overcurrent/oc1: absent")]


def test_one_event_of_a_package_is_counted_once_and_siblings_share_a_core(tmp_path: Path) -> None:
    root = copy_of("x86_throttled", tmp_path)
    cpus = root / "sys/devices/system/cpu"
    shutil.copytree(cpus / "cpu0", cpus / "cpu4")
    sensor = Throttle(root)
    found = {r.name: r.value for r in sensor.read()}
    assert found == {"throttle/core_throttle_count": 10084 + 523, "throttle/package_throttle_count": 34818}
    before = sensor.read()
    for cpu in ("cpu0", "cpu1", "cpu4"):
        (cpus / cpu / "thermal_throttle/package_throttle_count").write_text("34819\n")
    assert throttle_change(before, sensor.read()).events == (
        "throttle/package_throttle_count: 34818 -> 34819",
    )


def test_without_the_kernels_file_the_command_is_asked(tmp_path: Path) -> None:
    root = copy_of("raspberry_pi_3b_plus", tmp_path)
    clock = Ticking()
    sensor = Throttle(root, clock)
    flags = {r.name: r.value for r in sensor.read()}
    assert flags["throttle/under_voltage_now"] == 1.0
    assert flags["throttle/throttled_since_boot"] == 1.0
    (root / "commands/vcgencmd_get_throttled").write_text("throttled=0x0\n")
    assert sensor.read()[0].value == 1.0
    clock.advance(0.1)
    assert sensor.read()[0].value == 0.0


@pytest.mark.parametrize(
    "answer", ["", "throttled=", "throttled=0xzz", "0x0", "throttled=-1", "throttled=0x123456789"]
)
def test_an_answer_without_bits_is_unsupported(tmp_path: Path, answer: str) -> None:
    (tmp_path / "commands").mkdir()
    (tmp_path / "commands/vcgencmd_get_throttled").write_text(answer)
    (reading,) = Throttle(tmp_path).read()
    assert reading.reason.startswith("unsupported: ")


def test_residency_tells_the_mean_clock_between_two_readings(tmp_path: Path) -> None:
    root = copy_of("from_documentation/raspberry_pi_5", tmp_path)
    sensor = TimeInState(root)
    before = {r.name.rpartition("/")[2]: r.value for r in sensor.read()}
    table = root / "sys/devices/system/cpu/cpufreq/policy0/stats/time_in_state"
    # 3 s more at 2.4 GHz and 1 s more at 1.8 GHz.
    table.write_text("1500000 90000\n1800000 1100\n2400000 9300\n")
    after = {r.name.rpartition("/")[2]: r.value for r in sensor.read()}
    delta = {name: (after[name] or 0) - (before[name] or 0) for name in after}
    assert delta == pytest.approx({"total": 4.0, "at_maximum": 3.0, "full_speed_equivalent": 3.75})
    mean_hz = 2.4e9 * delta["full_speed_equivalent"] / delta["total"]
    assert mean_hz == pytest.approx((3 * 2.4e9 + 1.8e9) / 4)
    assert sensor.residency() == {"policy0": {1.5e9: 900.0, 1.8e9: 11.0, 2.4e9: 93.0}}


def test_trip_points_are_the_lowest_of_their_kind_and_read_once_a_minute(tmp_path: Path) -> None:
    root, clock = copy_of("from_documentation/n100", tmp_path), Ticking()
    sensor = TripPoints(root, clock)
    first = {r.name: r.value for r in sensor.read()}
    assert first["trip_points/x86_pkg_temp/passive"] == 105.0
    (root / "sys/class/thermal/thermal_zone1/trip_point_0_temp").write_text("85000\n")
    clock.advance(59)
    assert {r.name: r.value for r in sensor.read()} == first
    clock.advance(2)
    assert {r.name: r.value for r in sensor.read()}["trip_points/x86_pkg_temp/passive"] == 85.0


@pytest.mark.parametrize(
    ("board", "mode", "name"),
    [("jetson_nano_jetpack4", 0.0, "MAXN"), ("jetson_xavier_nx_jetpack4", 2.0, "MODE_15W_6CORE")],
)
def test_a_power_mode_has_a_number_and_a_name(board: str, mode: float, name: str) -> None:
    (reading,) = Nvpmodel(TREES / "from_documentation" / board / "root").read()
    assert reading.value == mode
    assert f"({name})" in reading.source
