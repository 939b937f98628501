"""What the unit of the tier "systemd" costs: the real runner in it and as a plain child, in turns, where it stands.

``runner_cost.py --make DIR`` writes the artifact; ``runner_cost.py --state STATE --artifact DIR`` compares, as the
agent's own account and with the agent's own Python. Prints what scripts/bench/sandbox_cost prints, and how long it
takes until a runner has said how it is confined: with a unit that stands ready, as within a job, and without one. Exit
status 1 when the median of the paired ratios is above 1.01, or the median of the paired differences of those times,
with a unit that stands ready, above 10 ms.
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
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeloop_agent.runner_places import RunnerPlaces

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


async def one(
    places: RunnerPlaces, tier: str, state: Path, artifact: Path, *, spare: bool = True
) -> tuple[float, float]:
    """Return the seconds until a runner has said how it is confined, and its median latency in ns.

    Afterwards a unit stands ready for the next one, unless none is wanted.
    """
    from edgeloop_agent.frames import PREFIX, decode_header, decode_prefix, encode_frame
    from edgeloop_agent.isolation_policy import IsolationPolicy
    from edgeloop_protocol.convert import to_json
    from edgeloop_protocol.types.trial import RuntimeSettings

    policy = IsolationPolicy(tier=tier, minimum=tier)
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
        if spare:
            # As an agent does while it warms up.
            await places.keep_spare()
        _, payload = await ask("infer", count=COUNT)
        return came_s, statistics.median(struct.unpack(f"<{len(payload) // 8}q", payload))
    finally:
        child.kill()
        await child.wait()


def spread(values: list[float], digits: int, scale: Callable[[float], float] = float) -> str:
    """Return the median with its interval, both through a function that rises."""
    from edgeloop_foundation.statistics import quantile_interval

    ends = quantile_interval(sorted(values), 0.5, 0.95)
    interval = (
        "too few for an interval" if ends is None else ", ".join(f"{scale(end):.{digits}f}" for end in ends)
    )
    return f"{scale(statistics.median(values)):.{digits}f} [{interval}] (95 %, {len(values)} sequences)"


def show(name: str, logs: list[float]) -> float:
    """Print the median of ratios with its interval, and return it."""
    print(f"{name}: {spread(logs, 4, math.exp)}")
    return math.exp(statistics.median(logs))


async def compare(state: Path, artifact: Path, sequences: int) -> bool:
    """Compare in the order ABBA."""
    from edgeloop_agent.runner_places import RunnerPlaces
    from edgeloop_foundation.ports.process import SystemProcesses

    places = {
        tier: RunnerPlaces(SystemProcesses(), tier, state, emulated=False) for tier in ("process", "systemd")
    }
    ratios, floors, later, alone = [], [], [], []
    came: dict[str, list[float]] = {tier: [] for tier in places}
    for _ in range(sequences):
        times, latencies = [], []
        for tier, spare in (("process", True), ("systemd", True), ("systemd", False), ("process", True)):
            came_s, latency_ns = await one(places[tier], tier, state, artifact, spare=spare)
            came[tier].append(came_s)
            times.append(came_s)
            latencies.append(latency_ns)
        ratios.append(math.log(latencies[1] * latencies[2] / latencies[0] / latencies[3]) / 2)
        floors.append(math.log(latencies[3] / latencies[0]))
        later.append((times[1] + times[2] - times[0] - times[3]) / 2 * 1e3)
        alone.append((await one(places["systemd"], "systemd", state, artifact))[0])
    ratio = show("systemd/process", ratios)
    show("process/process", floors)
    for name, seconds in (*came.items(), ("systemd where no unit stood ready", alone)):
        middle, worst = statistics.median(seconds) * 1e3, max(seconds) * 1e3
        print(f"until it has said how it is confined, {name}: {middle:.0f} ms (worst {worst:.0f})")
    print(f"later than a plain process, in pairs, ms: {spread(later, 1)}")
    return ratio <= 1.01 and statistics.median(later) <= 10.0


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
