"""Models and runners that misbehave: each is a recorded outcome in time."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeloop_agent.execute import execute
from edgeloop_agent.isolation_policy import IsolationPolicy
from edgeloop_foundation.ports.process import ChildProcess, SystemProcesses
from edgeloop_protocol.types.run import FailureKind, Outcome
from onnx import TensorProto, helper

X = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
Y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])


async def outcome_of(bench: Any, artifact: Any, **spec: Any) -> tuple[Any, float]:
    before = time.monotonic()
    (run,) = await execute(bench.context(artifact, **spec))
    return run, time.monotonic() - before


async def test_an_allocation_bomb_runs_out_of_memory(bench: Any, workshop: Any, make_model: Any) -> None:
    size = {"size": np.array([1 << 34], np.int64)}
    huge = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1 << 34])
    data = make_model([helper.make_node("ConstantOfShape", ["size"], ["y"])], [X], [huge], size)
    run, elapsed = await outcome_of(bench, workshop.hostile(data), runner_memory_bytes=3 << 30)
    assert (run.outcome, run.failure_kind) == (Outcome.DEVICE_ERROR, FailureKind.OUT_OF_MEMORY)
    assert elapsed < 20.0


async def test_an_endless_loop_is_killed_at_its_deadline(bench: Any, workshop: Any, make_model: Any) -> None:
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["more"]), helper.make_node("Identity", ["v"], ["w"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("more", TensorProto.BOOL, []),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, [1]),
        ],
    )
    true = {"true": np.array(True)}
    data = make_model([helper.make_node("Loop", ["", "true", "x"], ["y"], body=body)], [X], [Y], true)
    run, elapsed = await outcome_of(bench, workshop.hostile(data), runner_deadline_s=2.0)
    assert (run.outcome, run.failure_kind) == (Outcome.TIMEOUT, FailureKind.DEADLINE)
    # The look at the device before the job and its clock probe are in it, beside the deadline of two seconds.
    assert 2.0 <= elapsed < 10.0


@pytest.mark.parametrize(
    ("nodes", "changes", "sentence"),
    [
        (
            [helper.make_node("Identity", ["x"], ["y"])],
            {"opset": 60},
            "operator set 60 of ai.onnx; onnxruntime ",
        ),
        ([helper.make_node("Identity", ["x"], ["y"])], {"ir_version": 99}, "IR version 99; onnxruntime "),
        ([helper.make_node("Nope", ["x"], ["y"])], {}, "needs the operator Nope"),
        (
            [helper.make_node("Own", ["x"], ["y"], domain="own")],
            {"domains": ["own"]},
            "needs the operator own:Own",
        ),
        (
            [helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft", ep_cache_context="code")],
            {"domains": ["com.microsoft"]},
            "EPContext",
        ),
    ],
    ids=["opset", "ir", "operator", "domain", "compiled"],
)
async def test_a_model_beyond_the_runtime_is_unsupported(
    bench: Any, workshop: Any, make_model: Any, nodes: Any, changes: Any, sentence: str
) -> None:
    run, _ = await outcome_of(bench, workshop.hostile(make_model(nodes, [X], [Y], **changes)))
    assert (run.outcome, run.failure_kind) == (Outcome.UNSUPPORTED, FailureKind.UNSUPPORTED_MODEL)
    assert sentence in run.failure_reason
    assert "onnxruntime_src" not in run.failure_reason


async def test_a_wrong_golden_shape_fails_the_inference(bench: Any, workshop: Any, make_model: Any) -> None:
    three = helper.make_tensor_value_info("x", TensorProto.FLOAT, [3])
    data = make_model([helper.make_node("Identity", ["x"], ["y"])], [three], [three])
    run, _ = await outcome_of(bench, workshop.hostile(data))
    assert (run.outcome, run.failure_kind) == (Outcome.USER_ERROR, FailureKind.INFERENCE_FAILED)
    assert "Got: 1 Expected: 3" in run.failure_reason


class StandIn:
    """Starts this Python program in place of every runner."""

    def __init__(self, program: str) -> None:
        self._program = program

    async def spawn(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: str | None = None
    ) -> ChildProcess:
        if "--describe" in argv:
            return await SystemProcesses().spawn(argv, env, cwd)
        return await SystemProcesses().spawn((sys.executable, "-c", self._program), env, cwd)


ANSWER = (
    "import json, struct, sys; h = json.dumps({header}).encode(); "
    "sys.stdout.buffer.write((struct.pack('<II', len(h), 0) + h) * 2); sys.stdout.flush(); sys.stdin.read()"
)


@pytest.mark.parametrize(
    ("program", "outcome", "kind", "sentence"),
    [
        ("import os; os.kill(os.getpid(), 11)", Outcome.DEVICE_ERROR, FailureKind.RUNNER_CRASHED, "SIGSEGV"),
        ("import os; os.abort()", Outcome.DEVICE_ERROR, FailureKind.RUNNER_CRASHED, "SIGABRT"),
        ("raise SystemExit(7)", Outcome.DEVICE_ERROR, FailureKind.RUNNER_CRASHED, "exit status 7"),
        ("raise MemoryError", Outcome.DEVICE_ERROR, FailureKind.OUT_OF_MEMORY, "exit status 1"),
        ("import os; os.kill(os.getpid(), 24)", Outcome.TIMEOUT, FailureKind.DEADLINE, "processor time"),
        ("import time; time.sleep(60)", Outcome.TIMEOUT, FailureKind.DEADLINE, "not answered within"),
        (
            "import sys,time; sys.stdout.buffer.write(b'\\xff' * 8); sys.stdout.flush(); time.sleep(60)",
            Outcome.HARNESS_ERROR,
            FailureKind.RUNNER_CRASHED,
            "is no answer",
        ),
        (
            "import os,time; os.close(1); time.sleep(60)",
            Outcome.DEVICE_ERROR,
            FailureKind.RUNNER_CRASHED,
            "closed its output",
        ),
        (
            ANSWER.format(header={"ok": False, "outcome": "success", "failure_kind": "none"}),
            Outcome.HARNESS_ERROR,
            FailureKind.RUNNER_CRASHED,
            "names no failure",
        ),
        (
            ANSWER.format(header={"ok": True, "load_ns": "soon"}),
            Outcome.HARNESS_ERROR,
            FailureKind.RUNNER_CRASHED,
            "no integer",
        ),
    ],
    ids=["segv", "abort", "exit", "memory", "cpu", "hang", "noise", "closed", "no-failure", "wrong-type"],
)
async def test_a_dying_or_lying_runner_is_a_recorded_outcome(
    bench: Any, workshop: Any, program: str, outcome: Outcome, kind: FailureKind, sentence: str
) -> None:
    bench.processes = StandIn(program)
    run, elapsed = await outcome_of(bench, workshop.mlp(), runner_deadline_s=1.0)
    assert (run.outcome, run.failure_kind) == (outcome, kind)
    assert sentence in run.failure_reason
    assert elapsed < 10.0


async def test_what_a_dead_runner_wrote_is_in_the_row(bench: Any, workshop: Any) -> None:
    bench.processes = StandIn("import sys; sys.stderr.write('last words\\x1b[2J\\n'); raise SystemExit(3)")
    run, _ = await outcome_of(bench, workshop.mlp())
    assert "last words" in run.log_tail
    assert "\x1b" not in run.log_tail


LIAR = """
import json, struct, sys, time
def read():
    a, b = struct.unpack('<II', sys.stdin.buffer.read(8)); return json.loads(sys.stdin.buffer.read(a))
