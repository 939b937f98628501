"""Steps from facts; their shell text is valid, and the supervisor keeps a program running and ends with it."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from edgeloop.transport.bootstrap import steps
from edgeloop.transport.bootstrap.layout import Keeper, Layout


def layout(home: Path, keeper: Keeper) -> Layout:
    return Layout(
        keeper=keeper,
        root=f"{home}/.local/share/edgeloop",
        state=f"{home}/.local/state/edgeloop",
        socket=f"{home}/.local/share/edgeloop/run/agent.sock",
        incoming=f"{home}/.cache/edgeloop/incoming",
        sudo=False,
        user="pi",
        home=str(home),
    )


def every(where: Layout) -> list[steps.Step]:
    python = "/usr/bin/python3"
    return [
        steps.prepare(where), steps.build(where, python, "d"), steps.switch(where, python, "d"),
        steps.back(where, python), steps.tidy(where, python), steps.keep_running(where, "pi"),
        steps.start(where, "pi"), steps.stop(where), steps.log_tail(where), steps.declared_memory(where),
        *steps.remove(where),
    ]  # fmt: skip


@pytest.mark.parametrize("keeper", Keeper)
@pytest.mark.parametrize("home", ["/home/pi", "/home/a user's"])
def test_every_command_is_valid_shell(keeper: Keeper, home: str) -> None:
    for step in every(layout(Path(home), keeper)):
        done = subprocess.run(["sh", "-n", "-c", step.command], capture_output=True, text=True)
        assert done.returncode == 0, (step.title, done.stderr)
        assert step.title
        assert step.timeout_s > 0


def run(step: steps.Step) -> str:
    done = subprocess.run(["sh", "-c", step.command], input=step.stdin, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def test_writing_the_unit_says_whether_it_changed(tmp_path: Path) -> None:
    where = layout(tmp_path, Keeper.USER)
    assert run(steps.keep_running(where, "pi")) == "changed\n"
    assert run(steps.keep_running(where, "pi")) == ""
    assert run(steps.keep_running(where, "pi", "600M")) == "changed\n"
    units = list((tmp_path / ".config" / "systemd" / "user").iterdir())
    assert [unit.name for unit in units] == ["edgeloop-agent.service"]


@pytest.fixture
def home() -> Iterator[Path]:
    """Return a directory whose name leaves room for a socket below it, which pytest's own does not."""
    with tempfile.TemporaryDirectory(prefix="edgeloop-") as name:
        yield Path(name)


def test_the_supervisor_starts_again_stops_and_leaves_nothing(home: Path) -> None:
    where = layout(home, Keeper.BACKGROUND)
    program = Path(where.root) / "agent" / "current" / "bin" / "edgeloop-agent"
    program.parent.mkdir(parents=True)
    # It counts its starts, shows a socket as the agent does, and ends at once the first time.
    program.write_text(
        f"#!/bin/sh\necho start >> {home}/starts\n"
        f"python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"{where.socket}\")' 2>/dev/null\n"
        f"[ $(wc -l < {home}/starts) -gt 1 ] && exec sleep 60\nexit 1\n"
    )
    program.chmod(0o755)
    run(steps.keep_running(where, "pi"))
    run(steps.start(where, "pi"))
    end = time.monotonic() + 15
    while (home / "starts").read_text().count("start") < 2:
        assert time.monotonic() < end
        time.sleep(0.1)
    pid = int((Path(where.root) / "run" / "supervisor.pid").read_text())
    for step in steps.remove(where):
        run(step)
    assert not Path(f"/proc/{pid}").exists() or "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    end = time.monotonic() + 10
    while subprocess.run(["pgrep", "-f", str(where.root)], capture_output=True).stdout:
        assert time.monotonic() < end
        time.sleep(0.1)
    assert {path.name for path in home.iterdir()} == {"starts"}


@pytest.mark.parametrize(("wish", "found"), [("600M", "600M"), ("", "")])
def test_the_limit_that_a_unit_declares_is_found_again(tmp_path: Path, wish: str, found: str) -> None:
    where = layout(tmp_path / "a user's", Keeper.USER)

    def shell(step: steps.Step) -> str:
        done = subprocess.run(["sh", "-c", step.command], input=step.stdin, capture_output=True, check=True)
        return done.stdout.decode()

    assert shell(steps.declared_memory(where)) == "", "no unit, no limit"
    shell(steps.keep_running(where, "pi", wish))
    assert shell(steps.declared_memory(where)).strip() == found
