"""A simulated runner answers like a real one, with predicted figures, the same for the same seed."""

from __future__ import annotations

import dataclasses
import statistics
import time
from array import array
from collections.abc import Callable

import pytest
from edgeloop_agent.board import RunnerStart
from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.simulate import SimulatedBoard
from edgeloop_profiles import load_profile
from edgeloop_profiles.predict import predict_latency, predict_memory
from edgeloop_protocol.convert import from_json
from edgeloop_protocol.types.artifact import Artifact
from edgeloop_protocol.types.run import FailureKind, Outcome, Placement
from edgeloop_protocol.types.trial import RuntimeSettings

MakeBoard = Callable[..., SimulatedBoard]
MakeStart = Callable[..., RunnerStart]
LIMIT_S = 1e6


async def infer(board: SimulatedBoard, start: RunnerStart, count: int = 300) -> list[int]:
    session = await board.start_runner(start)
    await session.request("open", {}, LIMIT_S)
    reply = await session.request("infer", {"count": count}, LIMIT_S)
    await session.close()
    return array("q", reply.payload).tolist()


async def test_the_same_seed_gives_the_same_samples(make_board: MakeBoard, make_start: MakeStart) -> None:
    first = await infer(make_board(seed=5), make_start())
    assert first == await infer(make_board(seed=5), make_start())
    assert first != await infer(make_board(seed=6), make_start())


@pytest.mark.parametrize("change", [{"seed": 1}, {"purpose": "memory"}])
async def test_round_and_purpose_have_noise_of_their_own(
    make_board: MakeBoard, make_start: MakeStart, change: dict[str, object]
) -> None:
    assert await infer(make_board(), make_start()) != await infer(make_board(), make_start(**change))


async def test_artifacts_have_noise_of_their_own(
    make_board: MakeBoard, make_start: MakeStart, artifact: Artifact
) -> None:
    twin = dataclasses.replace(artifact, label="twin")
    assert await infer(make_board(), make_start()) != await infer(make_board(), make_start(artifact=twin))


async def test_latency_is_the_prediction_and_takes_job_time_not_wall_time(
    make_board: MakeBoard, make_start: MakeStart, artifact: Artifact
) -> None:
    board, before = make_board(), time.monotonic()
    session = await board.start_runner(make_start())
    opened = (await session.request("open", {}, LIMIT_S)).header
    assert board.clock.monotonic_ns() == opened["load_ns"] > 0
    reply = await session.request("infer", {"count": 1000}, LIMIT_S)
    samples = array("q", reply.payload).tolist()
    passed = reply.header["end_ns"] - reply.header["start_ns"]
    assert abs(passed - sum(samples)) < 1000
    assert reply.header["end_ns"] == board.clock.monotonic_ns()
    expected = predict_latency(load_profile("raspberry_pi_4"), artifact.kernels, threads=4).point_s
    assert statistics.median(samples) / 1e9 == pytest.approx(expected, rel=0.05)
    assert passed > 10e9
    assert time.monotonic() - before < 8.0


async def test_the_first_inference_is_slower(make_board: MakeBoard, make_start: MakeStart) -> None:
    first = [(await infer(make_board(seed=seed), make_start(), 40)) for seed in range(20)]
    ratio = statistics.median(samples[0] / statistics.median(samples[20:]) for samples in first)
    assert 1.6 < ratio < 2.0


async def test_a_cold_load_takes_longer_than_a_warm_one(make_board: MakeBoard, make_start: MakeStart) -> None:
    loads = []
    for cold in (True, False):
        session = await make_board().start_runner(make_start(drop_page_cache=cold))
        header = (await session.request("open", {}, LIMIT_S)).header
        assert header["cold"] is cold
        loads.append(header["load_ns"])
    assert loads[0] - loads[1] > 0.5 * 3_100_000 / 45e6 * 1e9


