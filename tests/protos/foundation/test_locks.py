"""Locks that another process sees, and that go with the process that held them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from edgeloop_foundation.locks import is_locked, try_lock

HOLDS = """
import sys
from edgeloop_foundation.locks import try_lock
with open(sys.argv[1], "a") as file:
    print(try_lock(file.fileno()), flush=True)
    sys.stdin.read()
"""


def test_a_killed_process_lets_go_of_its_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not is_locked(path)
    command = [sys.executable, "-c", HOLDS, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        assert is_locked(path)
        with path.open("a") as file:
            assert not try_lock(file.fileno())
        holder.kill()
    assert not is_locked(path)
    with path.open("a") as file:
        assert try_lock(file.fileno())
        assert is_locked(path)
