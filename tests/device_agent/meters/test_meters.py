"""External meters against servers and lines that speak as documented; none of this has seen hardware."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from edgeloop_agent import meters
from edgeloop_agent.meters import BUILTIN, METERS, open_meters
from edgeloop_agent.meters.base import Meter
from edgeloop_foundation.errors import InvalidInputError, NotFoundError

GEN2 = {
    "id": 0,
    "source": "init",
    "output": True,
    "apower": 6.4,
    "voltage": 231.1,
    "current": 0.051,
    "aenergy": {"total": 1.5, "by_minute": [106.2, 106.0, 105.9], "minute_ts": 1_700_000_040},
    "temperature": {"tC": 40.1, "tF": 104.2},
}
GEN1 = {
    "meters": [{"power": 6.4, "is_valid": True, "timestamp": 1_700_000_040, "counters": [6.4], "total": 90}]
}
TASMOTA = {
    "StatusSNS": {
        "Time": "2024-01-01T10:00:00",
        "ENERGY": {"TotalStartTime": "2023-01-01T00:00:00", "Total": 1.5, "Power": 6, "Voltage": 231},
    }
}
GEN2_PATH, GEN1_PATH, TASMOTA_PATH = "/rpc/Switch.GetStatus?id=0", "/status", "/cm?cmnd=Status%208"

OUTCOMES = ("absent: ", "unsupported: ", "failed: ")


def check_rules(meter: Meter) -> Any:
    """The conformance rules of every sensor: facts and readings agree, units are declared, a reason is no number."""
    facts, readings = meter.probe(), meter.read()
    assert facts.name == meter.name
    assert (facts.quantity, facts.unit) in {("energy", "joule"), ("power", "watt")}
    assert facts.scope in ("rail", "board", "wall")
    assert facts.period_s is not None
    assert facts.period_s > 0
    assert facts.error_fraction is None or 0 < facts.error_fraction < 1
    for reading in readings:
        assert reading.name.partition("/")[0] == facts.name
        assert reading.unit == facts.unit
        assert (reading.value is None) == reading.reason.startswith(OUTCOMES)
        assert (reading.value is None) == (reading.time_ns is None)
    assert bool(facts.reason) == all(reading.value is None for reading in readings)
    if facts.reason:
        assert facts.reason.startswith(OUTCOMES)
    return facts, readings


def open_one(text: str) -> Meter:
    (meter,) = open_meters([text])
    return meter


@pytest.mark.parametrize(
    ("options", "documents", "value", "unit"),
    [
        ("shelly", {GEN2_PATH: GEN2}, 5400.0, "joule"),
        ("shelly:,quantity=power", {GEN2_PATH: GEN2}, 6.4, "watt"),
        ("shelly", {GEN1_PATH: GEN1}, 5400.0, "joule"),
        ("shelly:,quantity=power", {GEN1_PATH: GEN1}, 6.4, "watt"),
        ("tasmota", {TASMOTA_PATH: TASMOTA}, 6.0, "watt"),
        ("tasmota:,quantity=energy", {TASMOTA_PATH: TASMOTA}, 5.4e6, "joule"),
    ],
)
def test_a_plug_reads_what_its_document_says(
    meter_server: Any, options: str, documents: dict[str, Any], value: float, unit: str
) -> None:
    kind, _, rest = options.partition(":")
    meter_server.documents = documents
    before = time.monotonic_ns()
    facts, readings = check_rules(open_one(f"{kind}={meter_server.address}{rest}"))
    (reading,) = readings
    assert (reading.value, reading.unit, facts.scope) == (pytest.approx(value), unit, "wall")
    assert before <= reading.time_ns <= time.monotonic_ns()
    assert reading.source.startswith(meter_server.address)


def test_a_plug_is_asked_once_per_period(meter_server: Any) -> None:
    meter_server.documents = {GEN2_PATH: GEN2}
    now = [10**12]
    meter = METERS.load("shelly")(meter_server.address, {}, lambda: now[0])
    first = meter.read()
    assert meter.read() == first
    assert len(meter_server.asked) == 1
    now[0] += 2 * 10**9
    assert meter.read()[0].time_ns == first[0].time_ns + 2 * 10**9
    assert len(meter_server.asked) == 2


@pytest.mark.parametrize("kind", ["shelly", "tasmota"])
@pytest.mark.parametrize(
    ("change", "outcome", "says"),
    [
        ({"status": 401}, "unsupported", "password"),
        ({"status": 500}, "failed", "status 500"),
        ({"raw": b"<html>"}, "unsupported", "no JSON"),
        ({"raw": b" " * 100_000}, "unsupported", "more than 65536 bytes"),
        ({"raw": b"{}"}, "unsupported", "tells no"),
        ({"raw": b"[1, 2]"}, "unsupported", "tells no"),
        ({"raw": b'{"apower": NaN, "aenergy": {"total": 1e999}, "meters": []}'}, "unsupported", "tells no"),
        ({"raw": b'{"aenergy": {"total": true}, "meters": {"0": 1}}'}, "unsupported", "tells no"),
        ({"raw": b"[" * 60_000}, "unsupported", "no JSON"),
        ({"raw": b" " * 1000, "drip_s": 0.05}, "failed", "did not answer"),
    ],
)
def test_what_is_no_value_is_one_of_three_outcomes(
    meter_server: Any, kind: str, change: dict[str, Any], outcome: str, says: str
) -> None:
    for name, value in change.items():
        setattr(meter_server, name, value)
    begin = time.monotonic()
    facts, _ = check_rules(open_one(f"{kind}={meter_server.address}"))
    assert facts.reason.startswith(f"{outcome}: ")
    assert says in facts.reason
    assert time.monotonic() - begin < 10.0


def test_a_tasmota_that_wants_a_password_says_so_with_status_200(meter_server: Any) -> None:
    meter_server.documents = {TASMOTA_PATH: {"WARNING": "Need user=<username>&password=<password>"}}
    facts, _ = check_rules(open_one(f"tasmota={meter_server.address}"))
    assert facts.reason.startswith("unsupported: ")
    assert "password" in facts.reason


@pytest.mark.parametrize("kind", ["shelly", "tasmota"])
def test_nobody_there_is_absent(kind: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meter = open_one(f"{kind}=http://127.0.0.1:{port}")
    assert meter.probe().reason.startswith("absent: ")
    assert meter.read() == ()


@pytest.mark.parametrize("kind", ["shelly", "tasmota"])
def test_one_that_only_listens_is_failed_and_left_alone_for_a_while(kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        meter = open_one(f"{kind}=http://127.0.0.1:{silent.getsockname()[1]}")
        assert meter.probe().reason.startswith("failed: ")
        begin = time.monotonic()
        meter.read()
        assert time.monotonic() - begin < 0.5


@pytest.mark.parametrize(
    ("columns", "line", "watts"),
    [
        ("mV:mA", "5012 1250\n", 6.265),
        ("V:A", "5.012,1.25\r\n", 6.265),
        ("W", "6.25\n", 6.25),
        ("-:mW", "17;6250\n", 6.25),
    ],
)
def test_a_serial_meter_reads_the_newest_line(
    serial_line: Any, columns: str, line: str, watts: float
) -> None:
    serial_line.keep_writing(lambda: line)
    meter = open_one(f"serial={serial_line.path},columns={columns},period=0.02")
    facts, readings = check_rules(meter)
    assert readings[0].value == pytest.approx(watts)
    assert (facts.scope, facts.period_s) == ("board", 0.02)
    meter.close()  # type: ignore[attr-defined]


def test_what_was_written_while_nobody_read_is_old(serial_line: Any) -> None:
    now = [10**12]

    def clock() -> int:
        return now[0] + time.monotonic_ns() - begin

    begin = time.monotonic_ns()
    meter: Any = METERS.load("serial")(serial_line.path, {"columns": "W", "period": "0.02"}, clock)
    value = ["1.0"]
    serial_line.keep_writing(lambda: f"{value[0]}\n")
    assert meter.read()[0].value == 1.0
    # The line fills while the meter goes on: what the kernel kept is from the beginning.
    time.sleep(0.3)
    value[0] = "2.0"
    time.sleep(0.1)
    now[0] += 60 * 10**9
    assert meter.read()[0].value == 2.0
    meter.close()


@pytest.mark.parametrize(
    ("line", "says"), [("1 2 3\n", "not 2 numbers"), ("a b\n", "no number"), ("nan 1\n", "no number")]
)
def test_a_line_that_does_not_fit_is_unsupported(serial_line: Any, line: str, says: str) -> None:
    serial_line.keep_writing(lambda: line)
    facts, _ = check_rules(open_one(f"serial={serial_line.path}"))
    assert facts.reason.startswith("unsupported: ")
    assert says in facts.reason


def test_serial_lines_that_are_none(tmp_path: Path, serial_line: Any) -> None:
    assert open_one(f"serial={tmp_path}/nothing").probe().reason.startswith("absent: ")
    (tmp_path / "file").write_text("1 2\n")
    assert open_one(f"serial={tmp_path}/file").probe().reason.startswith("unsupported: ")
    facts, _ = check_rules(open_one(f"serial={serial_line.path}"))
    assert facts.reason.startswith("failed: ")
    assert "no line" in facts.reason


def test_a_serial_meter_that_is_unplugged_fails(serial_line: Any) -> None:
    master, slave = os.openpty()
    meter: Any = METERS.load("serial")(os.ttyname(slave), {"columns": "W", "period": "0.001"})
    writer = threading.Timer(0.1, os.write, (master, b"1\n1\n"))
    writer.start()
    assert meter.read()[0].value == 1.0
    writer.join()
    os.close(slave)
    os.close(master)
    meter._next_ns = None
    assert meter.read()[0].reason.startswith("failed: ")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("shelly", "KIND=ADDRESS"),
        ("shelly=", "KIND=ADDRESS"),
        ("shelly=192.0.2.7", "shelly=http://HOST"),
        ("shelly=https://192.0.2.7", "shelly=http://HOST"),
        ("shelly=http://192.0.2.7/rpc", "shelly=http://HOST"),
        ("shelly=http://192.0.2.7:99999", "shelly=http://HOST"),
        ("shelly=http://me:secret@192.0.2.7", "host and port alone"),
        ("shelly=http://plug.local", "an IP address"),
        ("shelly=http://192.0.2.7,channel=x", "small number"),
        ("shelly=http://192.0.2.7,quantity=volt", "one of energy, power"),
        ("shelly=http://192.0.2.7,speed=9", "no option 'speed'"),
        ("shelly=http://192.0.2.7,scope", "OPTION=VALUE"),
        ("shelly=http://192.0.2.7,scope=moon", "rail, board, wall"),
        ("serial=/dev/ttyUSB0,columns=mV", "where a power is"),
        ("serial=/dev/ttyUSB0,columns=mV:V:A", "where a power is"),
        ("serial=/dev/ttyUSB0,baud=12", "no speed"),
        ("serial=/dev/ttyUSB0,period=0", "0.001 to 60"),
    ],
)
def test_a_wrong_name_is_one_sentence(text: str, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        open_meters([text])


def test_unknown_and_repeated_kinds() -> None:
    with pytest.raises(NotFoundError, match="shelly, tasmota, serial"):
        open_meters(["geiger=http://192.0.2.7"])
    with pytest.raises(InvalidInputError, match="twice"):
        open_meters(["shelly=http://192.0.2.7", "shelly=http://192.0.2.8"])


def test_files_table_and_names_are_the_same() -> None:
    files = {path.stem for path in Path(meters.__file__).parent.glob("*.py")} - {
        *("__init__", "base", "http_json")
    }
    assert files == set(BUILTIN) == {METERS.load(name).name for name in BUILTIN}
