"""The runner's parts in this process: node times, the timed loop, memory, the ONNX Runtime driver."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.frames import encode_frame
from edgeloop_agent.runner import runtimes, worker
from edgeloop_agent.runner.loop import FeedCycle, time_inferences
from edgeloop_agent.runner.memory import ProcessMemory
from edgeloop_agent.runner.nodes import placement_from_events
from edgeloop_agent.runner.runtimes import BUILTIN, RUNTIMES
from edgeloop_agent.runner.runtimes.base import Runtime
from edgeloop_agent.runner.runtimes.onnxruntime import identity_model
from edgeloop_agent.runner.worker import Worker
from edgeloop_foundation.errors import MissingDependencyError
from edgeloop_protocol.types.facts import RuntimeFacts
from edgeloop_protocol.types.run import FailureKind, Isolation, NodeTime, Outcome, Placement
from edgeloop_protocol.types.trial import RuntimeSettings


def kernel(name: str, ts: int, duration: int, provider: str = "CPU") -> dict[str, Any]:
    args = {"op_name": name.title(), "provider": provider}
    return {"cat": "Node", "name": f"{name}_kernel_time", "ts": ts, "dur": duration, "args": args}


def test_node_times_are_means_over_the_runs_that_count() -> None:
    events = []
    for run, scale in enumerate((100, 1, 3)):
        start = run * 1000
        events += [kernel("gemm", start + 2, 10 * scale), kernel("relu", start + 1, scale, "NPU")]
        events.append({"cat": "Session", "name": "model_run", "ts": start, "dur": 20})
    placement = placement_from_events(events, first_run=1)
    assert [(n.name, n.op_type, n.provider) for n in placement.nodes] == [
        ("relu", "Relu", "NPU"),
        ("gemm", "Gemm", "CPU"),
    ]
    assert [n.mean_s for n in placement.nodes] == pytest.approx([2e-6, 20e-6])
    assert placement.nodes_per_provider == (("CPU", 1), ("NPU", 1))


def test_a_profile_without_nodes_has_a_reason() -> None:
    assert placement_from_events([], 0).reason
    assert placement_from_events([kernel("gemm", 1, 1)], 0).reason


def test_nodes_that_no_frame_holds_leave_their_count_and_the_reason() -> None:
    class Driver:
        def __init__(self, count: int) -> None:
            self.model = self
            self._count = count

        def infer(self, count: int) -> None: ...

        def placement(self, first_run: int) -> Placement:
            node = NodeTime(name="a" * 90, op_type="Relu", provider="CPU", mean_s=1e-6)
            return Placement(nodes=(node,) * self._count, nodes_per_provider=(("CPU", self._count),))

    def nodes_of(count: int) -> Any:
        worker: Any = Worker(Isolation(tier="process"), ProcessMemory())
        worker._opened = Driver(count)
        reply, payload = worker.answer({"command": "nodes", "count": 5})
        encode_frame({"ok": True, **reply}, payload)
        return reply

    assert len(nodes_of(5000)["nodes"]) == 5000
    many = nodes_of(20_000)
    assert (many["nodes"], many["nodes_per_provider"]) == ([], {"CPU": 20_000})
    assert "20000 nodes" in many["reason"]


def test_the_loop_times_each_inference_and_cycles_the_feeds() -> None:
    seen: list[int] = []

    def execute(feed: Any) -> list[int]:
        seen.append(feed["x"])
        return []

    cycle = FeedCycle(feeds=[{"x": 0}, {"x": 1}, {"x": 2}], starts=[True] * 3)
    for count in (4, 3):
        timed = time_inferences(execute, cycle, count)
        assert len(timed.samples_ns) == count
        assert 0 < sum(timed.samples_ns) <= timed.end_ns - timed.start_ns
    assert seen == [0, 1, 2, 0, 1, 2, 0]


def test_the_loop_hands_state_on_within_an_item_only() -> None:
    seen: list[int] = []

    def execute(feed: Any) -> list[Any]:
        seen.append(feed["s"])
        return ["y", feed["s"] + 1]

    feeds = [{"s": 0} for _ in range(4)]
    cycle = FeedCycle(feeds=feeds, starts=[True, False, True, False], bindings=[("s", 1)])
    time_inferences(execute, cycle, 6)
    assert seen == [0, 1, 0, 1, 0, 1]


def test_a_reset_peak_forgets_what_was_freed() -> None:
    memory: Any = ProcessMemory()
    block = np.ones(8 << 20)
    high = memory.read().peak_rss_bytes
    assert high >= 64 << 20
    del block
    assert memory.reset_peak()
    after: Any = memory.read()
    assert after.peak_rss_bytes < high - (32 << 20)
    assert (after.reason, after.rss_bytes) == ("", pytest.approx(after.anonymous_bytes + after.file_bytes))


def test_a_peak_that_cannot_be_reset_is_absent_afterwards(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("VmHWM:\t  900 kB\nVmRSS:\t  500 kB\nRssAnon:\t  100 kB\n")
    memory = ProcessMemory(tmp_path)
    assert memory.read().peak_rss_bytes == 900 * 1024
    assert not memory.reset_peak()
    reading = memory.read()
    assert (reading.peak_rss_bytes, reading.pss_bytes) == (None, None)
    assert (reading.anonymous_bytes, reading.file_bytes) == (100 * 1024, 400 * 1024)
    assert "clear_refs" in reading.reason
    assert "smaps_rollup" in reading.reason


def test_files_table_and_names_are_the_same() -> None:
    files = {path.stem for path in Path(runtimes.__file__).parent.glob("*.py")} - {"__init__", "base"}
    assert files == set(BUILTIN) == {RUNTIMES.load(name).name for name in BUILTIN}


def test_describe_prints_what_this_runtime_really_loads(tmp_path: Path) -> None:
    argv = [sys.executable, "-I", "-m", "edgeloop_agent.runner", "--describe"]
    # As the agent does: a runtime may keep files in its home, which the runner could not read elsewhere.
    home = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(argv, capture_output=True, check=True, text=True, env=home, cwd=tmp_path)
    said = json.loads(done.stdout)
    every = said["runtimes"]
    assert said["lasting"] is True
    assert [entry["name"] for entry in every] == list(RUNTIMES.names())
    facts = every[0]
    assert (facts["name"], facts["version"]) == ("onnxruntime", onnxruntime.__version__)
    newest = facts["max_opset"]
    onnxruntime.InferenceSession(identity_model(newest), providers=["CPUExecutionProvider"])
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.Fail, match=f"till opset {newest}"):
        onnxruntime.InferenceSession(identity_model(newest + 1), providers=["CPUExecutionProvider"])


class Broken(Runtime):
    """Installed, and fails when it is asked."""

    name = "broken"
    formats = ("onnx",)
    distributions = ("numpy",)

    def prepare(self) -> str:
        raise RunnerFailure(Outcome.UNSUPPORTED, FailureKind.LOAD_FAILED, "no")

    def _facts(self) -> RuntimeFacts:
        raise OSError("a library is missing")

    def _load(self, *_: Any) -> Any:
        raise NotImplementedError


class Absent(Broken):
    """Not installed, and says so."""

    distributions = ("no-such-package",)

    def _facts(self) -> RuntimeFacts:
        return RuntimeFacts(name=self.name, reason="the package is not installed")


class Usable(Broken):
    """Installed and well."""

    def _facts(self) -> RuntimeFacts:
        return RuntimeFacts(name=self.name, version="1.0.0", providers=("CPU",))


class Table:
    """One driver under its name; None cannot be imported."""

    def __init__(self, driver: type[Runtime] | None) -> None:
        self._driver = driver

    def names(self) -> tuple[str, ...]:
        return ("broken",)

    def load(self, name: str) -> type[Runtime]:
        if self._driver is None:
            raise MissingDependencyError("it needs a package that is not installed.")
        return self._driver


@pytest.mark.parametrize(
    ("driver", "ours", "lasting"),
    [
        (Usable, True, True),
        (Absent, True, True),
        (Broken, True, False),
        (None, True, False),
        (Usable, False, False),
    ],
    ids=["usable", "absent", "failed", "not imported", "somebody else's"],
)
def test_a_description_lasts_only_when_nothing_failed_and_every_driver_is_ours(
    monkeypatch: pytest.MonkeyPatch, driver: type[Runtime] | None, ours: bool, lasting: bool
) -> None:
    monkeypatch.setattr(worker, "RUNTIMES", Table(driver))
    monkeypatch.setattr(worker, "BUILTIN", {"broken": "here"} if ours else {})
    said = worker.describe_runtimes()
    assert [entry["name"] for entry in said["runtimes"]] == ["broken"]
    assert said["lasting"] is lasting


def test_every_setting_reaches_the_session(workshop: Any) -> None:
    artifact = workshop.mlp()
    settings = RuntimeSettings(
        intra_op_threads=2, inter_op_threads=3, allow_spinning=True, graph_optimization="basic"
    )
    model: Any = RUNTIMES.load("onnxruntime")().load(workshop.directory(artifact), artifact, settings)
    options = model.session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 3)
    assert options.execution_mode == onnxruntime.ExecutionMode.ORT_PARALLEL
    assert options.graph_optimization_level == onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    for pool in ("intra", "inter"):
        assert options.get_session_config_entry(f"session.{pool}_op.allow_spinning") == "1"
    assert model.providers == ("CPUExecutionProvider",)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (RuntimeSettings(providers=("TensorrtExecutionProvider",)), "lacks TensorrtExecutionProvider"),
        (RuntimeSettings(affinity=(4000,)), "cannot be pinned"),
    ],
)
def test_a_setting_that_cannot_be_applied_is_refused(
    workshop: Any, settings: RuntimeSettings, sentence: str
) -> None:
    artifact = workshop.mlp()
    with pytest.raises(RunnerFailure, match=sentence) as caught:
        RUNTIMES.load("onnxruntime")().load(workshop.directory(artifact), artifact, settings)
    assert (caught.value.outcome, caught.value.failure_kind) == (Outcome.UNSUPPORTED, FailureKind.LOAD_FAILED)


LIMITED = """
import os, sys
from edgeloop_agent.runner.limits import Limits, enter
layers = dict(enter(Limits(memory_bytes=1 << 30, cpu_s=5, parent_pid=os.getppid())).layers)
assert not layers.pop("rlimit_nproc")  # it holds in a user namespace alone
assert all(held for name, held in layers.items() if name.startswith(("rlimit_", "no_new", "not_", "dies_"))), layers
try:
    bytearray(2 << 30)
