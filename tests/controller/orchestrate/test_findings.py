"""What the doctor makes of answers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from edgeloop import __version__
from edgeloop.domain.device import DeviceSpec
from edgeloop.orchestrate.findings import (
    accelerator_findings,
    identity_findings,
    isolation_findings,
    version_findings,
    vital_findings,
)
from edgeloop_protocol.types.facts import Facts, Hardware, OperatingSystem, RuntimeFacts
from edgeloop_protocol.types.identity import DAY_S, IdentityStatus
from edgeloop_protocol.types.job import JobEvent, JobState
from edgeloop_protocol.types.outcome import Isolation
from edgeloop_protocol.types.vitals import DeviceVitals

NOW_S = 1_800_000_000.0
FACTS = Facts(
    device_id="d",
    name="d",
    hardware=Hardware(
        model="NVIDIA Jetson Orin Nano", architecture="aarch64", logical_cores=4, memory_total_bytes=1
    ),
    operating_system=OperatingSystem(name="n", kernel="k", python_version="3.11"),
    runtimes=(RuntimeFacts(name="onnxruntime", version="1", providers=("CPUExecutionProvider",)),),
    agent_version=__version__,
)
FIT = DeviceVitals(wall_s=NOW_S, governor="performance", clock_synchronised=True)


@pytest.mark.parametrize(
    ("vitals", "level", "what", "step"),
    [
        (replace(FIT, wall_s=NOW_S + 90), "warning", "89 s ahead of", "set-ntp"),
        (replace(FIT, wall_s=NOW_S - 90), "warning", "90 s behind", "set-ntp"),
        (replace(FIT, clock_synchronised=False), "warning", "not set by NTP", "timedatectl"),
        (replace(FIT, throttled=("under_voltage",)), "error", "under_voltage", "power supply"),
        (replace(FIT, governor="ondemand,performance"), "warning", "governor ondemand", "cpupower"),
        (replace(FIT, available_memory_bytes=10**8), "warning", "only 100 MB", "Stop"),
        (replace(FIT, spool_waiting_count=3), "warning", "3 results wait", "fetches"),
    ],
)
def test_each_finding_has_a_next_step(vitals: DeviceVitals, level: str, what: str, step: str) -> None:
    (finding,) = vital_findings(vitals, NOW_S, NOW_S + 1)
    assert finding.level == level
    assert what in finding.what
    assert step in finding.next_step


def test_a_fit_device_has_no_findings_and_a_slow_answer_is_no_skew() -> None:
    assert vital_findings(FIT, NOW_S, NOW_S + 1) == []
    assert vital_findings(FIT, NOW_S - 60, NOW_S + 60) == []
    job = JobEvent(job_id="j", sequence=1, state=JobState.RUNNING)
    assert vital_findings(replace(FIT, spool_waiting_count=3, job=job), NOW_S, NOW_S) == []


@pytest.mark.parametrize(
    ("left_days", "level", "step"),
    [(-1.0, "error", "device enrol pi"), (3.0, "warning", "ca renew --on pi"), (29.0, "ok", "")],
)
def test_the_life_of_a_certificate(left_days: float, level: str, step: str) -> None:
    status = IdentityStatus(uri="spiffe://f/device/pi", not_after_s=NOW_S + left_days * DAY_S)
    (finding,) = identity_findings(status, "pi", NOW_S)
    assert finding.level == level
    assert step in finding.next_step


def test_a_clock_before_the_trust_list_prevents_measuring() -> None:
    (finding,) = identity_findings(IdentityStatus(clock_trusted=False), "pi", NOW_S)
    assert finding.level == "error"
    assert identity_findings(IdentityStatus(), "pi", NOW_S) == []


def test_an_older_agent_and_a_jetson_without_its_gpu_are_told() -> None:
    assert version_findings(FACTS, "pi", by_ssh=True) == []
    (older,) = version_findings(replace(FACTS, agent_version="0.0.9"), "pi", by_ssh=True)
    assert older.next_step == "edgeloop device upgrade pi"
    (cpu_only,) = accelerator_findings(FACTS)
    assert cpu_only.what.startswith("CPU only")
    with_gpu = RuntimeFacts(name="onnxruntime", version="1", providers=("CUDAExecutionProvider",))
    assert accelerator_findings(replace(FACTS, runtimes=(with_gpu,))) == []
    assert (
        accelerator_findings(replace(FACTS, hardware=replace(FACTS.hardware, model="Raspberry Pi 5"))) == []
    )


def test_a_service_of_the_system_that_holds_runs_too_little_is_told_of_its_unit() -> None:
    added = DeviceSpec(
        name="pi", transport="ssh", address="pi@raspberrypi.local", options=(("service", "system"),)
    )
    weak = Isolation(tier="seccomp", reason="Landlock: Operation not supported")
    (finding,) = isolation_findings(weak, added)
    assert finding.what == (
        "its last run was held in the isolation seccomp alone: Landlock: Operation not supported"
    )
    assert finding.next_step == ("edgeloop device add pi@raspberrypi.local --name pi --isolation systemd")
    for enough in ("unprivileged", "bubblewrap", "systemd", "simulated"):
        assert isolation_findings(Isolation(tier=enough), added) == []
    assert isolation_findings(None, added) == []
    assert isolation_findings(weak, replace(added, options=(("service", "user"),))) == []
