"""An agent of its own for a measurement: enrolled in a fleet of its own, started, ended."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeloop.domain.device import DeviceSpec
from edgeloop.orchestrate.enrol import enrol_here
from edgeloop.orchestrate.identity import found_fleet


@dataclass(frozen=True, kw_only=True)
class RunningAgent:
    """A started agent."""

    pid: int
    device: DeviceSpec


@contextlib.contextmanager
def agent(home: Path, *, tls: bool, socket: Path | None = None) -> Iterator[RunningAgent]:
    """Run an agent on a free loopback port, or on a Unix socket, for the length of a block."""
    home.mkdir(parents=True)
    command = [sys.executable, "-m", "edgeloop_agent", "serve", "--name", "bench"]
    command += ["--state", str(home / "state")]
    command += ["--socket", str(socket)] if socket is not None else ["--listen", "127.0.0.1:0"]
    options = {} if socket is not None else {"identity": "none"}
    if tls:
        found_fleet(home, "bench", "controller")
        enrol_here(home, "bench", home / "state")
        options = {"identity": str(home / "identity")}
    elif socket is None:
        command.append("--insecure-loopback")
    log = home / "agent.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, env=os.environ
        )
    try:
        line = process.stdout.readline().decode() if process.stdout is not None else ""
        if not line.startswith("ready "):
            sys.exit(f"the agent did not start:\n{log.read_text(errors='replace')[-2000:]}")
        address = line.split()[1]
        device = DeviceSpec(
            name="bench", transport="grpc", address=address, options=tuple(sorted(options.items()))
        )
        yield RunningAgent(pid=process.pid, device=device)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
