"""Whole jobs with real runner processes on this machine."""

from __future__ import annotations

import asyncio
import hashlib
import statistics
import struct
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from edgeloop_agent.board import RealBoard, RunnerStart
from edgeloop_agent.execute import execute, round_order
from edgeloop_foundation.errors import BusyError
from edgeloop_foundation.ports.fs import OsFileSystem
from edgeloop_protocol.types.run import FailureKind, Outcome, Source, StopReason, Verdict
from edgeloop_protocol.types.trial import RuntimeSettings


async def test_a_whole_job_measures_every_trial(bench: Any, workshop: Any, quick: Any) -> None:
    benchmark = replace(quick, measure_memory=True, measure_nodes=True, check_parity=True)
    artifacts = [workshop.mlp(seed=0, label="a"), workshop.mlp(seed=1, label="b")]
    runs: Any = await execute(bench.context(*artifacts, benchmark=benchmark))
    assert [run.trial.label for run in runs] == ["a", "b"]
    for run in runs:
        assert (run.outcome, run.failure_reason) == (Outcome.SUCCESS, "")
        assert run.source is Source.MEASURED
        assert run.runtime_version.startswith("onnxruntime 1.")
        check_timing(run.timing, bench.blobs)
        check_memory(run.memory)
        assert [node.op_type for node in run.placement.nodes] == ["MatMul", "Relu", "MatMul", "Softmax"]
        assert run.placement.nodes_per_provider == (("CPUExecutionProvider", 4),)
        assert [c.verdict for c in run.parity.comparisons] == [Verdict.PASSED, Verdict.PASSED]
        assert dict(run.isolation.layers)["rlimit_as"]
        layers = dict(run.isolation.layers)
        # Tasks are bounded by one of two, as user and machine allow; the others come with the tiers above.
        unheld = {name for name, held in layers.items() if not held}
        above = {"own_files", "own_processes", "own_account", "agent_hidden"}
        assert unheld <= {"rlimit_nproc", "cgroup_pids", *above}
        assert run.energy.gross_j.value is None or run.energy.sensor
        assert run.conditions_before.monotonic_ns < run.conditions_after.monotonic_ns
    pairs = [
        {block.position for block in blocks} for blocks in zip(*(r.timing.blocks for r in runs), strict=True)
    ]
    assert pairs == [{0, 1}, {0, 1}]
    assert not list((bench.state_directory / "scratch").iterdir())


def check_timing(timing: Any, blobs: dict[str, bytes]) -> None:
    blob = blobs[timing.samples_digest]
    assert hashlib.sha256(blob).hexdigest() == timing.samples_digest
    samples = struct.unpack(f"<{len(blob) // 8}q", blob)
    assert len(samples) == timing.steady.sample_count >= 64
    assert timing.steady.p50.value == pytest.approx(statistics.median(samples) * 1e-9)
    for block in timing.blocks:
        piece = samples[block.sample_offset : block.sample_offset + block.sample_count]
        assert block.p50_s == pytest.approx(statistics.median(piece) * 1e-9)
        assert block.warmup_count >= 10
    assert sum(block.sample_count for block in timing.blocks) == len(samples)
    assert [block.cold for block in timing.blocks] == [True, False]
    assert timing.cold_load_s.value == timing.blocks[0].load_s
    assert timing.warm_load_s.value == timing.blocks[1].load_s
    # The first inference allocates and is far from typical.
    assert timing.first_inference_s.value > 2 * timing.steady.p50.value
    assert timing.stop_reason is not StopReason.NOT_MEASURED
    assert 0.0 < timing.clock_disagreement < 1.0


def check_memory(memory: Any) -> None:
    assert 20e6 < memory.baseline_rss_bytes < memory.loaded_rss_bytes <= memory.load_peak_rss_bytes
    assert memory.inference_peak_rss_bytes >= memory.loaded_rss_bytes - 4e6
    assert memory.pss_bytes < memory.anonymous_bytes + memory.file_bytes


async def test_the_weights_of_a_large_model_are_in_its_memory(bench: Any, workshop: Any, quick: Any) -> None:
    only_memory = replace(quick, measure_latency=False, measure_memory=True)
    # 2200 x 2200 float32 are 19 MB.
    run: Any
    (run,) = await execute(bench.context(workshop.mlp(items=2, width=2200), benchmark=only_memory))
    assert run.timing is None
    grown = run.memory.loaded_rss_bytes - run.memory.baseline_rss_bytes
    assert 19e6 < grown < 80e6


