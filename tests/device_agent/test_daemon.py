"""The daemon as a process: ready, stop, and what wrong use gets."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

AGENT = (sys.executable, "-m", "edgeloop_agent", "serve")


def test_it_says_ready_keeps_others_out_and_stops_when_asked(tmp_path: Path) -> None:
    options = ("--state", str(tmp_path / "s"), "--socket", str(tmp_path / "a.sock"))
    with subprocess.Popen([*AGENT, *options], stdout=subprocess.PIPE, text=True) as agent:
        assert agent.stdout is not None
        try:
            assert agent.stdout.readline() == f"ready unix:{tmp_path / 'a.sock'}\n"
            second = subprocess.run([*AGENT, *options], capture_output=True, text=True)
            assert second.returncode == 1
            assert "another agent runs" in second.stderr
        finally:
            agent.send_signal(signal.SIGTERM)
        assert agent.wait(20) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--listen", "0.0.0.0:0", "--insecure-loopback"), "loopback only"),
        (("--listen", "127.0.0.1:0"), "mutual TLS"),
        (("--listen", "127.0.0.1:\u00b2", "--insecure-loopback"), "HOST:PORT"),
        ((), "--socket PATH or --listen"),
        (("--listen", "127.0.0.1:0", "--insecure-loopback", "--simulate", "toaster"), "toaster"),
    ],
)
def test_wrong_use_is_one_sentence(tmp_path: Path, options: tuple[str, ...], words: str) -> None:
    done = subprocess.run([*AGENT, "--state", str(tmp_path), *options], capture_output=True, text=True)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
