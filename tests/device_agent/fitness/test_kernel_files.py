"""What is read from a kernel's files, what is not there, and what is there and cannot be read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from edgeloop_agent.fitness.kernel_files import process_work, read_vitals
from edgeloop_agent.fitness.vitals import Vitals, events_of, throttled_now
from edgeloop_protocol.types.measurement import Reading

TICK = os.sysconf("SC_CLK_TCK")


def write(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def read(root: Path, *pids: int) -> Vitals:
    return read_vitals(root, 5, (), pids)


def test_an_empty_tree_tells_nothing_and_hides_nothing(tmp_path: Path) -> None:
    vitals = read(tmp_path)
    for name in ("processors", "policies", "boost", "passive_trip_celsius", "available_memory_bytes"):
        seen = getattr(vitals, name)
        assert (seen.value, seen.unreadable) == (None, False)
        assert seen.reason
    for name in ("swapped_page_count", "writing_bytes", "power_mode", "on_mains", "accelerator_bytes"):
        assert getattr(vitals, name).value is None
    assert vitals.load_average_1min is None
    assert not vitals.fixed_clock


def test_processor_times_are_seconds_of_all_processors(tmp_path: Path) -> None:
    lines = "cpu  100 20 30 1000 50 6 7 8 90 0\ncpu0 1 1 1 1 1 1 1 1 0 0\ncpu1 1 1 1 1 1 1 1 1 0 0\nctxt 1\n"
    seen = read(write(tmp_path, proc__stat=lines)).processors.value
    assert seen is not None
    # Guest time, the ninth column, is within user time.
    assert (seen.busy_s * TICK, seen.stolen_s * TICK) == (pytest.approx(163), pytest.approx(8))
    assert seen.total_s * TICK == pytest.approx(1221)
    assert seen.count == 2
    assert read(write(tmp_path, proc__stat="nonsense")).processors.unreadable


def test_memory_pages_and_what_an_accelerator_holds(tmp_path: Path) -> None:
    # Lines of a Jetson Nano's /proc/meminfo.
    memory = "MemAvailable:    2048 kB\nWriteback:   8 kB\nNvMapMemFree:      94784 kB\nNvMapMemUsed:     805068 kB\n"
    vitals = read(write(tmp_path, proc__meminfo=memory, proc__vmstat="pswpin 3\npswpout 4\npgmajfault 9\n"))
    assert vitals.available_memory_bytes.value == 2 << 20
    assert vitals.writing_bytes.value == 8 << 10
    assert vitals.accelerator_bytes.value == 805068 << 10
    assert vitals.swapped_page_count.value == 7


def test_clients_of_nvmap_have_a_total(tmp_path: Path) -> None:
    text = "CLIENT  PROCESS  PID  SIZE\nuser    python3  4711  524288K\ntotal                 557056K\n"
    root = write(tmp_path, sys__kernel__debug__nvmap__iovmm__clients=text)
    assert read(root).accelerator_bytes.value == 557056 << 10


class TestClock:
    """Policies: groups of processors that share a clock."""

    def policy(self, root: Path, index: int, governor: str, low: int, high: int) -> Path:
        below = f"sys__devices__system__cpu__cpufreq__policy{index}"
        texts = {"scaling_governor": governor, "scaling_min_freq": str(low), "scaling_max_freq": str(high)}
        return write(root, **{f"{below}__{name}": text for name, text in texts.items()})

    def test_governors_and_limits(self, tmp_path: Path) -> None:
        self.policy(tmp_path, 0, "performance", 600000, 1500000)
        vitals = read(self.policy(tmp_path, 10, "userspace", 900000, 900000))
        assert [p.name for p in vitals.policies.value or ()] == ["policy0", "policy10"]
        assert (vitals.governors, vitals.fixed_clock) == ("performance,userspace", True)
        assert not read(self.policy(tmp_path, 4, "schedutil", 400000, 1800000)).fixed_clock

    def test_a_governor_without_limits_is_not_pinned(self, tmp_path: Path) -> None:
        root = write(tmp_path, sys__devices__system__cpu__cpufreq__policy0__scaling_governor="ondemand\n")
        vitals = read(root)
        assert (vitals.governors, vitals.fixed_clock) == ("ondemand", False)

    def test_what_cannot_be_read_is_said(self, tmp_path: Path) -> None:
        self.policy(tmp_path, 0, "performance", 1, 2)
        path = tmp_path / "sys/devices/system/cpu/cpufreq/policy0/scaling_governor"
        path.unlink()
        path.mkdir()
        seen = read(tmp_path).policies
        assert (seen.value, seen.unreadable) == (None, True)
        assert "policy0: scaling_governor: Is a directory" in seen.reason


@pytest.mark.parametrize(
    ("file", "text", "on"),
    [
        ("sys__devices__system__cpu__cpufreq__boost", "1\n", True),
        ("sys__devices__system__cpu__cpufreq__boost", "0\n", False),
        ("sys__devices__system__cpu__intel_pstate__no_turbo", "1\n", False),
        ("sys__devices__system__cpu__intel_pstate__no_turbo", "0\n", True),
    ],
)
def test_boost_has_two_switches_of_opposite_sense(tmp_path: Path, file: str, text: str, on: bool) -> None:
    assert read(write(tmp_path, **{file: text})).boost.value is on


def test_the_lowest_passive_trip_point_counts(tmp_path: Path) -> None:
    zone = "sys__class__thermal__thermal_zone0__trip_point"
    points = (
        ("0", "critical", "60000"),
        ("1", "passive", "85000"),
        ("2", "passive", "80000"),
        ("3", "passive", "0"),
    )
    texts = {f"{zone}_{i}_type": kind for i, kind, _ in points} | {
        f"{zone}_{i}_temp": t for i, _, t in points
    }
    assert read(write(tmp_path, **texts)).passive_trip_celsius.value == pytest.approx(80.0)


@pytest.mark.parametrize(
    ("supplies", "fed"),
    [
        ({"AC": ("Mains", "1", ""), "BAT0": ("Battery", "", "Charging")}, True),
        ({"AC": ("Mains", "0", ""), "BAT0": ("Battery", "", "Discharging")}, False),
        ({"BAT0": ("Battery", "", "Discharging")}, False),
        ({"usb": ("USB", "1", "")}, True),
        ({"BAT0": ("Battery", "", "Full")}, None),
    ],
)
def test_power_supplies(tmp_path: Path, supplies: dict[str, tuple[str, str, str]], fed: bool | None) -> None:
    for name, values in supplies.items():
        for file, text in zip(("type", "online", "status"), values, strict=True):
            if text:
                write(tmp_path, **{f"sys__class__power_supply__{name}__{file}": text})
    assert read(tmp_path).on_mains.value is fed


def test_the_work_of_a_process_whose_name_is_hostile(tmp_path: Path) -> None:
    fields = "S 1 1 1 0 -1 0 500 0 33 0 120 30 0 0 20 0 2 0 1"
    write(tmp_path, proc__7__stat=f"7 (a) S (b) {fields}\n")
    for task, switches in (("7", 4), ("8", 5)):
        write(
            tmp_path,
            **{f"proc__7__task__{task}__status": f"Name:\tx\nnonvoluntary_ctxt_switches:\t{switches}\n"},
        )
    work = process_work(tmp_path, 7)
    assert work is not None
    assert (work.cpu_s * TICK, work.major_fault_count, work.involuntary_switch_count) == (
        pytest.approx(150),
        33,
        9,
    )
    assert process_work(tmp_path, 8) is None
    assert read(tmp_path, 7, 8).companions_cpu_s is None
    assert read(tmp_path, 7, 7).companions_cpu_s == pytest.approx(work.cpu_s)


def test_this_machine_has_processors_and_this_process_works() -> None:
    before = read(Path("/"), os.getpid())
    total = sum(index * index for index in range(2_000_000))
    after = read(Path("/"), os.getpid())
    assert total
    assert before.processors.value
    assert after.processors.value
    assert after.processors.value.total_s >= before.processors.value.total_s
    assert before.runner
    assert after.runner
    assert after.runner.cpu_s > before.runner.cpu_s
    assert after.agent_cpu_s > before.agent_cpu_s


def test_throttle_states_and_what_lasts_are_told_apart() -> None:
    def flag(name: str, value: float | None, reason: str = "") -> Reading:
        return Reading(name=name, unit="count", value=value, reason=reason)

    readings = (
        flag("throttle/throttled_now", 1.0),
        flag("throttle/under_voltage_now", None, "absent: not fitted"),
        flag("throttle/throttled_since_boot", 1.0),
        flag("jetson_throttle/cpu-throttle-alert/events", 3.0),
        flag("overcurrent/oc3", 27390.0),
    )
    assert throttled_now(readings).value == ("throttled",)
    assert events_of(readings) == 4.0
    assert events_of(readings[:2]) is None