while True:
    command = read()
    count = command.get('count', 0)
    if count: time.sleep(count * 0.002)
    payload = struct.pack('<q', 1_000_000) * count
    header = {'ok': True, 'load_ns': 1, 'start_ns': 0, 'end_ns': count * 1_000_000}
    data = json.dumps(header).encode()
    sys.stdout.buffer.write(struct.pack('<II', len(data), len(payload)) + data + payload); sys.stdout.flush()
"""


async def test_a_runner_whose_clock_is_wrong_is_disputed(bench: Any, workshop: Any, quick: Any) -> None:
    bench.processes = StandIn(LIAR)
    benchmark = replace(quick, rounds=1)
    run, _ = await outcome_of(bench, workshop.mlp(), benchmark=benchmark)
    assert run.outcome is Outcome.SUCCESS
    assert run.timing.timing_disputed
    assert run.timing.clock_disagreement == pytest.approx(0.5, abs=0.1)


TAKEN_OVER = """
import os, socket, subprocess, sys
from pathlib import Path
from edgeloop_agent.runner import worker
def evil(self, header):
    for attempt in ({attempts}):
        try:
            attempt()
            sys.stderr.write("escaped\\n")
        except OSError as error:
            sys.stderr.write(type(error).__name__ + "\\n")
    sys.stderr.flush()
    os._exit(9)
worker.Worker._open = evil
from edgeloop_agent.runner.__main__ import main
main()
"""


class TakenOver:
    """Starts the runner as the board does, with code in it that does what it likes once a model is opened."""

    def __init__(self, attempts: str) -> None:
        self._program = TAKEN_OVER.format(attempts=attempts)

    async def spawn(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: str | None = None
    ) -> ChildProcess:
        if "--describe" not in argv:
            argv = (sys.executable, "-I", "-c", self._program, *argv[4:])
        return await SystemProcesses().spawn(argv, env, cwd)


async def test_a_runner_that_was_taken_over_reaches_nothing(
    bench: Any, workshop: Any, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("key")
    attempts = (
        f"lambda: open({str(secret)!r}).read(), lambda: open({str(secret)!r}, 'w'), lambda: os.fork() or os._exit(0), "
        "lambda: subprocess.run(['/bin/true']), lambda: socket.create_connection(('127.0.0.1', 9)), "
        "lambda: os.kill(os.getppid(), 0), lambda: os.mkdir('/usr/escaped')"
    )
    bench.processes = TakenOver(attempts)
    run, _ = await outcome_of(bench, workshop.mlp())
    assert (run.outcome, run.failure_kind) == (Outcome.DEVICE_ERROR, FailureKind.RUNNER_CRASHED)
    told = run.log_tail.split()
    assert len(told) == 7
    assert secret.read_text() == "key"
    if run.isolation.tier == "unprivileged":
        assert "escaped" not in told


async def test_too_little_isolation_refuses_the_job_before_the_model(bench: Any, workshop: Any) -> None:
    bench.processes = StandIn(LIAR)
    bench.isolation = IsolationPolicy(minimum="seccomp")
    run, _ = await outcome_of(bench, workshop.mlp(), runner_deadline_s=5.0)
    assert (run.outcome, run.failure_kind) == (Outcome.UNSUPPORTED, FailureKind.UNFIT_DEVICE)
    assert "the runner did not say" in run.failure_reason
