"""The public client against a serving process, unmodified, in an environment of its own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from pathlib import Path

import pytest
from edgeloop_protocol.types.serving import ServingSpec

from scripts.bench.serving_slots import SlotBoard, linear
from tests.device_agent.serving.conftest import serving

ROOT = Path(__file__).resolve().parents[3]
PYTHON = Path(os.environ.get("EDGELOOP_TRITON_PYTHON", ROOT / ".cache/triton/bin/python"))


@pytest.mark.skipif(
    not PYTHON.exists(),
    reason="no environment with tritonclient; scripts/bench/serving makes it in .cache/triton",
)
async def test_the_public_client_works_as_it_is(board: SlotBoard) -> None:
    board.install("demo", 1, linear(2.0))
    async with serving(board, ServingSpec(name="demo", message_bytes_max=4 << 20)) as (_, status):
        addresses = (status.spec.grpc_address, status.spec.http_address)
        command = [
            str(PYTHON),
            str(ROOT / "scripts/bench/triton_client.py"),
            "check",
            *addresses,
            "demo",
            "4",
        ]
        done = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, timeout=90, check=False
        )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) == {"grpc", "http"}
    for protocol, told in found.items():
        good = {key: told[key] for key in ("live", "ready", "other_ready", "doubled", "one_doubled", "after")}
        assert good == {**dict.fromkeys(good, True), "other_ready": False}, protocol
        assert told["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
        assert (told["server"], told["name"], told["id"]) == ("edgeloop", "demo", "seven")
    refused = {protocol: [told[key].partition(":")[0] for key in ("unknown", "shape", "output", "large")]
               for protocol, told in found.items()}  # fmt: skip
    assert refused == {
        "grpc": [
            "StatusCode.NOT_FOUND", "StatusCode.INVALID_ARGUMENT", "StatusCode.INVALID_ARGUMENT",
            "StatusCode.RESOURCE_EXHAUSTED",
        ],
        "http": ["404", "400", "400", "413"],
    }  # fmt: skip
