"""A board takes over a shared runtime, changes what it states, and says so in the provenance."""

from __future__ import annotations

from pathlib import Path

import edgeloop_profiles
import pytest
from edgeloop_profiles import load_profile
from edgeloop_profiles.inherit import SharedRuntime, expander
from edgeloop_profiles.profile import RuntimeModel
from edgeloop_profiles.schema import TreeReader, build

RUNTIMES = sorted((Path(edgeloop_profiles.__file__).parent / "runtimes").glob("*.toml"))


def tree(path: Path) -> object:
    tomllib = pytest.importorskip("tomllib")
    return tomllib.loads(path.read_text())


@pytest.mark.parametrize("path", RUNTIMES, ids=lambda path: path.stem)
def test_a_shared_runtime_is_whole_and_used(path: Path) -> None:
    runtime = build(SharedRuntime, tree(path), f"{path.name}: ")
    assert "unvalidated" in runtime.source
    assert {interval.precision for interval in runtime.intervals} == {"fp32", "fp16", "int8"}
    boards = RUNTIMES[0].parents[1] / "boards"
    assert any(f'like = "{path.stem}"' in board.read_text() for board in boards.glob("*.toml"))


def test_scaling_is_applied_and_stated() -> None:
    shared = build(SharedRuntime, tree(RUNTIMES[0].parent / "onnxruntime_neon.toml"), "")
    zero, pi4 = load_profile("raspberry_pi_zero_2w").runtimes[0], load_profile("raspberry_pi_4").runtimes[0]
    assert pi4.rates == shared.rates
    for before, after in zip(shared.rates, zero.rates, strict=True):
        factor = {"fp32": 0.65, "fp16": 0.65, "int8": 0.74}[before.precision]
        figure = "macs_per_cycle" if before.macs_per_cycle else "bytes_per_cycle"
        assert getattr(after, figure) == pytest.approx(factor * getattr(before, figure))
        assert f"{figure} times {factor:g}" in after.source
        assert after.source.startswith(before.source)
    assert zero.overheads.kernel_s == pytest.approx(3.3 * pi4.overheads.kernel_s)
    assert zero.loading.weight_bytes_per_s == pytest.approx(pi4.loading.weight_bytes_per_s / 3.3)
    assert zero.loading.first_inference_factor == pi4.loading.first_inference_factor
    assert zero.memory == pi4.memory


FIGURES = {"kind": "assumed", "source": "made for the test"}
SHARED = {
    **FIGURES,
    "name": "engine",
    "providers": ["CPU"],
    "overheads": {**FIGURES, "inference_s": 1.0, "kernel_s": 2.0, "split_s": 3.0},
    "loading": {
        **FIGURES,
        "fixed_s": 1.0,
        "kernel_s": 1.0,
        "weight_bytes_per_s": 1.0,
        "first_inference_factor": 1.0,
        "warmup_inferences": 1.0,
    },
    "memory": {
        **FIGURES,
        "baseline_bytes": 1,
        "session_bytes": 1,
        "weight_copies": 1.0,
        "load_weight_copies": 1.0,
        "interval_factor": 1.0,
    },
    "intervals": [{**FIGURES, "precision": "fp32", "factor": 2.0}],
    "rates": [{**FIGURES, "kernel_classes": ["conv"], "precision": "fp32", "macs_per_cycle": 4.0}],
}
OWN = {
    **FIGURES,
    "like": "engine_neon",
    "version": "1.0",
    "max_opset": 21,
    "threads": {**FIGURES, "speedup": [1.0]},
}


def read(own: dict[str, object], shared: dict[str, object] = SHARED) -> tuple[RuntimeModel, list[str]]:
    reader = TreeReader({RuntimeModel: expander(lambda name: shared, ("engine_neon",))})
    runtime = reader.table(RuntimeModel, own, "b.toml: runtimes[0]")
    return runtime, [problem.message for problem in reader.problems]


def test_what_the_board_states_goes_before_what_it_takes_over() -> None:
    own = {
        **OWN,
        "overheads": {**FIGURES, "inference_s": 9.0, "kernel_s": 9.0, "split_s": 9.0},
        "rates": [{**FIGURES, "kernel_classes": ["conv"], "precision": "fp32", "macs_per_cycle": 7.0}],
        "intervals": [{**FIGURES, "precision": "fp32", "factor": 3.0}],
        "scaled": {**FIGURES, "overhead_factor": 10.0},
    }
    runtime, problems = read(own)
    assert problems == []
    assert (runtime.name, runtime.version) == ("engine", "1.0")
    assert runtime.overheads.kernel_s == 9.0
    assert [rate.macs_per_cycle for rate in runtime.rates] == [7.0, 4.0]
    assert runtime.interval("fp32").factor == 3.0
    assert runtime.loading.fixed_s == 10.0


def test_a_problem_of_the_shared_file_names_that_file() -> None:
    _, problems = read(OWN, {**SHARED, "rates": [{**SHARED["rates"][0], "macs_per_cycle": -1.0}]})  # type: ignore[index]
    assert problems == [
        "engine_neon.toml: rates[0].macs_per_cycle: found float -1.0, allowed is a number above 0."
    ]
