"""What a process has in memory before it does anything."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest

from tests.architecture.rooms import daemon_modules, imports, module_name, sources

HEAVY = ("numpy", "onnxruntime", "onnx", "torch", "cryptography", "sqlite3", "tuf", "zeroconf", "edgeloop")
STACK = ("numpy", "onnx", "onnxruntime", "plotly", "sqlalchemy", "pydantic", "rich", "jinja2", "grpc", "PIL")


def loaded(statement: str, *names: str) -> list[str]:
    """Return which of ``names`` a fresh interpreter has loaded after ``statement``."""
    code = f"{statement}\nimport sys\nprint([n for n in {names!r} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found: list[str] = eval(done.stdout.splitlines()[-1])
    return found


def test_the_probe_can_find_something() -> None:
    assert loaded("import sqlite3", "sqlite3", "numpy") == ["sqlite3"]


def test_the_daemon_loads_nothing_heavy() -> None:
    modules = [m for m in daemon_modules() if not m.endswith("__main__")]
    assert len(modules) > 20
    assert loaded("\n".join(f"import {m}" for m in modules), *HEAVY) == []


def test_the_daemon_never_imports_what_is_heavy_not_even_later() -> None:
    daemon = set(daemon_modules())
    found = {
        f"{module_name(path)} imports {name}"
        for path in sources("edgeloop_agent")
        if module_name(path) in daemon
        for name in imports(path)
        if name.partition(".")[0] in HEAVY
    }
    assert found == set()


def test_the_command_line_starts_without_the_stack() -> None:
    assert loaded("import edgeloop.interfaces.cli.main", *STACK) == []


@pytest.mark.parametrize(
    "module", ["edgeloop.report", "edgeloop.domain.experiment", "edgeloop.interfaces.api"]
)
def test_rooms_that_are_looked_into_first_are_light(module: str) -> None:
    assert loaded(f"import {module}", *STACK) == []


def test_help_is_there_at_once() -> None:
    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-m", "edgeloop", "--help"],
            capture_output=True,
            timeout=60,
            env={**os.environ, "COVERAGE_PROCESS_START": ""},
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode == 0, done.stderr
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    # Processor time, the best of a few: a busy machine is not what is measured here.
    assert min(once() for _ in range(4)) <= 0.3
