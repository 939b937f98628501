"""Calibrates this machine on ten models, predicts others, only then measures them, and says how far off it was."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import statistics
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
from edgeloop.calibrate.fit import Fit, Observation, fit  # noqa: E402
from edgeloop.calibrate.matching import kernel_times  # noqa: E402
from edgeloop.calibrate.result import calibrated  # noqa: E402
from edgeloop.calibrate.start import starting_profile  # noqa: E402
from edgeloop.calibrate.suite import write_suite  # noqa: E402
from edgeloop.domain.device import DeviceSpec  # noqa: E402
from edgeloop.domain.experiment import SilentListener  # noqa: E402
from edgeloop.orchestrate.calibrate import (  # noqa: E402
    CALIBRATION_BENCHMARK,
    keep_model,
    measure_runs,
    observation_of,
)
from edgeloop.orchestrate.fleet import open_fleet  # noqa: E402
from edgeloop_foundation.errors import EdgeloopError  # noqa: E402
from edgeloop_profiles import load_profile  # noqa: E402
from edgeloop_profiles.predict import predict_latency  # noqa: E402
from edgeloop_profiles.profile import Profile  # noqa: E402
from edgeloop_profiles.writing import to_toml  # noqa: E402
from edgeloop_protocol.convert.json import from_json, to_json  # noqa: E402
from edgeloop_protocol.types.artifact import Kernel  # noqa: E402
from edgeloop_protocol.types.facts import Facts  # noqa: E402
from edgeloop_protocol.types.run import NodeTime, Run  # noqa: E402
from fidelity_metrics import HEADER, Figures, figures  # noqa: E402
from held_out_nets import HeldOut, held_out  # noqa: E402

BENCHMARK = dataclasses.replace(
    CALIBRATION_BENCHMARK, rounds=3, sample_count_min=15, warmup_s_max=0.3, steady_s_max=0.6
)
INCOMPLETE = 3
RUNTIME = "onnxruntime"


class Work:
    """What was measured so far, in one file that is replaced whole."""

    def __init__(self, directory: Path, turn_count: int) -> None:
        self.directory, self._turn_count = directory, turn_count
        self.path = directory / "observations.json"
        directory.mkdir(parents=True, exist_ok=True)
        self.kept: dict[str, Any] = json.loads(self.path.read_text()) if self.path.exists() else {}

    def turn_count(self, condition: str, role: str) -> int:
        """Return how often a role is measured: what a profile is transferred by is ten measurements and no more."""
        return 1 if role == "suite" and condition != "one" else self._turn_count

    def rows(self, condition: str, role: str, turn: int = 0) -> dict[str, Any]:
        """Return what was measured of a role in one turn, by name of the model."""
        key = f"{condition}/{role}" + (f"/{turn + 1}" if turn else "")
        rows: dict[str, Any] = self.kept.setdefault(key, {})
        return rows

    def turns(self, condition: str, role: str) -> dict[str, list[dict[str, Any]]]:
        """Return by name of the model what each turn measured, fastest first."""
        found: dict[str, list[dict[str, Any]]] = {}
        for turn in range(self.turn_count(condition, role)):
            for name, row in self.rows(condition, role, turn).items():
                if "latency_s" in row:
                    found.setdefault(name, []).append(row)
        return {name: sorted(rows, key=lambda row: row["latency_s"]) for name, rows in found.items()}

    def observations(self, condition: str, role: str) -> list[Observation]:
        """Return the turn with the median latency of each model; of two the faster."""
        found = self.turns(condition, role).values()
        return [as_observation(rows[(len(rows) - 1) // 2]) for rows in found]

    def repeated(self, condition: str) -> str:
        """Return how far single turns were from the median of them, in words."""
        errors = [
            abs(row["latency_s"] / statistics.median(one["latency_s"] for one in rows) - 1)
            for role in ("suite", "others")
            for rows in self.turns(condition, role).values()
            if len(rows) > 2
            for row in rows
        ]
        if not errors:
            return "measured once: how far this machine is from itself is not known"
        return (
            f"measured {self._turn_count} times: one turn is {statistics.mean(errors):.1%} from the median turn on "
            f"average, {max(errors):.0%} at most"
        )

    def save(self) -> None:
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(self.kept))
        new.replace(self.path)


def as_row(observation: Observation, family: str, run: Run) -> dict[str, Any]:
    """Return an observation with its nodes as they were measured, so that even their matching can be done anew."""
    nodes = run.placement.nodes if run.placement else ()
    row = dataclasses.asdict(observation) | {
        "family": family,
        "nodes": [dataclasses.asdict(n) for n in nodes],
    }
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
    agent = subprocess.Popen(
        [str(part) for part in (*command, "--name", "other")], stdout=subprocess.PIPE, text=True
    )
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
    turn: int,
    models: tuple[HeldOut, ...],
    threads: int,
    until: float,
) -> bool:
    """Measure what is missing of a turn of a role under a condition; return whether nothing is missing any more."""
    digests = await build_all(app, models, work)
    rows = work.rows(condition, role, turn)
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
        print(f"  {condition} {role}, turn {turn + 1}: {len(rows)} of {len(models)}", file=sys.stderr)
    return True


def fitted(work: Work, condition: str, start: Profile) -> tuple[Profile, Fit, list[Observation]]:
    """Fit the suite of a condition; write the profile and what it predicts for the others beside the observations."""
    suite = work.observations(condition, "suite")
    # A profile is named as its file.
    found = fit(dataclasses.replace(start, name=condition), RUNTIME, suite)
    facts = from_json(work.kept["facts"], Facts)
    profile = calibrated(
        found,
        suite,
        runtime=RUNTIME,
        runtime_version=work.kept[f"{condition}/runtime_version"],
        device_id=facts.device_id,
        date=time.strftime("%Y-%m-%d"),
    )
    text = to_toml(profile, f"Written by scripts/bench/calibration_fidelity; condition {condition}.")
    (work.directory / f"{condition}.toml").write_text(text)
    return profile, found, suite


def forecast(
    work: Work, condition: str, profile: Profile, models: Iterable[HeldOut], app: App, threads: int
) -> None:
    """Predict every other model from its kernel table alone, and keep what was said."""
    digests = work.kept["digests"]
    said = {}
    for model in models:
        if digests.get(model.name):
            kernels = app.artifacts.manifest(digests[model.name]).kernels
            found = predict_latency(profile, kernels, threads=threads, runtime=RUNTIME)
            said[model.name] = {
                "point_s": found.point_s,
                "factor": found.interval_factor,
                "basis": found.basis,
            }
    (work.directory / f"{condition}-predicted.json").write_text(json.dumps(said))


def judged(work: Work, condition: str, what: str) -> Figures:
    said = json.loads((work.directory / f"{condition}-predicted.json").read_text())
    rows = [entry for entry in work.observations(condition, "others") if entry.model in said]
    print(f"\n{what}; {work.repeated(condition)}")
    for entry in rows:
        found = said[entry.model]
        print(
            f"  {entry.model:28} measured {entry.latency_s * 1e3:8.3f} ms, predicted {found['point_s'] * 1e3:8.3f} ms "
            f"{found['point_s'] / entry.latency_s - 1:+6.1%} x/\N{DIVISION SIGN} {found['factor']:.2f} {found['basis']}"
        )
    points = [said[entry.model]["point_s"] for entry in rows]
    measured = [entry.latency_s for entry in rows]
    return figures(what, points, measured, [said[entry.model]["factor"] for entry in rows])


def baselines(work: Work, condition: str, what: str) -> list[Figures]:
    """Return what a scalar on the multiply-accumulates, and the best constant, reach from the same suite."""
    suite, rows = work.observations(condition, "suite"), work.observations(condition, "others")
    rates = sorted(e.latency_s / _macs(e) for e in suite if _macs(e))
    constant = statistics.geometric_mean(e.latency_s for e in suite)
    measured = [entry.latency_s for entry in rows]
    return [
        figures(f"    {what}: MACs x scalar", [statistics.median(rates) * _macs(e) for e in rows], measured),
        figures(f"    {what}: best constant", [constant] * len(rows), measured),
    ]


def _macs(entry: Observation) -> int:
    return sum(kernel.macs for kernel in entry.kernels)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/calibration"))
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--other-onnxruntime", default="1.22.1")
    parser.add_argument("--build", action="store_true", help="only build what is to be measured")
    parser.add_argument("--refit", action="store_true", help="fit and predict anew from what was measured")
    options = parser.parse_args()
    if options.turns < 1:
        parser.error("--turns is 1 or more")
    work = Work(options.work, options.turns)
    models = roles(work)
    with App.open(options.work / "home") as app:
        for some in models.values():
            asyncio.run(build_all(app, some, work))
        app.drop_pool()
        if options.build:
            return 0
        return run(app, work, models, options)


def run(app: App, work: Work, models: dict[str, tuple[HeldOut, ...]], options: argparse.Namespace) -> int:
    until = time.monotonic() + options.seconds
    start: Profile | None = None
    lines: list[tuple[Figures, float]] = []
    for condition, threads, most, what in (
        ("one", 1, 0.12, "calibrated, one thread"),
        ("all", os.cpu_count() or 1, 0.15, "transferred to all processors"),
        ("other", 1, 0.15, f"transferred to ONNX Runtime {options.other_onnxruntime}"),
    ):
        if not complete(app, work, "suite", condition, models, threads, until, options):
            return INCOMPLETE
        facts = from_json(work.kept["facts"], Facts)
        said = work.directory / f"{condition}-predicted.json"
        if options.refit or not said.exists():
            profile, _, _ = fitted(work, condition, start or starting_profile(facts, condition))
            forecast(work, condition, profile, models["others"], app, threads)
            if options.refit and work.rows(condition, "others"):
                print(f"{what}: fitted anew after the others were measured")
        start = start or load_profile(work.directory / "one.toml")
        if not complete(app, work, "others", condition, models, threads, until, options):
            return INCOMPLETE
        lines.append((judged(work, condition, what), most))
    print(f"\n{HEADER}")
    for (line, _), condition in zip(lines, ("one", "all", "other"), strict=True):
        print(line.line())
        for other in baselines(work, condition, condition):
            print(other.line())
    print()
    for line, most in lines:
        print(
            f"{'reached' if line.mape <= most else 'MISSED '} {line.what}: MAPE {line.mape:.1%}, aim {most:.0%}"
        )
    return int(any(line.mape > most for line, most in lines))


def complete(
    app: App,
    work: Work,
    role: str,
    condition: str,
    models: dict[str, tuple[HeldOut, ...]],
    threads: int,
    until: float,
    options: argparse.Namespace,
) -> bool:
    """Measure what is missing of a role with the agent of the condition; return whether nothing is missing."""
    wanted = [m for m in models[role] if work.kept["digests"].get(m.name)]
    missing = [
        turn
        for turn in range(work.turn_count(condition, role))
        if any(model.name not in work.rows(condition, role, turn) for model in wanted)
    ]

    async def go(spec: DeviceSpec) -> bool:
        for turn in missing:
            if not await measure(
                app,
                work,
                spec,
                condition=condition,
                role=role,
                turn=turn,
                models=models[role],
                threads=threads,
                until=until,
            ):
                return False
        return True

    if not missing:
        return True
    if condition != "other":
        return asyncio.run(go(DeviceSpec.parse("local")))
    python = other_environment(options.work / "other", options.other_onnxruntime)
    with agent_of(python, options.work / "agent") as spec:
        return asyncio.run(go(spec))


if __name__ == "__main__":
    sys.exit(main())
