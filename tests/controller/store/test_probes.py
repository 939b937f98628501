"""Probes kept on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from edgeloop.domain.probe import ProbedFacts
from edgeloop.store.probes import ProbeStore
from edgeloop_foundation.errors import CorruptDataError
from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import Source


def answers(device_id: str, block: int) -> ProbedFacts:
    return ProbedFacts(
        device_id=device_id,
        device_name="desk",
        wall_time_s=1.0,
        source=Source.MEASURED,
        runtime_version="onnxruntime 1.31.1",
        experiment_id="probe-1",
        channel_block=block,
        block_reason="",
        channels=(),
        encodings=(),
        best_encoding="",
        encoding_reason="",
        int8_flags=(),
        fp16_gain=Estimate.absent("not asked"),
        threads=(),
        stream_bandwidth_bytes_per_s=Estimate.absent("not asked"),
        duration_s=1.0,
    )


def test_the_latest_probe_of_a_device_is_kept(tmp_path: Path) -> None:
    store = ProbeStore(tmp_path / "probes")
    assert store.get("../../etc/passwd") is None
    store.put(answers("../../etc/passwd", 4))
    store.put(answers("../../etc/passwd", 8))
    store.put(answers("other", 16))
    assert store.get("../../etc/passwd") == answers("../../etc/passwd", 8)
    assert {path.parent for path in tmp_path.rglob("*.json")} == {tmp_path / "probes"}


def test_a_device_is_found_by_the_name_it_had(tmp_path: Path) -> None:
    store = ProbeStore(tmp_path / "probes")
    assert store.named("desk") is None
    store.put(replace(answers("old", 4), wall_time_s=1.0))
    store.put(replace(answers("new", 16), wall_time_s=3.0))
    store.put(replace(answers("third", 8), wall_time_s=2.0))
    store.put(replace(answers("other", 32), wall_time_s=9.0, device_name="shelf"))
    assert store.named("desk") == replace(answers("new", 16), wall_time_s=3.0)


def test_a_changed_file_is_no_answer(tmp_path: Path) -> None:
    store = ProbeStore(tmp_path)
    store.put(answers("d", 4))
    next(tmp_path.glob("*.json")).write_text('{"device_id": 7}')
    with pytest.raises(CorruptDataError, match="holds no probe"):
        store.get("d")
    with pytest.raises(CorruptDataError, match="holds no probe"):
        store.named("desk")
