"""Runs the blocks of one page, in order, in a directory of their own.

The directory holds a copy of ``examples/`` and nothing else; HOME is inside it, so that nothing of the user is read or
changed. What a command exports and where it went with ``cd`` holds for the commands after it. For each board that a
page names under ``boards:`` at its top an agent runs that stands on a simulated board, named so in the inventory.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scripts.docs_site.blocks import DOCS, ROOT, Block, Command, blocks, commands, page_meta

__all__ = ["Failure", "Outcome", "World", "run_page"]

COMMAND_S = 600.0
BACKGROUND_S = 180.0
END_S = 60.0


class Failure(Exception):
    """A command did something else than its page says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was done with a page."""

    ran: int
    #: Where and why blocks were not run.
    not_run: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class World:
    """A directory, the environment that its commands leave to each other, and what runs in the background."""

    directory: Path
    boards: Mapping[str, str] = field(default_factory=dict)
    _background: list[subprocess.Popen[bytes]] = field(default_factory=list)
    #: Not below the directory: the path of a socket is short.
    _sockets: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="edgeloop-docs-")))

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        shutil.copytree(
            ROOT / "examples",
            self.directory / "examples",
            ignore=shutil.ignore_patterns("__pycache__", "*.onnx", "*.npz"),
        )
        (self.directory / ".shell").mkdir()
        (self.directory / ".shell" / "cwd").write_text(str(self.directory))

    def start(self) -> None:
        """Start the agents of the page's boards and name them in the inventory."""
        entries = []
        for name, profile in self.boards.items():
            socket = self._sockets / f"{name}.sock"
            state = self.directory / ".shell" / "boards" / name
            words = f"serve --name {name} --simulate {profile} --state {state} --socket {socket} --telemetry-period 1"
            self._launch(f"{sys.executable} -m edgeloop_agent {words}", "ready ", f"the agent of {name}")
            entries.append(f'[devices.{name}]\naddress = "unix:{socket}"\n')
        if entries:
            home = self.directory / ".edgeloop"
            home.mkdir()
            (home / "devices.toml").write_text("\n".join(entries))

    def run(self, block: Block) -> None:
        """Do what a block says.

        Raises:
            Failure: with what the command wrote.
        """
        if "file" in block.marks:
            path = Path((self.directory / ".shell" / "cwd").read_text().strip(), block.marks["file"])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
        elif block.language == "python":
            self._python(block)
        elif "background" in block.marks:
            (command,) = commands(block)
            self._launch(command.text, block.marks["background"], block.where)
        else:
            self._console(block, commands(block))

    def _python(self, block: Block) -> None:
        script = self.directory / ".shell" / "block.py"
        script.write_text(block.text)
        self._command(block, Command(text=f"python {script}", output=()), 0)

    def _console(self, block: Block, listed: Sequence[Command]) -> None:
        for number, command in enumerate(listed):
            last = number == len(listed) - 1
            self._command(block, command, int(block.marks.get("exit", 0)) if last else 0)

    def _command(self, block: Block, command: Command, status: int) -> None:
        shell = self.directory / ".shell"
        script = (
            f'[ ! -f {shell}/env ] || . {shell}/env; cd "$(cat {shell}/cwd)"; set -a\n{command.text}\nstatus=$?\n'
            f"{{ export -p; export -pf; }} > {shell}/env; pwd > {shell}/cwd; exit $status"
        )
        try:
            done = subprocess.run(
                ["bash", "-o", "pipefail", "-c", script], cwd=self.directory, env=self._environment(),
                timeout=COMMAND_S, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
        except subprocess.TimeoutExpired as late:
            said = (late.stdout or b"").decode(errors="replace")
            raise Failure(f"{block.where}: {command.text}\nnot done after {COMMAND_S:g} s\n{said}") from late
        said = done.stdout.decode(errors="replace")
        if done.returncode != status:
            raise Failure(
                f"{block.where}: {command.text}\nexit status {done.returncode}, the page says {status}\n{said}"
            )
        if not shows(command.output, said):
            wanted = "\n".join(command.output)
            raise Failure(f"{block.where}: {command.text}\nthe page shows\n{wanted}\nit wrote\n{said}")

    def _launch(self, command: str, said: str, what: str) -> None:
        """Start a command and wait until it has said something."""
        log = self.directory / ".shell" / f"background{len(self._background)}"
        with log.open("wb") as output:
            cwd = (self.directory / ".shell" / "cwd").read_text().strip()
            process = subprocess.Popen(
                ["bash", "-c", f"exec {command}"], cwd=cwd, env=self._environment(), stdin=subprocess.DEVNULL,
                stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        self._background.append(process)
        end = time.monotonic() + BACKGROUND_S
        while said not in log.read_text(errors="replace"):
            if process.poll() is not None or time.monotonic() > end:
                raise Failure(f"{what}: {command}\ndid not say {said!r}\n{log.read_text(errors='replace')}")
            time.sleep(0.05)

    def _environment(self) -> dict[str, str]:
        kept = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("EDGELOOP_", "PYTEST_", "COV_"))
        }
        return {
            **kept,
            "HOME": str(self.directory),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "COLUMNS": "160",
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "PYTHONWARNINGS": "ignore",
            "ORT_DISABLE_TELEMETRY": "1",
        }

    def close(self) -> None:
        """End what runs in the background."""
        for process in self._background:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
        for process in self._background:
            _wait(process)
        shutil.rmtree(self._sockets, ignore_errors=True)


def _wait(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def shows(wanted: Sequence[str], said: str) -> bool:
    """Return whether lines appear in what was written, in order; "..." stands for anything, spaces count as one."""
    if not wanted:
        return True
    parts = [re.escape(" ".join(line.split())).replace(re.escape("..."), ".*") for line in wanted]
    text = "\n".join(" ".join(line.split()) for line in said.splitlines())
    return re.search(r"\n(?:.*\n)*?".join(parts), text) is not None


def run_page(path: Path, directory: Path) -> Outcome:
    """Run every block of a page that is marked to be run, in a new world.

    Raises:
        Failure: something did not do what the page says.
    """
    text, page = path.read_text(encoding="utf-8"), str(path.relative_to(DOCS))
    boards = page_meta(text)[0].get("boards") or {}
    assert isinstance(boards, dict)
    world, ran, not_run = World(directory, boards), 0, []
    try:
        world.start()
        for block in blocks(page, text):
            if "not-run" in block.marks:
                not_run.append((block.where, block.marks["not-run"]))
            elif block.runs:
                world.run(block)
                ran += 1
    finally:
        world.close()
    return Outcome(ran=ran, not_run=tuple(not_run))
