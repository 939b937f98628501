"""Comparisons on a simulated board, through the real agent and store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from edgeloop.app import App
from edgeloop.domain.comparison import ChangeVerdict, Comparison
from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.experiment import SilentListener
from edgeloop.orchestrate import compare as room
from edgeloop.orchestrate.compare import COMPARISON_BENCHMARK, compare
from edgeloop_protocol.types.run import Source
from edgeloop_protocol.types.trial import Benchmark, RuntimeSettings
from onnx import TensorProto, helper, numpy_helper

QUICK = replace(COMPARISON_BENCHMARK, steady_s_max=0.3)


class Notes(SilentListener):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


def network(path: Path, layers: int) -> str:
    rng = np.random.default_rng(1)
    nodes, weights, current = [], [], "x"
    for layer in range(layers):
        kernel = rng.standard_normal((16, 16, 3, 3)).astype(np.float32) / 12
        weights.append(numpy_helper.from_array(kernel, f"w{layer}"))
        nodes.append(helper.make_node("Conv", [current, f"w{layer}"], [f"c{layer}"], pads=[1, 1, 1, 1]))
        current = f"c{layer}"
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 16, 24, 24]) for n in ("x", current)]
    graph = helper.make_graph(nodes, "g", value[:1], value[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return str(path)


async def on_board(
    app: App, a: str, b: str, benchmark: Benchmark = QUICK, *, threads: int = 1, listener: Notes | None = None
) -> Comparison:
    devices = (DeviceSpec.parse("sim:nuc11"),)
    settings = RuntimeSettings(intra_op_threads=threads)
    (found,) = await compare(app, a, b, devices, benchmark, settings, listener or Notes())
    return found


async def test_a_slower_model_is_found_and_marked_as_predicted(tmp_path: Path) -> None:
    a, b = network(tmp_path / "a.onnx", 4), network(tmp_path / "b.onnx", 6)
    with App.open(tmp_path / "home") as app:
        found = await on_board(app, a, b)
        kept = app.records.comparisons()
    assert (found.error, found.verdict, found.source) == ("", ChangeVerdict.SLOWER, Source.SIMULATED)
    assert found.predicted
    assert found.basis
    assert found.round_count == 6
    p50 = found.ratios[0]
    assert p50.ratio.low is not None
    assert p50.ratio.low > 1.1
    assert p50.gain.value == pytest.approx(1 / (p50.ratio.value or 0.0))
    # A with itself came first, and both are kept as they are.
    assert [one.same for one in kept] == [True, False]
    assert replace(kept[1], duration_s=0.0) == replace(found, duration_s=0.0)


async def test_the_noise_is_measured_once_and_every_comparison_with_itself_adds_to_it(tmp_path: Path) -> None:
    a, notes = network(tmp_path / "a.onnx", 2), Notes()
    with App.open(tmp_path / "home") as app:
        first = await on_board(app, a, a, listener=notes)
        second = await on_board(app, a, a, QUICK)
        third = await on_board(app, a, a, QUICK)
        threads = await on_board(app, a, a, threads=2)
    assert "is compared with itself first" in " ".join(notes.said)
    floors = [one.floor for one in (first, second, third, threads)]
    assert all(floor is not None for floor in floors)
    counts = [floor.count for floor in floors if floor]
    assert [floor.measured_now for floor in floors if floor] == [True, False, False, True]
    # Other threads are another noise.
    assert counts == [1, 2, 3, 1]
    assert any("measured first" in note for note in first.notes)
    ratios = [one.ratios[0].ratio for one in (first, second, third)]
    assert all(r.low is not None and r.high is not None and r.low < r.high for r in ratios)


async def test_an_open_answer_is_measured_once_more_and_the_second_counts(tmp_path: Path) -> None:
    a, notes = network(tmp_path / "a.onnx", 2), Notes()
    with App.open(tmp_path / "home") as app:
        # Three rounds leave a wide interval: some of these are open, and never more than one further is made.
        for seed in range(2):
            before = len(app.records.comparisons())
            found = await on_board(app, a, a, replace(QUICK, rounds=3, seed=seed), listener=notes)
            made = app.records.comparisons()[before:]
            floor = made[0].floor is None
            again = [note for note in found.notes if "Measured a second time" in note]
            open_first = made[int(floor)].verdict is ChangeVerdict.UNDECIDED
            assert len(made) == 1 + floor + open_first
            assert len(again) == open_first
            assert found.a_run_id == made[-1].a_run_id
    assert any("the first was undecided" in note for note in notes.said)


async def test_old_noise_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a = network(tmp_path / "a.onnx", 2)
    with App.open(tmp_path / "home") as app:
        await on_board(app, a, a)
        monkeypatch.setattr(room, "FLOOR_AGE_MAX_S", 0.0)
        again = await on_board(app, a, a)
        # Two attempts at the noise, and the comparison itself.
        assert len(app.records.comparisons()) == 2 + 3
    # With an age of nothing even the fresh one is too old: the verdict stays open and says why.
    assert again.floor is None
    assert again.verdict is ChangeVerdict.UNDECIDED


async def test_a_device_that_cannot_run_it_leaves_its_reason_and_no_record(tmp_path: Path) -> None:
    a = network(tmp_path / "a.onnx", 2)
    with App.open(tmp_path / "home") as app:
        devices = (DeviceSpec.parse("away=unix:/nonexistent/agent.sock"),)
        (found,) = await compare(app, a, a, devices, QUICK, RuntimeSettings(), SilentListener())
        assert app.records.comparisons() == ()
    assert found.error
    assert found.verdict is ChangeVerdict.UNDECIDED
