"""The daemon stays small: what it never needs is never imported."""

from __future__ import annotations

import subprocess
import sys

HEAVY = {"numpy", "onnxruntime", "onnx", "cryptography", "sqlite3", "ssl", "multiprocessing", "email"}

PROGRAM = """
import sys
from edgeloop_agent.memory import leave_out_ssl
leave_out_ssl()
import edgeloop_agent.__main__, edgeloop_agent.daemon, edgeloop_agent.server, edgeloop_agent.board
import edgeloop_agent.execute, edgeloop_agent.execution, edgeloop_agent.inventory
print(",".join(sorted(name for name, module in sys.modules.items() if module is not None)))
"""


def test_the_daemon_imports_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    modules = {name.partition(".")[0] for name in done.stdout.strip().split(",")}
    assert modules & HEAVY == set()
    assert "edgeloop" not in modules
    assert {"grpc", "edgeloop_agent"} <= modules


RUNNER = "import sys, edgeloop_agent.runner.worker; print(','.join(sys.modules))"


def test_a_runner_imports_neither_the_wire_nor_a_runtime_before_it_is_asked() -> None:
    """It starts once per round and trial, so that every import counts."""
    done = subprocess.run([sys.executable, "-c", RUNNER], capture_output=True, text=True, check=True)
    names = set(done.stdout.strip().split(","))
    modules = {name.partition(".")[0] for name in names}
    assert modules & {"google", "grpc", "numpy", "onnxruntime", "mlperf_loadgen", "asyncio"} == set()
    assert names & {"email", "zipfile", "statistics", "importlib.metadata"} == set()
    assert (
        names & {f"edgeloop_protocol.types.{name}" for name in ("run", "conditions", "measurement")} == set()
    )
