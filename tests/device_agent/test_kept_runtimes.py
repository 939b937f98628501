"""What the agent keeps of its runtimes: never older than what is installed, and never somebody else's word."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from edgeloop_agent import kept_runtimes
from edgeloop_agent.board import RealBoard
from edgeloop_agent.kept_runtimes import FILE, dependencies, keep_runtimes, read_runtimes
from edgeloop_foundation.ports.fs import OsFileSystem
from edgeloop_foundation.ports.process import ChildProcess, SystemProcesses
from edgeloop_protocol.types.facts import RuntimeFacts

FOUND = (
    RuntimeFacts(name="onnxruntime", version="1.20.0", providers=("CPUExecutionProvider",), max_opset=21),
    RuntimeFacts(name="litert", reason="the package ai-edge-litert is not installed"),
)
SAID = {
    "runtimes": [{"name": "onnxruntime", "version": "1.20.0", "providers": ["CPUExecutionProvider"]}],
    "lasting": True,
}


class Machine:
    """Everything that an answer depends on, below one directory."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "root"
        self.packages = directory / "site-packages"
        self.code = directory / "code"
        self.libraries = directory / "lib"
        self.boot, self.options = "one", ["--isolation", "unprivileged"]
        for path in (self.root / "dev", self.root / "etc", self.libraries):
            path.mkdir(parents=True)
        for name in ("onnxruntime-1.20.0", "numpy-2.0.0"):
            (self.packages / f"{name}.dist-info").mkdir(parents=True)
            (self.packages / f"{name}.dist-info" / "RECORD").write_text("")
        (self.code / "runner").mkdir(parents=True)
        (self.code / "runner" / "worker.py").write_text("pass\n")
        (self.root / "etc/ld.so.cache").write_text("one")
        self.environment = {"PATH": "/bin", "LD_LIBRARY_PATH": str(self.libraries)}

    def digest(self) -> str:
        return dependencies(self.root, self.boot, self.environment, self.options, [str(self.packages)])


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path)
    monkeypatch.setattr(kept_runtimes, "_packages", lambda: (made.code,))
    return made