async def test_a_failing_trial_is_a_row_and_hurts_no_other(bench: Any, workshop: Any, quick: Any) -> None:
    broken = workshop.hostile(b"this is no model", label="broken")
    runs: Any = await execute(
        bench.context(broken, workshop.mlp(), benchmark=replace(quick, check_parity=True))
    )
    assert (runs[0].outcome, runs[0].failure_kind) == (Outcome.USER_ERROR, FailureKind.LOAD_FAILED)
    assert "onnxruntime" in runs[0].failure_reason
    assert runs[0].timing.steady is None
    assert runs[0].timing.cold_load_s.reason == runs[0].failure_reason
    assert runs[1].outcome is Outcome.SUCCESS
    assert runs[1].parity.comparisons[0].verdict is Verdict.PASSED


async def test_samples_that_find_no_room_do_not_take_the_figures_along(
    bench: Any, workshop: Any, quick: Any
) -> None:
    async def full(data: bytes) -> str:
        raise BusyError("the disk is full.")

    context = replace(bench.context(workshop.mlp(), benchmark=quick), store_blob=full)
    run: Any
    (run,) = await execute(context)
    assert run.outcome is Outcome.SUCCESS
    assert run.timing.steady.sample_count >= 64
    assert (run.timing.samples_digest, run.timing.reason) == (
        "",
        "the raw samples could not be kept: the disk is full.",
    )


async def test_a_fault_in_one_trial_leaves_the_others_their_figures(
    bench: Any, workshop: Any, quick: Any
) -> None:
    class FragileBoard(RealBoard):
        async def start_runner(self, start: RunnerStart) -> Any:
            if start.artifact.label == "cursed" and start.purpose == "parity":
                raise ValueError("a bug")
            return await super().start_runner(start)

    context = bench.context(
        workshop.mlp(label="cursed"), workshop.mlp(seed=1), benchmark=replace(quick, check_parity=True)
    )
    board = FragileBoard(bench.state_directory, "bench", bench.processes)
    cursed: Any
    fine: Any
    cursed, fine = await execute(replace(context, board=board))
    assert (cursed.outcome, cursed.parity) == (Outcome.HARNESS_ERROR, None)
    assert "ValueError: a bug" in cursed.failure_reason
    assert cursed.timing.steady is not None
    assert (fine.outcome, fine.parity.item_count) == (Outcome.SUCCESS, 12)


async def test_a_directory_that_cannot_be_removed_costs_no_figures(
    bench: Any, workshop: Any, quick: Any
) -> None:
    class StickyDisk(OsFileSystem):
        def remove_tree(self, path: Path) -> None:
            raise PermissionError(13, "Permission denied", str(path))

    board = RealBoard(bench.state_directory, "bench", bench.processes, fs=StickyDisk())
    run: Any
    (run,) = await execute(replace(bench.context(workshop.mlp(), benchmark=quick), board=board))
    assert (run.outcome, run.failure_reason) == (Outcome.SUCCESS, "")


async def test_figures_that_cannot_be_put_together_cost_one_trial(
    bench: Any, workshop: Any, quick: Any
) -> None:
    kept = []

    async def fragile(data: bytes) -> str:
        kept.append(data)
        if len(kept) == 1:
            raise ValueError("a bug")
        return hashlib.sha256(data).hexdigest()

    context = bench.context(workshop.mlp(label="cursed"), workshop.mlp(seed=1), benchmark=quick)
    cursed: Any
    fine: Any
    cursed, fine = await execute(replace(context, store_blob=fragile))
    assert (cursed.outcome, cursed.timing.steady) == (Outcome.HARNESS_ERROR, None)
    assert fine.outcome is Outcome.SUCCESS
    assert fine.timing.steady is not None


async def test_a_runtime_that_is_not_there_is_unsupported(bench: Any, workshop: Any, quick: Any) -> None:
    context = bench.context(workshop.mlp(), benchmark=quick)
    trial = replace(context.spec.trials[0], settings=RuntimeSettings(runtime="abacus"))
    run: Any
    (run,) = await execute(replace(context, spec=replace(context.spec, trials=(trial,))))
    assert (run.outcome, run.failure_kind) == (Outcome.UNSUPPORTED, FailureKind.LOAD_FAILED)
    assert "'abacus'; known are onnxruntime" in run.failure_reason
    assert "Traceback" not in run.log_tail