async def test_open_says_what_the_profile_says(make_board: MakeBoard, make_start: MakeStart) -> None:
    profile = load_profile("raspberry_pi_5")
    session = await make_board("raspberry_pi_5").start_runner(make_start())
    header = (await session.request("open", {}, LIMIT_S)).header
    assert header["runtime_version"] == f"onnxruntime {profile.runtimes[0].version}"
    assert header["providers"] == ["CPUExecutionProvider"]
    assert header["baseline_rss_bytes"] == profile.runtimes[0].memory.baseline_bytes
    assert header["prediction"] == {
        "basis": "transferred, unvalidated",
        "interval_factor": profile.runtimes[0].interval("fp32").factor,
        "nearest_family": "",
        "family_distance": None,
        "extrapolations": [],
        "stale": False,
    }
    assert session.isolation.tier == "simulated"
    assert session.log_tail() == ""


async def test_memory_is_predicted_for_loading_and_inference_apart(
    make_board: MakeBoard, make_start: MakeStart, artifact: Artifact
) -> None:
    session = await make_board().start_runner(make_start(purpose="memory", batch_size=4))
    await session.request("open", {}, LIMIT_S)
    loaded = (await session.request("memory", {"reset_peak": True}, LIMIT_S)).header
    await session.request("infer", {"count": 5}, LIMIT_S)
    after = (await session.request("memory", {"reset_peak": False}, LIMIT_S)).header
    expected = predict_memory(
        load_profile("raspberry_pi_4"), weight_bytes=3_000_000, activation_peak_bytes=800_000, batch_size=4
    )
    assert loaded["rss_bytes"] == expected.loaded_bytes
    assert loaded["peak_rss_bytes"] == expected.load_peak_bytes
    assert after["peak_rss_bytes"] == expected.inference_peak_bytes
    assert after["anonymous_bytes"] + after["file_bytes"] == after["rss_bytes"]
    assert after["pss_bytes"] is None
    assert after["reason"]
    assert "predicted" in after["method"]


async def test_nodes_add_up_to_the_latency(make_board: MakeBoard, make_start: MakeStart) -> None:
    session = await make_board().start_runner(make_start(purpose="nodes"))
    await session.request("open", {}, LIMIT_S)
    header = (await session.request("nodes", {"count": 50}, LIMIT_S)).header
    placement = from_json(header, Placement)
    samples = await infer(make_board(), make_start())
    assert [node.name for node in placement.nodes] == [f"conv_{index}" for index in range(10)]
    assert placement.nodes_per_provider == (("CPUExecutionProvider", 10),)
    total = sum(node.mean_s for node in placement.nodes)
    assert total == pytest.approx(statistics.median(samples) / 1e9, rel=0.15)


@pytest.mark.parametrize(
    ("change", "failure_kind", "outcome", "words"),
    [
        ({"opsets": (("", 99),)}, FailureKind.UNSUPPORTED_MODEL, Outcome.UNSUPPORTED, "opset 99"),
        ({"kernels": ()}, FailureKind.UNSUPPORTED_MODEL, Outcome.UNSUPPORTED, "nothing to predict from"),
        ({"weight_bytes": 3 << 30}, FailureKind.OUT_OF_MEMORY, Outcome.DEVICE_ERROR, "bytes of memory"),
        ({"activation_peak_bytes": 5 << 30}, FailureKind.OUT_OF_MEMORY, Outcome.DEVICE_ERROR, "memory"),
    ],
)
@pytest.mark.parametrize("purpose", ["latency", "parity"])
async def test_what_the_board_could_not_run_fails_at_open(
    make_board: MakeBoard,
    make_start: MakeStart,
    artifact: Artifact,
    purpose: str,
    change: dict[str, object],
    failure_kind: FailureKind,
    outcome: Outcome,
    words: str,
) -> None:
    wrong = dataclasses.replace(artifact, **change)  # type: ignore[arg-type]
    session = await make_board().start_runner(make_start(artifact=wrong, purpose=purpose))
    with pytest.raises(RunnerFailure) as caught:
        await session.request("open", {}, LIMIT_S)
    assert (caught.value.failure_kind, caught.value.outcome) == (failure_kind, outcome)
    assert words in caught.value.reason
    assert caught.value.reason.count(". ") == 0, "one sentence"