except MemoryError:
    print("memory")
try:
    with open(sys.argv[1], "wb") as file:
        file.write(bytes(65 << 20))
except OSError as error:
    print("file", error.errno)
"""


def test_limits_hold(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", LIMITED, str(tmp_path / "big")]
    done = subprocess.run(argv, capture_output=True, check=True, text=True)
    assert done.stdout.splitlines() == ["memory", "file 27"]


ORPHAN = """
import os, subprocess, sys
argv = [sys.executable, "-I", "-m", "edgeloop_agent.runner", "--parent-pid", str(os.getpid())]
child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
import struct, json
body = b'{"command":"nothing"}'
child.stdin.write(struct.pack("<II", len(body), 0) + body); child.stdin.flush()
child.stdout.read(8)
print(child.pid, flush=True)
os.kill(os.getpid(), 9)
"""


def test_a_runner_dies_with_its_agent() -> None:
    done = subprocess.run([sys.executable, "-c", ORPHAN], capture_output=True, text=True)
    pid = int(done.stdout)
    state = Path(f"/proc/{pid}/stat")
    # Killed at once; a zombie may wait for init to collect it.
    give_up = time.monotonic() + 2.0
    while state.exists() and state.read_text().rpartition(")")[2].split()[0] not in "ZX":
        assert time.monotonic() < give_up, f"runner {pid} outlived its agent"
        time.sleep(0.005)
