"""An enrolled agent in a network namespace of its own, behind a bad link and under strace."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from edgeloop.domain.device import DeviceSpec
from edgeloop.orchestrate.enrol import enrol_here
from edgeloop.orchestrate.identity import found_fleet

OPENED = re.compile(r'openat\([^"]*"[^"]*/([0-9a-f-]{36})/([0-9a-f]{64})/model\.onnx"')


class Board:
    """An enrolled agent behind a link of its own, watched by strace."""

    def __init__(self, home: Path, place: int) -> None:
        self.home, self._place = home, place
        self._processes: list[subprocess.Popen[str]] = []
        self.device = DeviceSpec(
            name="bench", transport="grpc", address=f"10.77.{place}.2:7443",
            options=(("identity", str(home / "identity")),),
        )  # fmt: skip

    def _start(self, *command: str, wait: str = "") -> subprocess.Popen[str]:
        with (self.home / "log").open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self._processes.append(process)
        if wait and not (process.stdout and process.stdout.readline().startswith(wait)):
            raise SystemExit(f"{command[0]} did not start:\n{(self.home / 'log').read_text()[-2000:]}")
        return process

    def start(self) -> None:
        self.home.mkdir(parents=True)
        (self.home / "trace").mkdir()
        found_fleet(self.home, "bench", "controller")
        enrol_here(self.home, "bench", self.home / "state")
        inside = self._start("unshare", "--net", "sh", "-c", "echo ready; exec cat", wait="ready")
        ends = (f"10.77.{self._place}.1/24", f"10.77.{self._place}.2/24")
        link = str(Path(__file__).with_name("bad_link.py"))
        self._link = self._start(
            sys.executable, link, str(inside.pid), f"bad{self._place}", *ends, wait="ready"
        )
        inside_it = ("nsenter", f"--net=/proc/{inside.pid}/ns/net")
        watched = ("strace", "-ff", "-qq", "--seccomp-bpf", "-s", "400", "-e", "signal=none")
        watched += ("-e", "trace=execve,openat", "-o", str(self.home / "trace" / "t"))
        agent = (sys.executable, "-m", "edgeloop_agent", "serve", "--name", "bench")
        agent += ("--state", str(self.home / "state"), "--listen", self.device.address)
        self._start(*inside_it, *watched, *agent, wait="ready")

    def tell(self, order: str) -> str:
        """Change the link and return its answer."""
        if self._link.stdin is None or self._link.stdout is None:
            raise RuntimeError("the link has no standard input")
        self._link.stdin.write(order + "\n")
        self._link.stdin.flush()
        return self._link.stdout.readline().strip()

    def ran(self, digest: str) -> tuple[int, int]:
        """Return how many jobs and how many runner processes opened the model of an artifact."""
        jobs, runners = set(), 0
        for path in (self.home / "trace").iterdir():
            text = path.read_text(errors="replace")
            if '"edgeloop_agent.runner"' not in text:
                continue
            found = {job for job, opened in OPENED.findall(text) if opened == digest}
            jobs |= found
            runners += bool(found)
        return len(jobs), runners

    def end(self) -> None:
        for process in reversed(self._processes):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
