"""Calibrates this machine on ten models, predicts others, only then measures them, and says how far off it was."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from edgeloop.app import App  # noqa: E402
from edgeloop.calibrate.fit import Observation  # noqa: E402
from edgeloop.calibrate.suite import write_suite  # noqa: E402
from edgeloop.domain.device import DeviceSpec  # noqa: E402
from edgeloop.domain.experiment import SilentListener  # noqa: E402
from edgeloop.calibrate.matching import kernel_times  # noqa: E402
from edgeloop.orchestrate.calibrate import (  # noqa: E402
    CALIBRATION_BENCHMARK,
    keep_model,
    measure_runs,
    observation_of,
)
from edgeloop.orchestrate.fleet import open_fleet  # noqa: E402
from edgeloop_foundation.errors import EdgeloopError  # noqa: E402
from edgeloop_protocol.convert.json import to_json  # noqa: E402
from edgeloop_protocol.types.artifact import Kernel  # noqa: E402
from edgeloop_protocol.types.run import NodeTime, Run  # noqa: E402
from held_out_nets import HeldOut, held_out  # noqa: E402

BENCHMARK = dataclasses.replace(
    CALIBRATION_BENCHMARK, rounds=3, sample_count_min=15, warmup_s_max=0.3, steady_s_max=0.6
)
INCOMPLETE = 3


class Work:
    """What was measured so far, in one file that is replaced whole."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "observations.json"
        directory.mkdir(parents=True, exist_ok=True)
        self.kept: dict[str, Any] = json.loads(self.path.read_text()) if self.path.exists() else {}

    def rows(self, condition: str, role: str) -> dict[str, Any]:
        rows: dict[str, Any] = self.kept.setdefault(f"{condition}/{role}", {})
        return rows

    def observations(self, condition: str, role: str) -> list[Observation]:
        return [as_observation(row) for row in self.rows(condition, role).values() if "latency_s" in row]

    def save(self) -> None:
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(self.kept))
        new.replace(self.path)


def as_row(observation: Observation, family: str, run: Run) -> dict[str, Any]:
    """Return an observation with its nodes as they were measured, so that even their matching can be done anew."""
    nodes = run.placement.nodes if run.placement else ()
    row = dataclasses.asdict(observation) | {"family": family, "nodes": [dataclasses.asdict(n) for n in nodes]}
    del row["kernel_times_s"]
    return row


def as_observation(row: dict[str, Any]) -> Observation:
    kernels = tuple(Kernel(**kernel) for kernel in row["kernels"])
    times = kernel_times(kernels, [NodeTime(**node) for node in row["nodes"]], row["latency_s"])
    plain = {name: value for name, value in row.items() if name != "nodes"}
    return Observation(**plain | {"kernels": kernels, "kernel_times_s": times})


@contextmanager
def agent_of(python: Path, directory: Path) -> Iterator[DeviceSpec]:
    """Run the agent of another environment on a socket; yield how to reach it."""
    directory.mkdir(parents=True, exist_ok=True)
    socket = directory / "agent.sock"
    command = [python, "-m", "edgeloop_agent", "serve", "--state", directory / "state", "--socket", socket]
    agent = subprocess.Popen([str(part) for part in (*command, "--name", "other")], stdout=subprocess.PIPE, text=True)
    try:
        if agent.stdout is None or not agent.stdout.readline().startswith("ready "):
            raise SystemExit(f"the agent of {python} did not become ready")
        yield DeviceSpec.parse(f"other=unix:{socket.absolute()}")
    finally:
        agent.terminate()
        agent.wait()


def other_environment(directory: Path, version: str) -> Path:
    """Return the Python of an environment with the agent and another version of ONNX Runtime."""
    python = directory / "bin" / "python"
    done = directory / f".onnxruntime-{version}"
    if not done.exists():
        print(f"making {directory} with onnxruntime {version}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", directory], check=True)
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, "-e", f"{HERE.parents[1]}[agent]"], check=True)
        subprocess.run([*install, f"onnxruntime=={version}"], check=True)
        done.touch()
    return python


def roles(work: Work) -> dict[str, tuple[HeldOut, ...]]:
    """Return the models of both roles."""
    suite = tuple(
        HeldOut(name=model.name, family=model.name, path=model.path, recipe=model.recipe)
        for model in write_suite(work.directory / "suite")
    )
    return {"suite": suite, "others": tuple(held_out(work.directory / "nets"))}


async def build_all(app: App, models: Iterable[HeldOut], work: Work) -> dict[str, str]:
    """Build every model that is not built yet; return name -> digest of its artifact."""
    digests: dict[str, str] = work.kept.setdefault("digests", {})
    for model in models:
        if model.name not in digests:
            try:
                digests[model.name] = await keep_model(app, model.path, SilentListener(), model.recipe)
            except EdgeloopError as error:
                print(f"  left out: {model.name}: {error}", file=sys.stderr)
                digests[model.name] = ""
            work.save()
    return digests


async def measure(
    app: App,
    work: Work,
    spec: DeviceSpec,
    *,
    condition: str,
    role: str,
    models: tuple[HeldOut, ...],
    threads: int,
    until: float,
) -> bool:
    """Measure what is missing of a role under a condition; return whether nothing is missing any more."""
    digests = await build_all(app, models, work)
    rows = work.rows(condition, role)
    missing = [model for model in models if digests[model.name] and model.name not in rows]
    while missing:
        if time.monotonic() > until:
            return False
        some, missing = missing[:4], missing[4:]
        async with open_fleet(app, (spec,), BENCHMARK.seed) as fleet:
            ((_, device),) = fleet
            if isinstance(device, EdgeloopError):
                raise device
            asked = [(model.name, digests[model.name], threads) for model in some]
            found = await measure_runs(app, device, asked, BENCHMARK, SilentListener())
            version = next(r.version for r in device.facts.runtimes if r.name == "onnxruntime")
            work.kept[f"{condition}/runtime_version"] = version
            work.kept["facts"] = to_json(device.facts)
        for model, run in zip(some, found, strict=True):
            if isinstance(run, str):
                rows[model.name] = {"failed": run}
                print(f"  failed: {run}", file=sys.stderr)
                continue
            manifest = app.artifacts.manifest(digests[model.name])
            rows[model.name] = as_row(observation_of(model.name, threads, manifest, run), model.family, run)
        work.save()
        print(f"  {condition} {role}: {len(rows)} of {len(models)}", file=sys.stderr)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/calibration"))
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--other-onnxruntime", default="1.22.1")
    parser.add_argument("--build", action="store_true", help="only build what is to be measured")
    options = parser.parse_args()
    work = Work(options.work)
    models = roles(work)
    python = other_environment(options.work / "other", options.other_onnxruntime)
    cores = os.cpu_count() or 1
    until = time.monotonic() + options.seconds
    with App.open(options.work / "home") as app:
        if options.build:
            for some in models.values():
                asyncio.run(build_all(app, some, work))
            return 0
        app.drop_pool()
        for condition, threads in (("one", 1), ("all", cores), ("other", 1)):
            for role, some in models.items():
                fields = {"condition": condition, "role": role, "models": some, "threads": threads, "until": until}
                if condition == "other":
                    with agent_of(python, options.work / "agent") as spec:
                        done = asyncio.run(measure(app, work, spec, **fields))
                else:
                    done = asyncio.run(measure(app, work, DeviceSpec.parse("local"), **fields))
                if not done:
                    return INCOMPLETE
    return 0


if __name__ == "__main__":
    sys.exit(main())
