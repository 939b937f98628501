"""The files of a simulated board's operating system, in a directory of its own, for the agent's own drivers to read."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from edgeloop_profiles.profile import Profile

from edgeloop_agent.simulate.files import Files, machine, render
from edgeloop_agent.simulate.state import BoardState

__all__ = ["PLUG", "RenderedSystem"]

PLUG = "shelly"
"""Sensor in a profile that no file tells of: a wall plug, which is asked over HTTP."""

_MACHINE = ""


class RenderedSystem:
    """Writes what stands in each file at this moment, just before somebody reads it; what did not change is left.

    Nothing is written before the first reading, and only files that a driver reads: some twenty of a board.

    Args:
        root: directory that stands for "/"; what is there from an earlier run is removed.
        profile: what the board is.
        state: what the files tell of.
    """

    def __init__(self, root: Path, profile: Profile, state: BoardState) -> None:
        """Prepare.

        Raises:
            InvalidInputError: the profile declares a sensor that no driver reads, or not all that it needs.
        """
        self.root = root
        self._stress = state.stress
        self._files: dict[str, Files] = {_MACHINE: machine(profile)}
        for sensor in profile.sensors:
            if sensor.channels and sensor.name != PLUG:
                self._files.setdefault(sensor.name, {}).update(render(profile, sensor, state))
        self._forced: dict[str, str | None] = {}
        self._written: dict[str, str | None] = {}
        self._started = False

    def force(self, path: str, text: str | None) -> None:
        """Let this stand in a file from now on, whatever the model says, as a script of faults may want it.

        Args:
            path: below the root.
            text: what the file holds; None takes it away.
        """
        self._forced[path] = text

    def release(self, path: str) -> None:
        """Let the model decide again what a file holds."""
        self._forced.pop(path, None)
        self._written.pop(path, None)

    def refresh(self, sensor: str | None = None) -> None:
        """Bring the files of one sensor, or all of them, up to this moment."""
        if not self._started:
            shutil.rmtree(self.root, ignore_errors=True)
            self._started, sensor = True, None
        for name in self._files if sensor is None else (sensor,):
            gone = name in self._stress.gone_sensors
            for path, text in self._files.get(name, {}).items():
                if path not in self._forced:
                    self._write(path, None if gone else text())
        for path, forced in self._forced.items():
            self._write(path, forced)

    def _write(self, path: str, text: str | None) -> None:
        if path in self._written and self._written[path] == text:
            return
        file = self.root / path
        if text is None:
            with contextlib.suppress(FileNotFoundError):
                file.unlink()
        else:
            _put(file, text.encode())
        self._written[path] = text


def _put(file: Path, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    try:
        descriptor = os.open(file, flags, 0o600)
    except FileNotFoundError:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, flags, 0o600)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)
