"""Each tier in a process of its own: what it claims is what is refused to code that tries."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from edgeloop_agent.runner.sandbox.kernel import call
from edgeloop_agent.runner.sandbox.landlock import abi_version
from edgeloop_agent.runner.sandbox.probes import CALLS, FILES
from edgeloop_agent.runner.sandbox.syscalls import this_architecture
from edgeloop_protocol.types.isolation_tier import TIERS

ENTER = """
import json, os, sys
from pathlib import Path
from edgeloop_agent.runner.limits import Limits, enter
from edgeloop_agent.runner.sandbox.enter import Bounds
outside, readable, parent = Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
bounds = Bounds(tier=sys.argv[1], outside=outside, readable=(readable,), parent_pid=parent)
isolation = enter(Limits(parent_pid=parent), bounds)
told = {"tier": isolation.tier, "layers": dict(isolation.layers), "reason": isolation.reason, "tried": {}}
def tried(name, attempt):
    try:
        attempt()
        told["tried"][name] = ""
    except OSError as error:
        told["tried"][name] = type(error).__name__
import socket, subprocess, threading
tried("own file", lambda: Path("mine").write_text("x"))
tried("artifact", lambda: (readable / "model").read_bytes())
tried("artifact changed", lambda: (readable / "model").write_bytes(b""))
tried("secret", lambda: (outside / "secret").read_bytes())
tried("secret renamed", lambda: os.rename(outside / "secret", "taken"))
tried("mode changed", lambda: os.chmod(outside / "secret", 0o666))
tried("program", lambda: subprocess.run(["/bin/true"]))
tried("local socket", lambda: socket.socket(socket.AF_UNIX))
tried("abort of the agent", lambda: os.kill(parent, 0))
thread = threading.Thread(target=lambda: told["tried"].update(thread=""))
thread.start(); thread.join()
print(json.dumps(told))
"""


def landlock_is_there() -> bool:
    architecture = this_architecture()
    try:
        return architecture is not None and abi_version(architecture) > 0
    except OSError:
        return False


def enter(tmp_path: Path, tier: str) -> Any:
    for name in ("scratch", "state/artifact"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "state/secret").write_text("key")
    (tmp_path / "state/artifact/model").write_text("weights")
    argv = [
        sys.executable,
        "-I",
        "-c",
        ENTER,
        tier,
        str(tmp_path / "state"),
        str(tmp_path / "state/artifact"),
    ]
    done = subprocess.run(
        [*argv, str(os.getpid())], cwd=tmp_path / "scratch", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_limits_alone_refuse_nothing_and_say_so(tmp_path: Path) -> None:
    told = enter(tmp_path, "process")
    assert told["tier"] == "process"
    assert not any(told["layers"][name] for name in (*CALLS, *FILES))
    assert told["tried"]["program"] == told["tried"]["secret"] == told["tried"]["local socket"] == ""
    assert "told to use process" in told["reason"]


def test_a_filter_refuses_calls_and_leaves_files(tmp_path: Path) -> None:
    told = enter(tmp_path, "seccomp")
    assert told["tier"] == "seccomp"
    assert all(told["layers"][name] for name in CALLS)
    assert not any(told["layers"][name] for name in FILES)
    refused = {name for name, error in told["tried"].items() if error == "PermissionError"}
    assert refused == {"mode changed", "program", "local socket", "abort of the agent"}


@pytest.mark.skipif(not landlock_is_there(), reason="this kernel has no Landlock")
def test_landlock_refuses_every_file_but_its_own(tmp_path: Path) -> None:
    told = enter(tmp_path, "unprivileged")
    assert told["tier"] == "unprivileged"
    assert all(told["layers"][name] for name in (*CALLS, *FILES, "not_dumpable", "dies_with_parent"))
    assert {name for name, error in told["tried"].items() if not error} == {"own file", "artifact", "thread"}
    assert (tmp_path / "state/secret").read_text() == "key"
    assert sorted(path.name for path in (tmp_path / "state").iterdir()) == ["artifact", "secret"]


def test_a_call_that_the_kernel_refuses_is_an_error() -> None:
    architecture = this_architecture()
    assert architecture is not None
    with pytest.raises(ProcessLookupError):
        call(architecture.numbers["kill"], 2**22 + 1, 0)


def test_tiers_are_those_that_the_wire_names() -> None:
    assert TIERS == ("process", "seccomp", "unprivileged", "bubblewrap", "systemd")


ACCOUNT = """
import sys
from edgeloop_agent.runner.sandbox.probes import probe_account
print(probe_account(int(sys.argv[1])))
"""


@pytest.mark.parametrize("another", [False, True])
def test_another_account_is_one_that_may_not_signal_the_agent(another: bool) -> None:
    if another and os.geteuid() != 0:
        pytest.skip("only root starts a process of another account")
    more: dict[str, Any] = {"user": 65534, "group": 65534} if another else {}
    python = "/usr/bin/python3" if another else sys.executable
    path = [entry for entry in sys.path if (Path(entry) / "edgeloop_agent").is_dir()]
    program = f"import sys; sys.path[:0] = {sys.path if not another else path}\n{ACCOUNT}"
    argv = [python, "-I", "-c", program, str(os.getpid())]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd="/", **more)
    if another and done.returncode:
        pytest.skip(f"that account cannot read the sources: {done.stderr.splitlines()[-1]}")
    # It is in sight all the same: hiding it is what the unit does.
    assert done.stdout == f"{{'own_account': {another}, 'agent_hidden': False}}\n"
