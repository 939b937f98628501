"""A simulated board, probed over the real wire."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from edgeloop.app import App
from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.experiment import SilentListener
from edgeloop.domain.probe import ProbedFacts
from edgeloop.orchestrate.probe import PROBE_BENCHMARK, grid_of, probe, profile_block
from edgeloop_foundation.errors import InvalidInputError, NotFoundError
from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import Source

BENCHMARK = replace(PROBE_BENCHMARK, rounds=3, steady_s_max=0.3)


@pytest.mark.timeout(240)
def test_a_simulated_board_is_probed_and_says_predicted(tmp_path: Path) -> None:
    specs = [DeviceSpec.parse("pi=sim:raspberry_pi_4"), DeviceSpec.parse(f"gone=unix:{tmp_path}/no.sock")]
    with App.open(tmp_path / "home") as app:
        (pi, answers, _), (gone, nothing, reason) = asyncio.run(
            probe(app, specs, SilentListener(), BENCHMARK)
        )
        assert (pi.name, gone.name) == ("pi", "gone")
        assert nothing is None
        assert reason
        assert answers is not None
        assert answers.source is Source.SIMULATED
        assert [t.threads for t in answers.threads] == [2, 4]
        assert answers.threads[1].compute.value is not None
        assert answers.threads[1].compute.value > 1.2, "the profile's threads scale"
        assert app.probes.get(answers.device_id) == answers
        # Pruning goes by what this device showed, under its name.
        if answers.channel_block is None:
            with pytest.raises(InvalidInputError, match="the grid of pi is undecided"):
                grid_of(tmp_path / "home", "pi")
        else:
            assert grid_of(tmp_path / "home", "pi") == answers.channel_block


def probed(name: str, block: int | None) -> ProbedFacts:
    absent = Estimate.absent("not asked")
    return ProbedFacts(
        device_id=name,
        device_name=name,
        wall_time_s=1.0,
        source=Source.MEASURED,
        runtime_version="onnxruntime 1.31.1",
        experiment_id="probe-1",
        channel_block=block,
        block_reason="" if block else "two counts cost alike within their intervals.",
        channels=(),
        encodings=(),
        best_encoding="",
        encoding_reason="",
        int8_flags=(),
        fp16_gain=absent,
        threads=(),
        stream_bandwidth_bytes_per_s=absent,
        duration_s=1.0,
    )


def test_a_grid_is_a_probed_devices_own_or_a_profiles(tmp_path: Path) -> None:
    with App.open(tmp_path) as app:
        app.probes.put(probed("desk", 24))
        app.probes.put(probed("raspberry_pi_4", 48))
        app.probes.put(probed("noisy", None))
    assert grid_of(tmp_path, "desk") == 24
    assert grid_of(tmp_path, "raspberry_pi_4") == 48
    assert grid_of(tmp_path, "sim:raspberry_pi_4") == profile_block("raspberry_pi_4") != 48
    with pytest.raises(InvalidInputError, match="the grid of noisy is undecided: two counts"):
        grid_of(tmp_path, "noisy")
    with pytest.raises(
        NotFoundError, match=r"no device 'shelf' was probed, and there is no profile.*--probe --on shelf"
    ):
        grid_of(tmp_path, "shelf")