async def test_a_manifest_that_changed_is_refused(bench: Any, workshop: Any) -> None:
    artifact = workshop.mlp()
    manifest = workshop.directory(artifact) / "manifest.json"
    context = bench.context(artifact)
    manifest.write_bytes(manifest.read_bytes().replace(b'"tiny"', b'"tuny"'))
    run: Any
    (run,) = await execute(context)
    assert run.failure_kind is FailureKind.CORRUPT_ARTIFACT
    assert "digest" in run.failure_reason


async def test_a_golden_pack_that_changed_is_refused_by_parity(bench: Any, workshop: Any, quick: Any) -> None:
    artifact = workshop.mlp()
    pack = workshop.directory(artifact) / "golden.npz"
    context = bench.context(artifact, benchmark=replace(quick, measure_latency=False, check_parity=True))
    pack.write_bytes(pack.read_bytes() + b"\0")
    run: Any
    (run,) = await execute(context)
    assert run.failure_kind is FailureKind.CORRUPT_ARTIFACT
    assert run.parity is None


async def test_planted_errors_flip_the_verdict(bench: Any, workshop: Any, quick: Any) -> None:
    def disturb(values: Any) -> Any:
        values[3, 0] += 0.5
        return values

    only_parity = replace(quick, measure_latency=False, check_parity=True)
    run: Any
    (run,) = await execute(bench.context(workshop.mlp(disturb=disturb), benchmark=only_parity))
    host, original = run.parity.comparisons
    assert (host.against, host.verdict) == ("host", Verdict.FAILED)
    assert host.outputs[0].max_absolute_error == pytest.approx(0.5, abs=1e-4)
    assert original.verdict is Verdict.PASSED


async def test_state_is_carried_from_step_to_step(bench: Any, workshop: Any, quick: Any) -> None:
    run: Any
    (run,) = await execute(bench.context(workshop.counter(), benchmark=replace(quick, check_parity=True)))
    assert run.outcome is Outcome.SUCCESS, run.failure_reason
    (host,) = run.parity.comparisons
    assert (host.verdict, run.parity.item_count) == (Verdict.PASSED, 3)


async def test_the_batch_size_stacks_items(bench: Any, workshop: Any, quick: Any) -> None:
    single: Any
    stacked: Any
    single, stacked = [
        (await execute(bench.context(workshop.mlp(width=256), benchmark=replace(quick, batch_size=size))))[0]
        for size in (1, 64)
    ]
    assert stacked.timing.steady.p50.value > 2 * single.timing.steady.p50.value


async def test_items_that_cannot_be_stacked_are_refused(bench: Any, workshop: Any, quick: Any) -> None:
    run: Any
    (run,) = await execute(bench.context(workshop.counter(), benchmark=replace(quick, batch_size=4)))
    assert run.outcome is Outcome.UNSUPPORTED
    assert "no free batch axis" in run.failure_reason


async def test_a_cancelled_job_ends_at_once_and_keeps_what_it_has(
    bench: Any, workshop: Any, quick: Any
) -> None:
    long = replace(quick, steady_s_max=60.0, sample_count_min=10_000_000)
    context = bench.context(workshop.mlp(label="a"), workshop.mlp(seed=1, label="b"), benchmark=long)
    job = asyncio.create_task(execute(context))
    await bench.phase("steady")
    await asyncio.sleep(0.2)
    context.stop.set(Outcome.CANCELLED)
    before = time.monotonic()
    runs: Any = await job
    assert time.monotonic() - before < 10.0
    assert {(run.outcome, run.failure_kind) for run in runs} == {(Outcome.CANCELLED, FailureKind.CANCELLED)}
    counts = sorted(run.timing.steady.sample_count if run.timing.steady else 0 for run in runs)
    assert counts[0] == 0 < counts[1]


async def test_run_ids_are_stable_and_progress_counts(bench: Any, workshop: Any) -> None:
    artifact = workshop.mlp()
    first: Any
    second: Any
    first, second = [await execute(bench.context(artifact)) for _ in range(2)]
    assert first[0].run_id == second[0].run_id
    steady = [step for step in bench.steps if step.phase == "steady"]
    assert [(step.done_count, step.total_count) for step in steady[:4]] == [(0, 2), (1, 2), (1, 2), (2, 2)]
    assert steady[3].sample_count == first[0].timing.steady.sample_count
    assert bench.steps[-1].phase == "done"


def test_rounds_are_shuffled_by_the_seed() -> None:
    orders = [round_order(0, index, 4) for index in range(20)]
    assert orders == [round_order(0, index, 4) for index in range(20)]
    assert orders != [round_order(1, index, 4) for index in range(20)]
    assert {order[0] for order in orders} == {0, 1, 2, 3}
