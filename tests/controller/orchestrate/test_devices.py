"""What the doctor says about the sensors of a device."""

from __future__ import annotations

from edgeloop.orchestrate.devices import sensor_findings
from edgeloop_protocol.types.facts import Facts, Hardware, OperatingSystem, SensorFacts


def sensor(name: str, quantity: str, reason: str = "") -> SensorFacts:
    return SensorFacts(name=name, quantity=quantity, unit="u", scope="board", reason=reason)


def findings(*sensors: SensorFacts) -> list[tuple[str, str]]:
    found = Facts(
        device_id="d",
        name="d",
        hardware=Hardware(architecture="aarch64", logical_cores=4, memory_total_bytes=1 << 30),
        operating_system=OperatingSystem(name="n", kernel="k", python_version="3.11"),
        sensors=sensors,
    )
    return [(finding.level, finding.what) for finding in sensor_findings(found)]


COMPLETE = (sensor("thermal", "temperature"), sensor("cpufreq", "frequency"), sensor("throttle", "events"))


def test_drivers_of_other_boards_are_no_finding() -> None:
    assert findings(*COMPLETE, sensor("rapl", "energy"), sensor("pmic", "power", "absent: no program")) == [
        ("ok", "sensors: thermal, cpufreq, throttle, rapl")
    ]


def test_one_finding_says_that_nothing_measures_power() -> None:
    found = findings(*COMPLETE, sensor("rapl", "energy", "absent: a"), sensor("pmic", "power", "absent: b"))
    assert [what for level, what in found if level == "warning"] == [
        "no sensor of power or energy can be read, so that no energy is measured"
    ]


def test_a_sensor_that_fails_is_named_with_its_reason() -> None:
    found = findings(*COMPLETE, sensor("rapl", "energy", "failed: Permission denied"))
    assert ("warning", "no energy from rapl: failed: Permission denied") in found


def test_a_device_without_sensors_lacks_every_quantity() -> None:
    assert [
        what.rpartition(" of ")[2].partition(" ")[0] for level, what in findings() if level == "warning"
    ] == [
        "power",
        "temperature",
        "frequency",
        "events",
    ]
