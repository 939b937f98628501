"""What the unit of the tier "systemd" costs: the real runner in it and as a plain child, in turns, where it stands.

``runner_cost.py --make DIR`` writes the artifact; ``runner_cost.py --state STATE --artifact DIR`` compares, as the
agent's own account and with the agent's own Python. Prints what scripts/bench/sandbox_cost prints; exit status 1 when
the median of the paired ratios is above 1.01.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import math
import os
import statistics
import struct
import sys
import time
from pathlib import Path

COUNT = 400


def make(directory: Path) -> None:
    """Write a chain of convolutions as an artifact with its manifest."""
    import numpy as np
    from edgeloop_protocol.convert import to_canonical_json
    from edgeloop_protocol.types.artifact import Artifact, FileEntry, TensorSpec

    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from scripts.bench.serving_slots import convolutions

    (directory / "model.onnx").write_bytes(convolutions(7).SerializeToString())
    import onnx

    value = onnx.load(directory / "model.onnx").graph.input[0]
    shape = tuple(axis.dim_value or 1 for axis in value.type.tensor_type.shape.dim)
    np.savez(directory / "golden.npz", **{f"input/{value.name}": np.ones((4, *shape[1:]), np.float32)})
    files = tuple(
        FileEntry(
            name=path.name,
            digest=hashlib.sha256(path.read_bytes()).hexdigest(),
            size_bytes=path.stat().st_size,
        )
        for path in sorted(directory.iterdir())
    )
    artifact = Artifact(
        format="onnx", label="convolutions", files=files, model_file="model.onnx", golden_file="golden.npz",
        source_digest=files[1].digest, inputs=(TensorSpec(name=value.name, dtype="float32", shape=shape),),
    )  # fmt: skip
    (directory / "manifest.json").write_bytes(to_canonical_json(artifact))


async def one(tier: str, state: Path, artifact: Path) -> tuple[float, float]:
    """Return the seconds until a runner has said how it is confined, and its median latency in ns."""
    from edgeloop_agent.frames import PREFIX, decode_header, decode_prefix, encode_frame
    from edgeloop_agent.isolation_policy import IsolationPolicy
    from edgeloop_agent.runner_places import RunnerPlaces
    from edgeloop_foundation.ports.process import SystemProcesses
    from edgeloop_protocol.convert import to_json
    from edgeloop_protocol.types.trial import RuntimeSettings

    policy = IsolationPolicy(tier=tier, minimum=tier)
    places = RunnerPlaces(SystemProcesses(), tier, state, emulated=False)
    argv = (
        *(
            sys.executable,
            "-I",
            "-m",
            "edgeloop_agent.runner",
            "--memory-bytes",
            str(4 << 30),
            "--cpu-s",
            "60",
        ),
        *("--parent-pid", str(os.getpid()), "--task-count", "64", *policy.arguments(artifact, state)),
    )
    # As for an agent: whether the unit can be had is known from the start.
    place = await places.choose(argv, Path("/tmp"), (artifact,))
    environment = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    began = time.monotonic()
    child = await place.processes.spawn(place.argv, environment, "/tmp")

    async def ask(command: str, **arguments: object) -> tuple[dict[str, object], bytes]:
        await child.write(encode_frame({"command": command, **arguments}))
        header_bytes, payload_bytes = decode_prefix(await child.read_exactly(PREFIX.size))
        header = decode_header(await child.read_exactly(header_bytes))
        assert header["ok"], header
        return header, await child.read_exactly(payload_bytes) if payload_bytes else b""

    try:
        said, _ = await ask("isolation")
        came_s = time.monotonic() - began
        isolation = said["isolation"]
        assert isinstance(isolation, dict)
        assert isolation["tier"] == tier, isolation
        settings = to_json(RuntimeSettings(intra_op_threads=1))
        await ask(
            "open",
            artifact_directory=str(artifact),
            manifest_name="manifest.json",
            settings=settings,
            batch_size=1,
        )
        await ask("infer", count=COUNT // 2)
        _, payload = await ask("infer", count=COUNT)
        return came_s, statistics.median(struct.unpack(f"<{len(payload) // 8}q", payload))
    finally:
        child.kill()
        await child.wait()


def show(name: str, logs: list[float]) -> float:
    """Print the median of ratios with its interval, and return it."""
    from edgeloop_foundation.statistics import quantile_interval

    interval = quantile_interval(sorted(logs), 0.5, 0.95)
    middle = math.exp(statistics.median(logs))
    ends = (
        "too few for an interval"
        if interval is None
        else ", ".join(f"{math.exp(end):.4f}" for end in interval)
    )
    print(f"{name}: {middle:.4f} [{ends}] (95 %, {len(logs)} sequences)")
    return middle


async def compare(state: Path, artifact: Path, sequences: int) -> bool:
    """Compare in the order ABBA."""
    ratios, floors = [], []
    came: dict[str, list[float]] = {"process": [], "systemd": []}
    for _ in range(sequences):
        row = []
        for tier in ("process", "systemd", "systemd", "process"):
            came_s, latency_ns = await one(tier, state, artifact)
            came[tier].append(came_s)
            row.append(latency_ns)
        ratios.append(math.log(row[1] * row[2] / row[0] / row[3]) / 2)
        floors.append(math.log(row[3] / row[0]))
    ratio = show("systemd/process", ratios)
    show("process/process", floors)
    for tier, times in came.items():
        middle, worst = statistics.median(times) * 1e3, max(times) * 1e3
        print(f"until it has said how it is confined, {tier}: {middle:.0f} ms (worst {worst:.0f})")
    return ratio <= 1.01


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--make", type=Path)
    parser.add_argument("--state", type=Path)
    parser.add_argument("--artifact", type=Path)
    parser.add_argument("--sequences", type=int, default=12)
    args = parser.parse_args()
    if args.make:
        make(args.make)
        return 0
    return 0 if asyncio.run(compare(args.state, args.artifact, args.sequences)) else 1


if __name__ == "__main__":
    sys.exit(main())
