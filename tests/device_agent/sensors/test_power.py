"""Power of rails: what is easily taken for something else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from edgeloop_agent.sensors.base import SensorFailedError
from edgeloop_agent.sensors.ina2xx import Ina2xx
from edgeloop_agent.sensors.ina3221 import Ina3221
from edgeloop_agent.sensors.jetson_power import JetsonPower
from edgeloop_agent.sensors.pmic import Pmic, parse_rails
from edgeloop_agent.sensors.power_supply import PowerSupply

from tests.device_agent.sensors.boards import TREES, Ticking, copy_of

ORIN_NANO = "from_documentation/jetson_orin_nano_jetpack6"
HWMON = "sys/class/hwmon"


def values(sensor: Ina2xx | Ina3221 | JetsonPower | Pmic | PowerSupply) -> dict[str, float | None]:
    return {r.name.partition("/")[2]: r.value for r in sensor.read()}


def test_millivolts_are_never_taken_for_milliwatts(tmp_path: Path) -> None:
    root = copy_of(ORIN_NANO, tmp_path)
    sensor = JetsonPower(root)
    assert values(sensor)["VDD_IN"] == pytest.approx(4.984 * 1.168)
    # With the current the power doubles; a file of power would not notice.
    (root / HWMON / "hwmon1/curr1_input").write_text("2336\n")
    assert values(sensor)["VDD_IN"] == pytest.approx(2 * 4.984 * 1.168)


def test_the_step_and_the_period_are_those_of_the_chip_on_the_board() -> None:
    facts = JetsonPower(TREES / ORIN_NANO / "root").probe()
    # 40 uV at 5 mOhm are 8 mA, at 4.984 V.
    assert facts.resolution == pytest.approx(0.008 * 4.984)
    assert facts.period_s == pytest.approx(0.007)
    unknown = JetsonPower(TREES / "from_documentation/jetson_agx_orin_jetpack6/root").probe()
    assert (unknown.resolution, unknown.period_s) == (None, 0.0066)


def test_a_jetson_is_found_whatever_number_its_chip_has(tmp_path: Path) -> None:
    root = copy_of(ORIN_NANO, tmp_path)
    before = values(JetsonPower(root))
    (root / HWMON / "hwmon1").rename(root / HWMON / "hwmon7")
    assert values(JetsonPower(root)) == before


def test_channels_that_are_not_connected_and_the_sum_of_shunts_are_left_out() -> None:
    found = values(JetsonPower(TREES / "from_documentation/jetson_agx_orin_jetpack6/root"))
    assert set(found) == {"total", "VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO"}


@pytest.mark.parametrize(
    ("board", "total", "scope"),
    [
        ("jetson_nano_jetpack4", 2.003, "board"),
        ("jetson_xavier_nx_jetpack4", 4.732, "board"),
        ("jetson_orin_nano_jetpack6", 5.821312, "board"),
        ("jetson_agx_orin_jetpack6", 3.154 + 0.76 + 4.734504 + 0.39744, "rail"),
    ],
)
def test_the_total_comes_first_and_is_what_feeds_the_module(board: str, total: float, scope: str) -> None:
    sensor = JetsonPower(TREES / "from_documentation" / board / "root")
    facts, first = sensor.probe(), sensor.read()[0]
    assert (first.name, facts.scope) == ("jetson_power/total", scope)
    assert first.value == pytest.approx(total)


def test_a_sum_of_some_rails_is_no_total(tmp_path: Path) -> None:
    root = copy_of("from_documentation/jetson_agx_orin_jetpack6", tmp_path)
    sensor = JetsonPower(root)
    sensor.read()
    (root / HWMON / "hwmon4/curr2_input").unlink()
    total = sensor.read()[0]
    assert total.value is None
    assert total.reason.startswith("absent: ")
    assert "VDDQ_VDD2_1V8AO" in total.reason


def test_an_ina_is_told_apart_by_its_address_and_a_current_may_be_negative() -> None:
    hats = TREES / "from_documentation/ina_hats/root"
    assert values(Ina2xx(hats)) == pytest.approx(
        {"ina226-1-0040": 3.125, "ina226-1-0041": 1.2, "ina219": 5.0 * 0.2}
    )
    assert values(Ina3221(hats)) == pytest.approx({"BOARD_5V": 5.056 * 0.4, "HAT_3V3": 3.296 * -0.01})
    assert values(Ina2xx(TREES / "raspberry_pi_ups_ina219/root")) == {"ina219": pytest.approx(0.176)}


def test_the_chips_of_a_jetson_are_read_once() -> None:
    assert Ina3221(TREES / ORIN_NANO / "root").probe().reason.startswith("absent: ")


def test_rails_of_the_pmic_are_paired_by_name() -> None:
    output = (TREES / "raspberry_pi_5_pmic/root/commands/vcgencmd_pmic_read_adc").read_text()
    rails = parse_rails(output)
    assert len(rails) == 12
    assert not {"EXT5V", "BATT"} & set(rails)
    assert rails["VDD_CORE"] == pytest.approx(10.87674 * 0.8974594)
    shuffled = "\n".join(sorted(output.splitlines()))
    assert parse_rails(shuffled) == rails
    assert parse_rails(output.replace("VDD_CORE_V", "VDD_CORE_X")).keys() == rails.keys() - {"VDD_CORE"}
    assert parse_rails('error=1 error_msg="Command not registered"') == {}


def test_a_raspberry_pi_4_has_no_pmic_to_ask(tmp_path: Path) -> None:
    (tmp_path / "commands").mkdir()
    answer = 'error=1 error_msg="Command not registered"\n'
    (tmp_path / "commands/vcgencmd_pmic_read_adc").write_text(answer)
    assert Pmic(tmp_path).probe().reason.startswith("absent: this Raspberry Pi has no")
    assert Pmic(tmp_path).read() == ()


class Counting:
    """Answers as a Raspberry Pi 5 does and counts how often it is asked."""

    def __init__(self) -> None:
        self.count = 0
        self.fails = False

    def exists(self, arguments: Sequence[str]) -> bool:
        return True

    def run(self, arguments: Sequence[str]) -> str:
        self.count += 1
        if self.fails:
            raise SensorFailedError("vcgencmd: exit status 255: Can't open device file: /dev/vcio")
        return f"VDD_CORE_A current(7)={self.count}.0A\nVDD_CORE_V volt(15)=1.0V\n"


def test_a_command_runs_at_most_ten_times_a_second_and_repeats_keep_their_time() -> None:
    commands, clock = Counting(), Ticking()
    sensor = Pmic(Path("/nowhere"), clock, commands)
    first = sensor.read()
    asked = commands.count
    clock.advance(0.099)
    assert sensor.read() == first
    assert commands.count == asked
    clock.advance(0.002)
    second = sensor.read()
    assert commands.count == asked + 1
    assert (second[0].time_ns or 0) - (first[0].time_ns or 0) == 101_000_000
    assert second[0].value != first[0].value


def test_a_command_that_fails_is_not_asked_more_often() -> None:
    commands, clock = Counting(), Ticking()
    sensor = Pmic(Path("/nowhere"), clock, commands)
    sensor.read()
    commands.fails = True
    clock.advance(1)
    asked = commands.count
    for _ in range(5):
        (reading,) = sensor.read()
        assert "/dev/vcio" in reading.reason
    assert commands.count == asked + 1


def test_a_command_that_never_worked_is_asked_once_a_probe() -> None:
    commands = Counting()
    commands.fails = True
    sensor = Pmic(Path("/nowhere"), Ticking(), commands)
    for _ in range(5):
        (reading,) = sensor.read()
        assert reading.reason.startswith("failed: vcgencmd: exit status 255")
    assert commands.count == 1
    assert sensor.probe().reason.startswith("failed: ")
    commands.fails = False
    assert sensor.read()[0].value is None
    assert not sensor.probe().reason
    assert sensor.read()[0].value is not None


def test_a_battery_shows_what_the_board_draws_only_while_it_discharges(tmp_path: Path) -> None:
    root = copy_of("laptop", tmp_path)
    sensor = PowerSupply(root)
    assert values(sensor) == {"total": pytest.approx(4.83), "BAT0": pytest.approx(4.83)}
    (root / "sys/class/power_supply/BAT0/status").write_text("Charging\n")
    for reading in sensor.read():
        assert reading.value is None
        assert "Charging" in reading.reason


def test_the_total_of_batteries_is_that_of_those_that_give(tmp_path: Path) -> None:
    root = copy_of("from_documentation/laptop_charging", tmp_path)
    sensor = PowerSupply(root)
    assert values(sensor) == {"total": None, "BAT0": None, "BAT1": pytest.approx(5.5)}
    status = root / "sys/class/power_supply/BAT0/status"
    status.write_text("Not charging\n")
    assert values(sensor) == {"total": pytest.approx(5.5), "BAT0": None, "BAT1": pytest.approx(5.5)}
    status.write_text("Discharging\n")
    assert values(sensor)["total"] == pytest.approx(35.5)
    status.unlink()
    assert values(sensor)["total"] is None
