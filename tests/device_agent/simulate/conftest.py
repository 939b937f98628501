"""Small artifacts with a hand-made kernel table, and boards to run them on."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from edgeloop_agent.board import RunnerStart
from edgeloop_agent.simulate import SimulatedBoard
from edgeloop_foundation.ports.process import SystemProcesses
from edgeloop_profiles import Profile, load_profile
from edgeloop_protocol.types.artifact import Artifact, FileEntry, Kernel
from edgeloop_protocol.types.trial import RuntimeSettings

MakeBoard = Callable[..., SimulatedBoard]
MakeStart = Callable[..., RunnerStart]


def kernel(index: int) -> Kernel:
    return Kernel(
        name=f"conv_{index}",
        kernel_class="conv",
        op_type="Conv",
        precision="fp32",
        macs=30_000_000,
        input_bytes=400_000,
        weight_bytes=300_000,
        output_bytes=400_000,
        input_channels=64,
        output_channels=64,
        output_positions=56 * 56,
    )


@pytest.fixture(scope="session")
def artifact() -> Artifact:
    return Artifact(
        format="onnx",
        label="net",
        files=(FileEntry(name="model.onnx", digest="0" * 64, size_bytes=3_100_000),),
        model_file="model.onnx",
        source_digest="1" * 64,
        opsets=(("", 17),),
        kernels=tuple(kernel(index) for index in range(10)),
        activation_peak_bytes=800_000,
        weight_bytes=3_000_000,
    )


@pytest.fixture
def make_board(tmp_path: Path) -> MakeBoard:
    def make(profile: str | Profile = "raspberry_pi_4", seed: int = 1, name: str = "bench") -> SimulatedBoard:
        loaded = load_profile(profile) if isinstance(profile, str) else profile
        # Every board has a state directory of its own.
        state = Path(tempfile.mkdtemp(dir=tmp_path))
        return SimulatedBoard(loaded, seed, name, state, SystemProcesses())

    return make


@pytest.fixture
def make_start(tmp_path: Path, artifact: Artifact) -> MakeStart:
    def make(**changes: object) -> RunnerStart:
        start = RunnerStart(
            artifact_directory=tmp_path,
            artifact=artifact,
            settings=RuntimeSettings(intra_op_threads=4),
            batch_size=1,
            memory_bytes=0,
            cpu_s=60,
            seed=0,
            purpose="latency",
            drop_page_cache=False,
        )
        return dataclasses.replace(start, **changes)  # type: ignore[arg-type]

    return make
