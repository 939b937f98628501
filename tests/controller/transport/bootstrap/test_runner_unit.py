"""The units of the tier "systemd": what they hold, that systemd knows every word, and the steps that bring them."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from edgeloop.transport.bootstrap import steps
from edgeloop.transport.bootstrap.board_facts import parse_probe
from edgeloop.transport.bootstrap.layout import Keeper, Layout, choose_layout, system_unit
from edgeloop.transport.bootstrap.runner_unit import SOCKET_PATH, service_unit, socket_unit
from edgeloop_agent.runner_unit import SOCKET

from tests.controller.transport.bootstrap.test_layout import probed


@pytest.fixture
def layout() -> Layout:
    return choose_layout(parse_probe(probed("raspberry_pi_os_bookworm")))


def values(unit: str, key: str) -> list[str]:
    return [line.partition("=")[2] for line in unit.splitlines() if line.partition("=")[0] == key]


def test_agent_and_controller_name_one_socket() -> None:
    assert str(SOCKET) == SOCKET_PATH


def test_the_socket_is_the_agents_alone_and_bounded(layout: Layout) -> None:
    unit = socket_unit(layout)
    for key, value in {
        "ListenStream": SOCKET_PATH, "Accept": "yes", "SocketUser": "pi", "SocketMode": "0600", "MaxConnections": "16",
    }.items():  # fmt: skip
        assert values(unit, key) == [value]


def test_the_service_runs_the_keeper_alone_and_holds_it(layout: Layout) -> None:
    unit = service_unit(layout)
    assert values(unit, "ExecStart") == [
        "/opt/edgeloop/agent/current/bin/python -I -m edgeloop_agent.runner.keeper"
    ]
    for key in (
        "DynamicUser", "NoNewPrivileges", "ProtectHome", "PrivateTmp", "PrivateNetwork", "PrivateUsers", "PrivateIPC",
        "ProtectKernelTunables", "ProtectKernelModules", "ProtectKernelLogs", "ProtectControlGroups", "ProtectClock",
        "ProtectHostname", "RestrictNamespaces", "RestrictSUIDSGID", "RestrictRealtime", "LockPersonality", "RemoveIPC",
    ):  # fmt: skip
        assert values(unit, key) == ["yes"], key
    assert values(unit, "CapabilityBoundingSet") == [""]
    assert values(unit, "ProtectProc") == ["invisible"]
    assert values(unit, "ProcSubset") == [], "runtimes read /proc/cpuinfo and /proc/meminfo"
    assert values(unit, "KillMode") == ["control-group"]
    assert int(values(unit, "OOMScoreAdjust")[0]) > 0
    assert values(unit, "LimitCORE") == ["0"]


def test_of_the_agents_directory_it_sees_artifacts_alone_and_of_the_systems_no_accounts(
    layout: Layout,
) -> None:
    shown = [
        path.lstrip("-")
        for line in values(service_unit(layout), "BindReadOnlyPaths")
        for path in line.split()
    ]
    assert values(service_unit(layout), "TemporaryFileSystem")[0] == "/:ro"
    assert [path for path in shown if path.startswith("/var")] == [
        "/var/lib/edgeloop/work",
        "/var/lib/edgeloop/deployments",
    ]
    assert not {"/", "/etc", "/home", "/root", "/var", "/etc/passwd"} & set(shown)
    # Devices are there by kind: those of accelerators, and none else.
    assert values(service_unit(layout), "DevicePolicy") == ["closed"]
    assert "char-nvidia* rw" in values(service_unit(layout), "DeviceAllow")


def test_a_limit_of_memory_holds_for_the_runner_too(layout: Layout) -> None:
    assert values(service_unit(layout, "600M"), "MemoryMax") == ["600M"]
    assert values(service_unit(layout), "MemoryMax") == []


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_knows_every_word(layout: Layout, tmp_path: Path) -> None:
    service = service_unit(layout).replace(f"{layout.root}/agent/current/bin/python", "/bin/true")
    (tmp_path / "edgeloop-runner@.service").write_text(service)
    (tmp_path / "edgeloop-runner.socket").write_text(socket_unit(layout))
    argv = ["systemd-analyze", "verify", *map(str, tmp_path.iterdir())]
    said = subprocess.run(argv, capture_output=True, text=True).stderr
    assert "Unknown" not in said
    assert "Failed to parse" not in said


def test_the_agent_is_started_with_the_tier_that_was_asked_for(layout: Layout) -> None:
    (start,) = values(system_unit(layout, "pi", isolation="systemd"), "ExecStart")
    assert start.endswith(" --name pi --isolation systemd")
    assert "--isolation" not in system_unit(layout, "pi")


@pytest.mark.parametrize("isolation", ["systemd", "unprivileged", ""])
def test_only_a_service_of_the_system_has_the_units_and_only_for_this_tier(
    layout: Layout, isolation: str
) -> None:
    for keeper in (Keeper.USER, Keeper.BACKGROUND):
        assert steps.keep_runner_unit(replace(layout, keeper=keeper), isolation) == ()
    plan = steps.keep_runner_unit(layout, isolation)
    assert [b"[Socket]" in step.stdin for step in plan] == (
        [True, False] if isolation == "systemd" else [False]
    )
    for step in (
        *plan,
        *steps.remove(layout),
        steps.start(layout, "pi", isolation),
        steps.declared_isolation(layout),
    ):
        done = subprocess.run(["sh", "-n", "-c", step.command], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert "edgeloop-runner@.service" in steps.remove(layout)[1].command


def test_a_group_that_the_board_has_not_is_left_out(layout: Layout, tmp_path: Path) -> None:
    """Else the unit would not start."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "getent").write_text('#!/bin/sh\n[ "$2" = video ]\n')
    (programs / "getent").chmod(0o755)
    _, service = steps.keep_runner_unit(layout, "systemd")
    command = service.command.replace("/etc/systemd/system", str(tmp_path / "units"))
    environment = {"PATH": f"{programs}:/usr/bin:/bin"}
    subprocess.run(["sh", "-c", command], input=service.stdin, check=True, env=environment)
    written = (tmp_path / "units" / "edgeloop-runner@.service").read_text()
    assert values(written, "SupplementaryGroups") == [" video"]
    assert written.replace("= video\n", "=video render\n").encode() == service.stdin


@pytest.mark.parametrize("keeper", [Keeper.USER, Keeper.BACKGROUND])
@pytest.mark.parametrize("isolation", ["bubblewrap", ""])
def test_the_tier_that_an_agent_was_given_is_found_again(
    layout: Layout, tmp_path: Path, keeper: Keeper, isolation: str
) -> None:
    home = tmp_path / "a user's"
    where = replace(layout, keeper=keeper, home=str(home), root=f"{home}/.local/share/edgeloop", sudo=False)

    def shell(step: steps.Step) -> str:
        done = subprocess.run(["sh", "-c", step.command], input=step.stdin, capture_output=True, check=True)
        return done.stdout.decode().strip()

    assert shell(steps.declared_isolation(where)) == ""
    shell(steps.keep_running(where, "pi", isolation=isolation))
    assert shell(steps.declared_isolation(where)) == isolation
    told = f"--isolation {isolation}" if isolation else "--name pi"
    if keeper is Keeper.BACKGROUND:
        assert told in steps.start(where, "pi", isolation).command
