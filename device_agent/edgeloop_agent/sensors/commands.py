"""Commands that sensors are read with: run on a device, looked up below a recorded tree."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from edgeloop_agent.sensors.base import (
    SensorAbsentError,
    SensorFailedError,
    SensorUnsupportedError,
    read_head,
)

__all__ = ["CommandRunner", "RecordedCommands", "SystemCommands", "commands_of"]

_TIMEOUT_S = 2.0
_OUTPUT_BYTES_MAX = 1 << 16
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9]+")


class CommandRunner(Protocol):
    """Runs a command and returns what it printed."""

    def exists(self, arguments: Sequence[str]) -> bool:
        """Return whether there is a program for this command."""
        ...

    def run(self, arguments: Sequence[str]) -> str:
        """Run a command to its end.

        Raises:
            SensorAbsentError: there is no such program.
            SensorFailedError: it failed, or did not end in time.
            SensorUnsupportedError: what it printed is no text, or too much of it.
        """
        ...


class SystemCommands:
    """Runs programs of this machine, without a shell and for at most two seconds."""

    def exists(self, arguments: Sequence[str]) -> bool:
        """Return whether the program is on the path."""
        return shutil.which(arguments[0]) is not None

    def run(self, arguments: Sequence[str]) -> str:
        """Run a command; what it prints on its error output is left out of readings and shown with a failure."""
        command = " ".join(arguments)
        try:
            done = subprocess.run(
                list(arguments),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_TIMEOUT_S,
                check=False,
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            )
        except FileNotFoundError as error:
            raise SensorAbsentError(f"no program {arguments[0]!r}") from error
        except subprocess.TimeoutExpired as error:
            raise SensorFailedError(f"{command}: no answer within {_TIMEOUT_S:g} s") from error
        except OSError as error:
            raise SensorFailedError(f"{command}: {error.strerror}") from error
        if done.returncode:
            said = (done.stderr or done.stdout)[:200].decode(errors="replace").strip()
            raise SensorFailedError(f"{command}: exit status {done.returncode}: {said}")
        return _decoded(command, done.stdout)


class RecordedCommands:
    """Answers from files ``commands/<words of the command joined by _>`` below a root."""

    def __init__(self, root: Path) -> None:
        self._directory = root / "commands"

    def exists(self, arguments: Sequence[str]) -> bool:
        """Return whether this command was recorded."""
        return self._path(arguments).exists()

    def run(self, arguments: Sequence[str]) -> str:
        """Return the recorded output."""
        command = " ".join(arguments)
        try:
            return _decoded(command, read_head(self._path(arguments), _OUTPUT_BYTES_MAX + 1))
        except FileNotFoundError as error:
            raise SensorAbsentError(f"no program {arguments[0]!r}") from error
        except OSError as error:
            raise SensorFailedError(f"{command}: {error.strerror}") from error

    def _path(self, arguments: Sequence[str]) -> Path:
        return self._directory / _NOT_IN_A_NAME.sub("_", " ".join(arguments))


def commands_of(root: Path) -> CommandRunner:
    """Return how commands are run for this root: only below "/" are programs started."""
    return SystemCommands() if root == Path("/") else RecordedCommands(root)


def _decoded(command: str, output: bytes) -> str:
    if len(output) > _OUTPUT_BYTES_MAX:
        raise SensorUnsupportedError(f"{command} printed more than {_OUTPUT_BYTES_MAX} bytes")
    try:
        return output.decode()
    except UnicodeDecodeError as error:
        raise SensorUnsupportedError(f"{command} printed no text") from error
