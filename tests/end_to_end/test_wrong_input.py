"""Every kind of wrong input: one clear sentence, the documented exit code, no trace."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from .conftest import Cli, Outcome, Tiny, two_layer_model

WRONG_USE, DEVICE = 2, 3


def assert_sentence(outcome: Outcome, code: int, *words: str) -> None:
    assert outcome.code == code, outcome
    assert "Traceback" not in outcome.err + outcome.out
    said = outcome.err.strip().splitlines()[-1]
    for word in words:
        assert word in outcome.err, outcome.err
    assert said.rstrip().endswith((".", "?")), said


def test_missing_model(cli: Cli, tiny: Tiny) -> None:
    assert_sentence(cli("run", "nowhere.onnx", "--on", "sim:raspberry_pi_5"), WRONG_USE, "nowhere.onnx")


def test_not_a_model(cli: Cli, tiny: Tiny, tmp_path: Path) -> None:
    path = tmp_path / "letter.onnx"
    path.write_text("Dear model,")
    assert_sentence(
        cli("run", path, "--on", "sim:raspberry_pi_5"), WRONG_USE, "letter.onnx", "not an ONNX model"
    )


def test_missing_data(cli: Cli, tiny: Tiny) -> None:
    outcome = cli("run", tiny.model, "--data", "nowhere.npz", "--on", "sim:raspberry_pi_5")
    assert_sentence(outcome, WRONG_USE, "nowhere.npz")


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": np.zeros((40, 15), np.float32), "labels": np.zeros(40, int)}, ("x", "15", "16")),
        ({"x": np.full((40, 16), "a"), "labels": np.zeros(40, int)}, ("x", "float32")),
        ({"x": np.full((40, 16), np.nan, np.float32), "labels": np.zeros(40, int)}, ("x",)),
        ({"x": np.zeros((40, 16), np.float32), "labels": np.full(40, np.nan)}, ("labels", "NaN")),
        ({"x": np.zeros((40, 16), np.float32), "labels": np.full(40, 9)}, ("9",)),
        ({"y": np.zeros((40, 17), np.float32), "z": np.zeros((40, 17), np.float32)}, ("x",)),
    ],
    ids=["shape", "dtype", "nan inputs", "nan labels", "label out of range", "names"],
)
def test_data_that_does_not_fit(
    cli: Cli, tiny: Tiny, tmp_path: Path, arrays: dict[str, np.ndarray], words: tuple[str, ...]
) -> None:
    np.savez(tmp_path / "data.npz", **arrays)
    outcome = cli("run", tiny.model, "--data", tmp_path / "data.npz", "--on", "sim:raspberry_pi_5")
    assert_sentence(outcome, WRONG_USE, *words)


def test_unknown_device(cli: Cli, tiny: Tiny) -> None:
    assert_sentence(cli("run", tiny.model, "--on", "toaster"), WRONG_USE, "toaster")
    assert_sentence(cli("run", tiny.model, "--on", "sim:toaster"), WRONG_USE, "toaster", "raspberry_pi_5")


def test_unreachable_device(cli: Cli, tiny: Tiny) -> None:
    assert_sentence(cli("run", tiny.model, "--on", "unix:/nonexistent/agent.sock"), DEVICE, "agent.sock")


@pytest.mark.parametrize(
    ("expression", "word"),
    [
        ("latency_p95 < -3ms", "latency_p95"),
        ("speed > 3", "speed"),
        ("size < 3 parsecs", "parsecs"),
        ("size", "size"),
    ],
)
def test_impossible_constraint(cli: Cli, tiny: Tiny, expression: str, word: str) -> None:
    outcome = cli("run", tiny.model, "--on", "sim:raspberry_pi_5", "--require", expression)
    assert_sentence(outcome, WRONG_USE, word)


def test_opset_too_new_for_the_device(cli: Cli, tiny: Tiny, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    model = two_layer_model(
        rng.standard_normal((16, 64), np.float32), rng.standard_normal((64, 4), np.float32), 99
    )
    onnx.save(model, tmp_path / "future.onnx")
    outcome = cli("run", tmp_path / "future.onnx", "--on", "sim:raspberry_pi_5")
    assert outcome.code in (WRONG_USE, DEVICE)
    assert "99" in outcome.err
    assert "Traceback" not in outcome.err


def test_a_device_without_room(cli: Cli, tiny: Tiny, tmp_path: Path) -> None:
    socket = tmp_path / "agent.sock"
    command = [sys.executable, "-m", "edgeloop_agent", "serve", "--state", str(tmp_path / "state")]
    command += ["--socket", str(socket), "--reserve-bytes", str(1 << 60)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as agent:
        try:
            assert agent.stdout is not None
            assert agent.stdout.readline().startswith("ready")
            outcome = cli("bench", tiny.model, "--data", tiny.data, "--on", f"unix:{socket}", "--as-deployed")
        finally:
            agent.terminate()
    assert outcome.code == DEVICE, outcome
    assert "no room" in outcome.out + outcome.err
    assert "Traceback" not in outcome.err


def test_unknown_experiment(cli: Cli) -> None:
    assert_sentence(cli("select", "nonsense"), WRONG_USE, "nonsense")
    assert_sentence(cli("report", "nonsense"), WRONG_USE, "nonsense")
