"""Rounds whose batches are interleaved, with real runner processes on this machine."""

from __future__ import annotations

import itertools
import statistics
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from edgeloop_agent.board import RealBoard, Reply, RunnerStart
from edgeloop_agent.execute import execute, round_order
from edgeloop_agent.execution import Progress
from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.turns import expected_bytes, turn_count
from edgeloop_protocol.types.conditions import Conditions
from edgeloop_protocol.types.run import FailureKind, Outcome
from edgeloop_protocol.types.trial import Benchmark, RuntimeSettings


@pytest.fixture
def batched(quick: Any) -> Benchmark:
    return replace(quick, interleave="batch", rounds=2, steady_s_max=0.32, batch_s=0.04)  # type: ignore[no-any-return]


@pytest.mark.parametrize(("steady_s", "turns"), [(2.0, 4), (0.2, 2), (10.0, 20), (2.6, 6)])
def test_turns_are_even(steady_s: float, turns: int) -> None:
    assert turn_count(Benchmark(rounds=5, steady_s_max=steady_s, batch_s=0.1)) == turns


async def test_turns_are_mirrored_and_never_overlap(bench: Any, workshop: Any, batched: Any) -> None:
    artifacts = [workshop.mlp(seed=seed, label=f"m{seed}", width=256) for seed in range(3)]
    runs: Any = await execute(bench.context(*artifacts, benchmark=batched))
    assert [(run.outcome, run.failure_reason) for run in runs] == [(Outcome.SUCCESS, "")] * 3
    for round_index in range(2):
        turns = sorted(
            (phase.start_ns, phase.end_ns, index)
            for index, run in enumerate(runs)
            for phase in run.phases
            if phase.name == "steady" and phase.round == round_index
        )
        order = round_order(batched.seed, round_index, 3)
        # On a busy machine the time of a share may be over after two of its four turns.
        assert [index for _, _, index in turns[:6]] == [*order, *reversed(order)]
        assert all(count % 2 == 0 for count in Counter(index for _, _, index in turns).values())
        assert all(earlier[1] <= later[0] for earlier, later in itertools.pairwise(turns))
        # All of a round are loaded and warm before the first turn of any.
        assert turns[0][0] > max(
            phase.end_ns
            for run in runs
            for phase in run.phases
            if phase.name in ("load", "warm_up") and phase.round == round_index
        )
    assert not list((bench.state_directory / "scratch").iterdir())


async def test_blocks_come_out_as_if_processes_had_run_one_by_one(
    bench: Any, workshop: Any, batched: Any
) -> None:
    artifacts = [workshop.mlp(seed=0, label="a"), workshop.mlp(seed=1, label="b")]
    for run in await execute(bench.context(*artifacts, benchmark=batched)):
        assert run.timing is not None
        blob = bench.blobs[run.timing.samples_digest]
        samples = struct.unpack(f"<{len(blob) // 8}q", blob)
        assert [block.round for block in run.timing.blocks] == [0, 1]
        assert [block.cold for block in run.timing.blocks] == [True, False]
        offset = 0
        for block in run.timing.blocks:
            assert block.sample_offset == offset
            piece = samples[offset : offset + block.sample_count]
            assert block.p50_s == pytest.approx(statistics.median(piece) * 1e-9)
            assert block.inference_count >= block.sample_count > 0
            assert block.warmup_count >= 10
            offset += block.sample_count
        assert offset == len(samples)


async def test_a_trial_that_cannot_be_loaded_leaves_the_others_alone(
    bench: Any, workshop: Any, batched: Any
) -> None:
    broken = workshop.hostile(b"this is no model", label="broken")
    context = bench.context(broken, workshop.mlp(), benchmark=batched)
    absent = replace(context.spec.trials[0], trial_id="x", settings=RuntimeSettings(runtime="abacus"))
    context = replace(context, spec=replace(context.spec, trials=(*context.spec.trials, absent)))
    runs: Any = await execute(context)
    assert runs[0].failure_kind is FailureKind.LOAD_FAILED
    assert "'abacus'; known are" in runs[2].failure_reason
    assert runs[1].outcome is Outcome.SUCCESS, runs[1].failure_reason
    assert len(runs[1].timing.blocks) == 2


class FailingSession:
    """A real session that fails the second batch of the rotation."""

    def __init__(self, session: Any, steps: list[Progress]) -> None:
        self._session, self._steps, self._left = session, steps, 2

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    async def request(self, command: str, arguments: Mapping[str, object], timeout_s: float) -> Reply:
        turning = any(step.phase == "steady" and step.message.startswith("cursed") for step in self._steps)
        self._left -= command == "infer" and turning
        if not self._left:
            raise RunnerFailure(Outcome.DEVICE_ERROR, FailureKind.RUNNER_CRASHED, "it broke off.")
        reply: Reply = await self._session.request(command, arguments, timeout_s)
        return reply


async def test_a_trial_that_breaks_off_leaves_the_rotation(bench: Any, workshop: Any, batched: Any) -> None:
    class FragileBoard(RealBoard):
        async def start_runner(self, start: RunnerStart) -> Any:
            session = await super().start_runner(start)
            return FailingSession(session, bench.steps) if start.artifact.label == "cursed" else session

    context = bench.context(workshop.mlp(label="cursed"), workshop.mlp(seed=1), benchmark=batched)
    board = FragileBoard(bench.state_directory, "bench", bench.processes)
    cursed: Any
    fine: Any
    cursed, fine = await execute(replace(context, board=board))
    assert (cursed.failure_kind, cursed.failure_reason) == (FailureKind.RUNNER_CRASHED, "it broke off.")
    assert (fine.outcome, len(fine.timing.blocks)) == (Outcome.SUCCESS, 2)
    assert not list((bench.state_directory / "scratch").iterdir())


async def test_too_little_memory_for_all_at_once_is_refused_with_the_way_out(
    bench: Any, workshop: Any, batched: Any
) -> None:
    artifacts = [workshop.mlp(seed=0, label="a"), workshop.mlp(seed=1, label="b")]
    one = expected_bytes(artifacts[0], 1)

    class SmallBoard(RealBoard):
        async def conditions(self) -> Conditions:
            return replace(await super().conditions(), available_memory_bytes=round(1.5 * one))

    board = SmallBoard(bench.state_directory, "bench", bench.processes)
    runs = await execute(replace(bench.context(*artifacts, benchmark=batched), board=board))
    for run in runs:
        assert (run.outcome, run.failure_kind) == (Outcome.DEVICE_ERROR, FailureKind.OUT_OF_MEMORY)
        assert "use interleave 'block'" in run.failure_reason
    alone = await execute(replace(bench.context(artifacts[0], benchmark=batched), board=board))
    assert alone[0].outcome is Outcome.SUCCESS


async def test_a_slow_model_gets_its_least_count(bench: Any, workshop: Any, batched: Any) -> None:
    benchmark = replace(batched, sample_count_min=40, steady_s_max=0.02, batch_s=0.01)
    run: Any
    (run,) = await execute(bench.context(workshop.mlp(width=1200), benchmark=benchmark))
    counts = [block.sample_count for block in run.timing.blocks]
    assert all(count >= 2 for count in counts)
    assert sum(counts) >= 40 or run.timing.steady.p50.value > 0.001
