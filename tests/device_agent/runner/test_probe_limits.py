"""What was signed for a release, held by the probe: the tier, resident memory, tasks and time of its process."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeloop_agent.board import RealBoard
from edgeloop_agent.deployment_probe import ProbedSlot, probe_slot
from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.isolation_policy import IsolationPolicy
from edgeloop_agent.slots import SlotRecord
from edgeloop_agent.task_group import NoTaskGroup, TaskGroup
from edgeloop_foundation.errors import StateError
from edgeloop_foundation.ports.process import ChildProcess, ProcessPort, SystemProcesses
from edgeloop_protocol.types.deployment import DeploymentState, ModelLimits
from edgeloop_protocol.types.run import FailureKind, Outcome
from onnx import TensorProto, helper

MiB = 1 << 20
# Its tasks are counted in a control group, or in a user namespace of a user other than root.
BOUNDED = os.getuid() != 0 or isinstance(TaskGroup.make(Path("/"), 8), TaskGroup)


class TakenOver:
    """Starts the runner with code in it that runs once a model is opened."""

    def __init__(self, code: str) -> None:
        self._program = (
            f"import os, sys, threading, time\nfrom edgeloop_agent.runner import worker\n"
            f"def evil(self, header):\n    {code}\n    os._exit(9)\nworker.Worker._open = evil\n"
            "from edgeloop_agent.runner.__main__ import main\nmain()\n"
        )

    async def spawn(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: str | None = None
    ) -> ChildProcess:
        argv = (sys.executable, "-I", "-c", self._program, *argv[4:])
        return await SystemProcesses().spawn(argv, env, cwd)


async def probe(
    bench: Any,
    artifact: Any,
    limits: ModelLimits,
    *,
    tier: str = "unprivileged",
    processes: ProcessPort | None = None,
) -> ProbedSlot:
    board = RealBoard(
        bench.state_directory,
        "bench",
        processes or SystemProcesses(),
        isolation=IsolationPolicy(tier=tier),
    )
    record = SlotRecord(name="demo", state=DeploymentState.STAGED).within(limits)
    return await probe_slot(board, record, bench.workshop.directory(artifact), artifact)


async def refused(bench: Any, artifact: Any, limits: ModelLimits, **words: Any) -> tuple[str, Any]:
    with pytest.raises(StateError) as caught:
        await probe(bench, artifact, limits, **words)
    cause = caught.value.__cause__
    assert isinstance(cause, RunnerFailure)
    return str(caught.value), (cause.outcome, cause.failure_kind)


async def test_a_model_within_its_limits_passes_and_the_record_says_what_held(
    bench: Any, workshop: Any
) -> None:
    limits = ModelLimits(
        isolation="seccomp",
        memory_bytes_max=1024 * MiB,
        process_count_max=8 if BOUNDED else 0,
        step_s_max=60,
    )
    probed = await probe(bench, workshop.mlp(), limits)
    layers = dict(probed.isolation.layers)
    assert layers["no_sockets"]
    assert (layers["cgroup_pids"] or layers["rlimit_nproc"]) is BOUNDED


async def test_a_tier_below_the_signed_one_is_refused_with_what_to_do(bench: Any, workshop: Any) -> None:
    limits = ModelLimits(isolation="unprivileged")
    said, kind = await refused(bench, workshop.mlp(), limits, tier="seccomp")
    assert kind == (Outcome.UNSUPPORTED, FailureKind.UNFIT_DEVICE)
    assert "signed to be opened in the isolation unprivileged at least, and this board gives seccomp" in said
    assert "start its agent with --isolation unprivileged" in said


async def test_resident_memory_above_what_is_signed_kills_it(bench: Any, workshop: Any) -> None:
    hoard = "hold = [b'x' * (8 << 20) for _ in range(64)]; time.sleep(60)"
    before = time.monotonic()
    limits = ModelLimits(memory_bytes_max=200 * MiB)
    said, kind = await refused(bench, workshop.mlp(), limits, processes=TakenOver(hoard))
    assert kind == (Outcome.DEVICE_ERROR, FailureKind.OUT_OF_MEMORY)
    assert f"passed the signed {200 * MiB}" in said
    assert time.monotonic() - before < 20


async def test_a_load_that_takes_longer_than_signed_is_killed(
    bench: Any, workshop: Any, make_model: Any
) -> None:
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["more"]), helper.make_node("Identity", ["v"], ["w"])],
        "body",
        [
            value("i", TensorProto.INT64, []),
            value("go", TensorProto.BOOL, []),
            value("v", TensorProto.FLOAT, [1]),
        ],
        [value("more", TensorProto.BOOL, []), value("w", TensorProto.FLOAT, [1])],
    )
    one = {"true": np.array(True), "one": np.zeros(1, np.float32)}
    loop = helper.make_node("Loop", ["", "true", "one"], ["y"], body=body)
    data = make_model([loop], [value("x", TensorProto.FLOAT, [1])], [value("y", TensorProto.FLOAT, [1])], one)
    said, kind = await refused(bench, workshop.hostile(data), ModelLimits(step_s_max=2))
    assert kind == (Outcome.TIMEOUT, FailureKind.DEADLINE)
    assert "within 2.0 s" in said


@pytest.mark.skipif(not BOUNDED, reason="root without a control group that counts tasks")
async def test_threads_beyond_what_is_signed_cannot_be_started(bench: Any, workshop: Any) -> None:
    told = bench.state_directory.parent / "told"
    flood = (
        "count = 0\n    try:\n"
        "        for _ in range(100):\n"
        "            threading.Thread(target=time.sleep, args=(60,), daemon=True).start(); count += 1\n"
        "    except RuntimeError: pass\n"
        f"    open({str(told)!r}, 'w').write(str(count))"
    )
    limits = ModelLimits(process_count_max=6)
    await refused(bench, workshop.mlp(), limits, tier="seccomp", processes=TakenOver(flood))
    assert 1 <= int(told.read_text()) < 6


async def test_tasks_that_nothing_bounds_are_refused_where_a_bound_is_signed(
    bench: Any, workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_group = NoTaskGroup("no control group with the pids controller may be made here")
    monkeypatch.setattr(TaskGroup, "make", lambda *_: no_group)
    # Without namespaces of its own RLIMIT_NPROC would count strangers.
    said, kind = await refused(bench, workshop.mlp(), ModelLimits(process_count_max=8), tier="seccomp")
    assert kind == (Outcome.UNSUPPORTED, FailureKind.UNFIT_DEVICE)
    assert "at most 8 threads and processes are signed, and nothing bounds them" in said
    # Nothing was signed: the record tells that no bound held, and the job runs.
    probed = await probe(bench, workshop.mlp(), ModelLimits(), tier="seccomp")
    layers = dict(probed.isolation.layers)
    assert not layers["cgroup_pids"]
    assert not layers["rlimit_nproc"]


def test_groups_of_agents_that_are_gone_are_swept(tmp_path: Path) -> None:
    parent = tmp_path / "sys/fs/cgroup/pids"
    for name in ("edgeloop-tasks-999999-aa", f"edgeloop-tasks-{os.getpid()}-bb"):
        (parent / name).mkdir(parents=True)
    (parent / "cgroup.procs").write_text("")
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc" / str(os.getpid())).mkdir()
    (tmp_path / "proc/self/cgroup").write_text("3:pids:/\n")
    assert isinstance(TaskGroup.make(tmp_path, 8), TaskGroup)
    left = {path.name.rpartition("-")[0] for path in parent.glob("edgeloop-tasks-*")}
    assert left == {f"edgeloop-tasks-{os.getpid()}"}
