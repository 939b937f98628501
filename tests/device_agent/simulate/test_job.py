"""The agent's own job code on a simulated board: records that say simulated, the same every time."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from edgeloop_agent.execute import execute
from edgeloop_agent.execution import ExecutionContext, Progress, StopSignal
from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.quarantine import Quarantine
from edgeloop_agent.simulate import SimulatedBoard
from edgeloop_foundation.ports.clock import SystemClock
from edgeloop_foundation.ports.simulated_fs import SimulatedFileSystem
from edgeloop_profiles import load_profile
from edgeloop_protocol.convert import digest_of, to_canonical_json
from edgeloop_protocol.types.artifact import Artifact, FileEntry, Kernel, TensorSpec, Tolerance
from edgeloop_protocol.types.conditions import Conditions
from edgeloop_protocol.types.run import FailureKind, Outcome, Run, Source, SteadyState, Verdict
from edgeloop_protocol.types.trial import Benchmark, JobSpec, RuntimeSettings, Trial

MakeBoard = Callable[..., SimulatedBoard]


def make_artifact(directory: Path, kernels: tuple[Kernel, ...], label: str) -> str:
    """Write a small dense network with a golden pack; return the digest of its manifest."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(0).standard_normal((8, 4), dtype=np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    inputs = np.random.default_rng(1).standard_normal((6, 8), dtype=np.float32)
    golden = io.BytesIO()
    outputs = inputs @ weights
    arrays: dict[str, Any] = {"input/x": inputs, "host/y": outputs, "original/y": outputs}
    np.savez(golden, **arrays)
    contents = {"golden.npz": golden.getvalue(), "model.onnx": model.SerializeToString()}
    tolerance = Tolerance(name="fp32", absolute=1e-5, relative=1e-5, flip_rate_max=0.5)
    artifact = Artifact(
        format="onnx",
        label=label,
        files=tuple(
            FileEntry(name=name, digest=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
            for name, data in contents.items()
        ),
        model_file="model.onnx",
        golden_file="golden.npz",
        source_digest="1" * 64,
        opsets=(("", 17),),
        inputs=(TensorSpec(name="x", dtype="float32", shape=(1, 8)),),
        outputs=(TensorSpec(name="y", dtype="float32", shape=(1, 4)),),
        decision_output="y",
        decision_rule="argmax",
        tolerances=(("host", tolerance), ("original", tolerance)),
        kernels=kernels,
        weight_bytes=128,
        activation_peak_bytes=48,
    )
    target = directory / digest_of(artifact)
    target.mkdir(parents=True)
    for name, data in contents.items():
        (target / name).write_bytes(data)
    (target / "manifest.json").write_bytes(to_canonical_json(artifact))
    return target.name


def make_context(
    board: SimulatedBoard, directory: Path, trials: tuple[Trial, ...], parity: bool
) -> ExecutionContext:
    async def store_blob(data: bytes) -> str:
        return hashlib.sha256(data).hexdigest()

    def ignore(step: Progress) -> None:
        del step

    benchmark = Benchmark(rounds=3, steady_s_max=5.0, seed=4, check_parity=parity)
    return ExecutionContext(
        board=board,
        spec=JobSpec(request_id="r", lease_id="l", fencing_token=1, trials=trials, benchmark=benchmark),
        job_id="job",
        device_id="device",
        device_name="bench",
        boot_id="boot",
        agent_version="1",
        directories={trial.artifact_digest: directory / trial.artifact_digest for trial in trials},
        store_blob=store_blob,
        report=ignore,
        stop=StopSignal(),
        wall_clock=SystemClock(),
    )


@pytest.fixture
def trials(tmp_path: Path, artifact: Artifact) -> tuple[Trial, ...]:
    half = tuple(dataclasses.replace(kernel, macs=kernel.macs // 2) for kernel in artifact.kernels)
    digests = {
        "original": make_artifact(tmp_path / "artifacts", artifact.kernels, "original"),
        "half": make_artifact(tmp_path / "artifacts", half, "half"),
        "blank": make_artifact(tmp_path / "artifacts", (), "blank"),
    }
    return tuple(
        Trial(
            trial_id=name,
            label=name,
            artifact_digest=digest,
            settings=RuntimeSettings(intra_op_threads=2),
            anchor=name == "original",
        )
        for name, digest in digests.items()
    )


async def run_job(
    board: SimulatedBoard, tmp_path: Path, trials: tuple[Trial, ...], parity: bool = False
) -> tuple[Run, ...]:
    return await execute(make_context(board, tmp_path / "artifacts", trials, parity))


def without_wall_time(run: Run) -> Run:
    def still(conditions: Conditions | None) -> Conditions | None:
        return conditions and dataclasses.replace(conditions, wall_time_s=0.0, free_disk_bytes=0)

    assert run.facts is not None
    return dataclasses.replace(
        run,
        facts=dataclasses.replace(run.facts, disk_free_bytes=0),
        started_wall_s=0.0,
        conditions_before=still(run.conditions_before),
        conditions_after=still(run.conditions_after),
    )


async def test_two_jobs_with_one_seed_give_the_same_records(
    make_board: MakeBoard, tmp_path: Path, trials: tuple[Trial, ...]
) -> None:
    first = await run_job(make_board(seed=3), tmp_path, trials)
    again = await run_job(make_board(seed=3), tmp_path, trials)
    other = await run_job(make_board(seed=8), tmp_path, trials)
    assert [without_wall_time(run) for run in first] == [without_wall_time(run) for run in again]
    assert first[0].timing is not None
    assert other[0].timing is not None
    assert first[0].timing.samples_digest != other[0].timing.samples_digest


async def test_records_say_simulated_and_pass_the_agents_own_checks(
    make_board: MakeBoard, tmp_path: Path, trials: tuple[Trial, ...]
) -> None:
    original, half, blank = await run_job(make_board("nuc11"), tmp_path, trials)
    for run in (original, half):
        assert (run.outcome, run.source) == (Outcome.SUCCESS, Source.SIMULATED)
        assert run.simulation is not None
        assert run.timing is not None
        assert run.timing.steady is not None
        assert run.timing.steady_state is SteadyState.REACHED
        assert run.timing.clock_disagreement == pytest.approx(0.0, abs=1e-6)
        assert not run.timing.timing_disputed
        assert run.memory is not None
        assert run.memory.inference_peak_rss_bytes is not None
        assert run.placement is not None
        assert len(run.placement.nodes) == 10
        assert run.energy is not None
        assert run.energy.gross_j.value is not None
        assert run.energy.scope == "package"
    assert original.timing is not None
    assert half.timing is not None
    assert original.timing.steady is not None
    assert half.timing.steady is not None
    assert half.timing.steady.p50.value < 0.7 * original.timing.steady.p50.value  # type: ignore[operator]
    assert (blank.outcome, blank.failure_kind) == (Outcome.UNSUPPORTED, FailureKind.UNSUPPORTED_MODEL)
    assert "nothing to predict from" in blank.failure_reason


async def test_kernels_known_by_their_bytes_alone_widen_the_interval_of_their_run(
    make_board: MakeBoard, tmp_path: Path, artifact: Artifact
) -> None:
    vague = tuple(dataclasses.replace(kernel, kernel_class="other") for kernel in artifact.kernels)
    trials = tuple(
        Trial(trial_id=name, label=name, artifact_digest=make_artifact(tmp_path / "artifacts", kernels, name))
        for name, kernels in (("known", artifact.kernels), ("vague", vague))
    )
    board = make_board("nuc11")
    known, unknown = await run_job(board, tmp_path, trials)
    assert board.simulation is not None
    # That of the board is the widest of its precisions, that of a run is its own.
    factor = load_profile("nuc11").runtimes[0].interval("fp32").factor
    assert board.simulation.interval_factor is not None
    assert board.simulation.interval_factor > factor
    assert known.simulation == dataclasses.replace(board.simulation, interval_factor=factor)
    assert unknown.simulation is not None
    assert unknown.simulation.interval_factor is not None
    assert unknown.simulation.interval_factor > board.simulation.interval_factor


async def test_a_board_without_power_sensor_gives_no_energy_but_the_reason(
    make_board: MakeBoard, tmp_path: Path, trials: tuple[Trial, ...]
) -> None:
    run = (await run_job(make_board("raspberry_pi_4"), tmp_path, trials[:1]))[0]
    assert run.energy is not None
    assert run.energy.gross_j.value is None
    assert "no power sensor" in run.energy.gross_j.reason


async def test_parity_is_real(make_board: MakeBoard, tmp_path: Path, trials: tuple[Trial, ...]) -> None:
    import onnxruntime

    context = make_context(make_board(), tmp_path / "artifacts", trials[:1], parity=True)
    only = dataclasses.replace(context.spec.benchmark, measure_latency=False, measure_memory=False)
    spec = dataclasses.replace(context.spec, benchmark=dataclasses.replace(only, measure_nodes=False))
    (run,) = await asyncio.wait_for(execute(dataclasses.replace(context, spec=spec)), 60)
    assert run.parity is not None, run.failure_reason
    assert run.parity.item_count == 6
    assert [comparison.verdict for comparison in run.parity.comparisons] == [Verdict.PASSED, Verdict.PASSED]
    assert run.parity.comparisons[0].outputs[0].digest
    assert f"numerics of onnxruntime {onnxruntime.__version__} on the host" in run.runtime_version


async def test_what_is_in_quarantine_is_not_opened_and_says_so(
    make_board: MakeBoard, tmp_path: Path, trials: tuple[Trial, ...]
) -> None:
    kept = Quarantine(fs=SimulatedFileSystem(), root=Path("/q"), clock=SystemClock())
    kept.open()
    crash = RunnerFailure(Outcome.DEVICE_ERROR, FailureKind.RUNNER_CRASHED, "the runner died (SIGSEGV).")
    for _ in range(2):
        await kept.note_probe(trials[1].artifact_digest, crash)
    context = make_context(make_board(), tmp_path / "artifacts", trials, parity=False)
    original, half, _ = await execute(dataclasses.replace(context, refusal=kept.refusal))
    assert original.outcome is Outcome.SUCCESS
    assert (half.outcome, half.failure_kind) == (Outcome.UNSUPPORTED, FailureKind.UNFIT_DEVICE)
    assert "in quarantine on this device" in half.failure_reason
    assert half.timing is None or half.timing.steady is None