async def test_a_domain_of_its_own_is_not_held_against_the_standard_opset(
    make_board: MakeBoard, make_start: MakeStart, artifact: Artifact
) -> None:
    wide = dataclasses.replace(artifact, opsets=(("", 17), ("com.example", 400)))
    assert await infer(make_board(), make_start(artifact=wide), 3)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (RuntimeSettings(runtime="tflite"), "tflite"),
        (RuntimeSettings(providers=("CUDAExecutionProvider",)), "CUDAExecutionProvider"),
    ],
)
async def test_runtimes_and_providers_the_board_has_not_are_unsupported(
    make_board: MakeBoard, make_start: MakeStart, settings: RuntimeSettings, words: str
) -> None:
    session = await make_board().start_runner(make_start(settings=settings))
    with pytest.raises(RunnerFailure, match=words) as caught:
        await session.request("open", {}, LIMIT_S)
    assert caught.value.outcome is Outcome.UNSUPPORTED


async def test_the_runners_own_memory_limit_counts_too(make_board: MakeBoard, make_start: MakeStart) -> None:
    session = await make_board().start_runner(make_start(memory_bytes=50 << 20))
    with pytest.raises(RunnerFailure) as caught:
        await session.request("open", {}, LIMIT_S)
    assert caught.value.failure_kind is FailureKind.OUT_OF_MEMORY


async def test_job_time_beyond_the_limit_is_a_timeout(make_board: MakeBoard, make_start: MakeStart) -> None:
    board = make_board()
    session = await board.start_runner(make_start())
    await session.request("open", {}, LIMIT_S)
    before = board.clock.monotonic_ns()
    with pytest.raises(RunnerFailure) as caught:
        await session.request("infer", {"count": 100_000}, 3.0)
    assert (caught.value.outcome, caught.value.failure_kind) == (Outcome.TIMEOUT, FailureKind.DEADLINE)
    assert (board.clock.monotonic_ns() - before) / 1e9 == pytest.approx(3.0, abs=0.01)


@pytest.mark.parametrize(
    ("command", "arguments"),
    [("infer", {"count": 0}), ("infer", {}), ("dance", {}), ("nodes", {"count": "5"})],
)
async def test_wrong_requests_are_the_harnesss_fault(
    make_board: MakeBoard, make_start: MakeStart, command: str, arguments: dict[str, object]
) -> None:
    session = await make_board().start_runner(make_start())
    await session.request("open", {}, LIMIT_S)
    with pytest.raises(RunnerFailure) as caught:
        await session.request(command, arguments, LIMIT_S)
    assert caught.value.outcome is Outcome.HARNESS_ERROR


async def test_nothing_works_before_open(make_board: MakeBoard, make_start: MakeStart) -> None:
    session = await make_board().start_runner(make_start())
    for command in ("infer", "memory", "nodes"):
        with pytest.raises(RunnerFailure, match="no model has been opened"):
            await session.request(command, {"count": 1}, LIMIT_S)


@pytest.mark.parametrize(
    "settings",
    [RuntimeSettings(runtime="tensorrt"), RuntimeSettings(providers=("CUDAExecutionProvider",))],
    ids=["tensorrt", "CUDA"],
)
async def test_the_gpu_of_a_jetson_is_refused_with_the_reason(
    make_board: MakeBoard, make_start: MakeStart, settings: RuntimeSettings
) -> None:
    session = await make_board("jetson_orin_nano").start_runner(make_start(settings=settings))
    with pytest.raises(RunnerFailure, match="no figures exist for the Ampere GPU") as caught:
        await session.request("open", {}, LIMIT_S)
    assert caught.value.outcome is Outcome.UNSUPPORTED