def installed_again(machine: Machine) -> None:
    """The same version with the times of before, as an installer leaves it that sets them."""
    directory = machine.packages / "onnxruntime-1.20.0.dist-info"
    before = directory.stat()
    (directory / "RECORD").unlink()
    (directory / "RECORD").write_text("")
    os.utime(directory, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES: dict[str, Callable[[Machine], Any]] = {
    "installed": lambda m: (m.packages / "openvino-2025.1.0.dist-info").mkdir(),
    "removed": lambda m: (m.packages / "numpy-2.0.0.dist-info").rename(m.packages / "gone"),
    "another version": lambda m: (m.packages / "numpy-2.0.0.dist-info").rename(
        m.packages / "numpy-2.0.1.dist-info"
    ),
    "installed again": installed_again,
    "link": lambda m: (m.packages / "own.pth").write_text("elsewhere"),
    "system package": lambda m: (m.packages / "tensorrt-10.0.egg-info").write_text(""),
    "boot": lambda m: setattr(m, "boot", "two"),
    "isolation": lambda m: m.options.append("bubblewrap"),
    "variable": lambda m: m.environment.update(LANG="C"),
    "library path": lambda m: (m.libraries / "libcuda.so").write_text(""),
    "system libraries": lambda m: (m.root / "etc/ld.so.cache").write_text("three"),
    "accelerator": lambda m: (m.root / "dev/nvidia0").write_text(""),
    "our code": lambda m: (m.code / "runner/worker.py").write_text("other\n"),
    "our files": lambda m: (m.code / "runner/more.py").write_text(""),
}


@pytest.mark.parametrize("change", CHANGES)
def test_any_change_is_another_dependency(machine: Machine, change: str) -> None:
    before = machine.digest()
    assert machine.digest() == before
    CHANGES[change](machine)
    assert machine.digest() != before


@pytest.mark.parametrize(
    ("what", "name"), [("__version__", "__version__"), ("sys.executable", ""), ("sys.version", "")]
)
def test_another_python_or_agent_is_another_dependency(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, what: str, name: str
) -> None:
    before = machine.digest()
    monkeypatch.setattr(kept_runtimes if name else sys, what.removeprefix("sys."), "another")
    assert machine.digest() != before


def test_what_python_compiles_changes_nothing(machine: Machine) -> None:
    before = machine.digest()
    for directory in (machine.packages, machine.code / "runner"):
        (directory / "__pycache__").mkdir()
        (directory / "__pycache__" / "worker.pyc").write_text("")
    assert machine.digest() == before


@pytest.fixture
def state(tmp_path: Path) -> Path:
    directory = tmp_path / "state"
    directory.mkdir(mode=0o700)
    keep_runtimes(OsFileSystem(), directory, "digest", FOUND)
    return directory


def test_what_was_kept_is_read_for_the_same_dependencies_alone(state: Path) -> None:
    assert read_runtimes(state, "digest") == FOUND
    assert read_runtimes(state, "another") is None
    (state / FILE).unlink()
    assert read_runtimes(state, "digest") is None


def linked(state: Path) -> None:
    (state / FILE).rename(state / "elsewhere")
    (state / FILE).symlink_to(state / "elsewhere")


SPOILED: dict[str, Callable[[Path], Any]] = {
    "changed": lambda state: (state / FILE).write_bytes(
        (state / FILE).read_bytes().replace(b"1.20", b"1.21")
    ),
    "cut": lambda state: (state / FILE).write_bytes((state / FILE).read_bytes()[:40]),
    "empty": lambda state: (state / FILE).write_bytes(b""),
    "the group may write": lambda state: (state / FILE).chmod(0o620),
    "others may write": lambda state: (state / FILE).chmod(0o602),
    "others may write the directory": lambda state: state.chmod(0o777),
    "a link": linked,
}


@pytest.mark.parametrize("how", SPOILED)
def test_what_others_or_the_disk_may_have_changed_is_not_trusted(state: Path, how: str) -> None:
    SPOILED[how](state)
    assert read_runtimes(state, "digest") is None


def test_another_users_file_is_not_trusted(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: own + 1)
    assert read_runtimes(state, "digest") is None


class Asked:
    """Starts a program that says what it was told to, in place of the runner, and counts."""

    def __init__(self, said: object = SAID, status: int = 0) -> None:
        self.said, self.status, self.count = said, status, 0

    async def spawn(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: str | None = None
    ) -> ChildProcess:
        self.count += 1
        program = f"import sys; print({json.dumps(self.said)!r}); sys.exit({self.status})"
        return await SystemProcesses().spawn((sys.executable, "-I", "-S", "-c", program), env, cwd)


async def versions(board: RealBoard) -> list[str]:
    return [runtime.version for runtime in (await board.facts()).runtimes]


async def test_the_runner_is_asked_once_for_every_start_of_the_agent(tmp_path: Path) -> None:
    asked = Asked()
    assert await versions(RealBoard(tmp_path, "b", asked)) == ["1.20.0"]
    again = RealBoard(tmp_path, "b", asked)
    assert await versions(again) == await versions(again) == ["1.20.0"]
    assert asked.count == 1
    (tmp_path / FILE).unlink()
    assert await versions(RealBoard(tmp_path, "b", asked)) == ["1.20.0"]
    assert asked.count == 2


async def test_an_installation_is_seen_by_the_running_agent_and_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    monkeypatch.setattr(sys, "path", [*sys.path, str(packages)])
    asked = Asked()
    board = RealBoard(tmp_path / "state", "b", asked)
    assert await versions(board) == ["1.20.0"]
    (packages / "onnxruntime-1.21.0.dist-info").mkdir()
    asked.said = {"runtimes": [{"name": "onnxruntime", "version": "1.21.0"}], "lasting": True}
    assert await versions(board) == ["1.21.0"]
    assert await versions(RealBoard(tmp_path / "state", "b", asked)) == ["1.21.0"]
    assert asked.count == 2


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"runtimes": [{"name": "onnxruntime", "reason": "a library is missing"}], "lasting": False}, 0),
        ({**SAID, "lasting": "yes"}, 0),
        (SAID, 1),
        (SAID["runtimes"], 0),
        ("nothing", 0),
    ],
    ids=["failed", "no word", "died", "another form", "nonsense"],
)
async def test_what_failed_is_asked_again_at_the_next_start(
    tmp_path: Path, said: object, status: int
) -> None:
    asked = Asked(said, status)
    await RealBoard(tmp_path, "b", asked).facts()
    assert not (tmp_path / FILE).exists()
    asked.said, asked.status = SAID, 0
    assert await versions(RealBoard(tmp_path, "b", asked)) == ["1.20.0"]


async def test_nothing_is_kept_where_a_boot_cannot_be_told(tmp_path: Path) -> None:
    asked, root = Asked(), tmp_path / "root"
    root.mkdir()
    for _ in range(2):
        assert await versions(RealBoard(tmp_path / "state", "b", asked, root)) == ["1.20.0"]
    assert asked.count == 2
