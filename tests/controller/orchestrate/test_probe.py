"""A simulated board, probed over the real wire."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from edgeloop.app import App
from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.experiment import SilentListener
from edgeloop.orchestrate.probe import PROBE_BENCHMARK, probe
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
