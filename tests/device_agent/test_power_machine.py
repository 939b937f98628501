"""The machine of scripts/heavy/power_cuts: one that falls silent loses its power, one that speaks keeps it."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from scripts.heavy.power_disk import Disk
from scripts.heavy.power_machine import Machine

_EMULATOR = """#!{python}
import json, re, socket, sys, time
line = socket.socket(socket.AF_UNIX)
line.connect(re.search(r"socket,id=l,path=(\\S+)", " ".join(sys.argv)).group(1))
for number in range({lines}):
    time.sleep(0.1)
    line.sendall(json.dumps({{"number": number}}).encode() + b"\\n")
    line.recv(99)
time.sleep({then_s})
"""


async def run(directory: Path, silent_s: float) -> tuple[Machine, list[dict[str, Any]], float]:
    heard: list[dict[str, Any]] = []

    async def answer(said: dict[str, Any]) -> dict[str, Any]:
        heard.append(said)
        return {}

    machine, begun = Machine(directory, directory, Disk(bytes(512)), answer), time.monotonic()
    try:
        await machine.start("role.py", directory)
        await machine.ended(silent_s)
    finally:
        await machine.close()
    return machine, heard, time.monotonic() - begun


@pytest.mark.parametrize(("lines", "then_s", "cut"), [(0, 60, True), (3, 60, True), (12, 0, False)])
def test_only_a_machine_that_falls_silent_loses_its_power(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: int, then_s: int, cut: bool
) -> None:
    program = tmp_path / "qemu-system-x86_64"
    program.write_text(_EMULATOR.format(python=sys.executable, lines=lines, then_s=then_s))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    machine, heard, took_s = asyncio.run(run(tmp_path, silent_s=1.0))
    assert len(heard) == lines
    assert ("said nothing" in machine.failure) is cut
    assert took_s < 20
