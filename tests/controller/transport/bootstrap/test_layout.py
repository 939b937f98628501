"""Where the agent goes and its unit, from facts alone."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from edgeloop.transport.bootstrap.board_facts import parse_probe
from edgeloop.transport.bootstrap.layout import Keeper, choose_layout, system_unit, user_unit

PROBES = Path(__file__).parents[3] / "fixtures" / "probes"


def probed(name: str, **changes: str) -> str:
    lines = (PROBES / f"{name}.txt").read_text().splitlines()
    return "\n".join(
        f"{line.partition('=')[0]}={changes.get(line.partition('=')[0], line.partition('=')[2])}"
        for line in lines
    )


@pytest.mark.parametrize(
    ("name", "changes", "sudo_allowed", "keeper", "sudo"),
    [
        ("raspberry_pi_os_bookworm", {}, True, Keeper.SYSTEM, True),
        ("raspberry_pi_os_bookworm", {}, False, Keeper.USER, False),
        ("raspberry_pi_os_bookworm", {"uid": "0", "user": "root"}, True, Keeper.SYSTEM, False),
        ("jetson_orin_jetpack_6", {}, True, Keeper.USER, False),
        ("jetson_orin_jetpack_6", {"systemd_user": "no"}, True, Keeper.BACKGROUND, False),
        ("container_debian_root", {}, True, Keeper.BACKGROUND, False),
    ],
)
def test_who_keeps_it(
    name: str, changes: dict[str, str], sudo_allowed: bool, keeper: Keeper, sudo: bool
) -> None:
    layout = choose_layout(parse_probe(probed(name, **changes)), sudo_allowed=sudo_allowed)
    assert (layout.keeper, layout.sudo) == (keeper, sudo)
    assert layout.root.startswith("/opt" if keeper is Keeper.SYSTEM else layout.home)
    assert layout.incoming.startswith(layout.home), "files arrive as the user, whatever comes after"


def test_the_systems_unit_is_hardened_and_watched() -> None:
    layout = choose_layout(parse_probe(probed("raspberry_pi_os_bookworm")))
    unit = system_unit(layout, "pi", "600M").splitlines()
    for line in ("Type=notify", "WatchdogSec=30", "User=pi", "NoNewPrivileges=yes", "ProtectSystem=strict",
                 "CapabilityBoundingSet=", "MemoryMax=600M", "WantedBy=multi-user.target"):  # fmt: skip
        assert line in unit
    assert "MemoryMax" not in system_unit(layout, "pi"), "a limit is a wish that has to be declared"
    other = user_unit(
        choose_layout(parse_probe(probed("raspberry_pi_os_bookworm")), sudo_allowed=False), "pi"
    )
    assert "User=" not in other
    assert "WantedBy=default.target" in other


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_knows_every_word(tmp_path: Path) -> None:
    layout = choose_layout(parse_probe(probed("raspberry_pi_os_bookworm")))
    path = tmp_path / "edgeloop-agent.service"
    path.write_text(
        system_unit(layout, "pi", "600M").replace(
            f"{layout.root}/agent/current/bin/edgeloop-agent", "/bin/true"
        )
    )
    said = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True).stderr
    assert "Unknown" not in said
    assert "Failed to parse" not in said
