"""Commands of this machine and recorded ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgeloop_agent.sensors import commands
from edgeloop_agent.sensors.base import SensorAbsentError, SensorFailedError, SensorUnsupportedError
from edgeloop_agent.sensors.commands import RecordedCommands, SystemCommands, commands_of


def test_a_program_that_is_there_answers() -> None:
    assert SystemCommands().exists(("echo", "x"))
    assert SystemCommands().run(("echo", "a b")) == "a b\n"


def test_a_program_that_is_not_there_is_absent() -> None:
    assert not SystemCommands().exists(("no-such-program-here", "-q"))
    with pytest.raises(SensorAbsentError, match="no program"):
        SystemCommands().run(("no-such-program-here",))


def test_a_program_that_fails_says_why() -> None:
    with pytest.raises(SensorFailedError, match="exit status 3: no device"):
        SystemCommands().run(("sh", "-c", "echo no device >&2; exit 3"))


def test_a_program_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "_TIMEOUT_S", 0.1)
    with pytest.raises(SensorFailedError, match=r"no answer within 0\.1 s"):
        SystemCommands().run(("sleep", "20"))


def test_what_a_program_prints_is_bounded_and_text() -> None:
    with pytest.raises(SensorUnsupportedError, match="more than"):
        SystemCommands().run(("head", "-c", "100000", "/dev/zero"))
    with pytest.raises(SensorUnsupportedError, match="no text"):
        SystemCommands().run(("printf", r"\377\376"))


def test_below_another_root_nothing_is_started(tmp_path: Path) -> None:
    (tmp_path / "commands").mkdir()
    (tmp_path / "commands/nvpmodel_q").write_text("NV Power Mode: MAXN\n0\n")
    found = commands_of(tmp_path)
    assert isinstance(found, RecordedCommands)
    assert found.run(("nvpmodel", "-q")).startswith("NV Power Mode")
    assert not found.exists(("echo", "x"))
    with pytest.raises(SensorAbsentError):
        found.run(("echo", "x"))
    assert isinstance(commands_of(Path("/")), SystemCommands)
