"""The typed Python API: the verbs of the command line as methods that wait for their result.

>>> from edgeloop.interfaces.api import DeviceSpec, Edgeloop, ExperimentRequest
>>> request = ExperimentRequest(model="model.onnx", data="photos", devices=(DeviceSpec.parse("local"),))
>>> result = Edgeloop().run(request)  # doctest: +SKIP
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_foundation.errors import NotFoundError
from edgeloop_protocol.types.artifact import Artifact, StateBinding
from edgeloop_protocol.types.trial import Benchmark, RuntimeSettings

from edgeloop.domain.candidate import Candidate
from edgeloop.domain.comparison import Comparison
from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.experiment import (
    DeviceResult,
    ExperimentRequest,
    ExperimentResult,
    Listener,
    Plan,
    SilentListener,
)
from edgeloop.domain.latency import LatencyAssessment
from edgeloop.domain.recipe import PassSpec, Recipe
from edgeloop.domain.sweep import NO_SWEEP, SweepPlan
from edgeloop.domain.turn import ORDINARY_TURN, Turn
from edgeloop.interfaces.beside_loop import works_beside_a_loop

if TYPE_CHECKING:
    from edgeloop_protocol.types.facts import Facts
    from edgeloop_protocol.types.lease import Availability, CoolDown
    from edgeloop_protocol.types.quarantine import QuarantinedArtifact

    from edgeloop.app import App
    from edgeloop.compress.analysis import Analysis
    from edgeloop.domain.divergence import Divergence
    from edgeloop.domain.judgement import Judgement
    from edgeloop.domain.ladder import Climb, Ladder
    from edgeloop.domain.prediction import BoardPrediction
    from edgeloop.domain.probe import ProbedFacts
    from edgeloop.interfaces.shipping import Shipping
    from edgeloop.orchestrate.calibrate import Calibrated
    from edgeloop.orchestrate.devices import DoctorFinding, Standing
    from edgeloop.orchestrate.energy import AlignedRun
    from edgeloop.orchestrate.identity import Kept
    from edgeloop.orchestrate.push import Pushed
    from edgeloop.orchestrate.records import Exported
    from edgeloop.orchestrate.simulated_fleet import FleetRequest, FleetStatus, StartedFleet
    from edgeloop.orchestrate.validate import GateResult

__all__ = [
    "Artifact",
    "Benchmark",
    "Candidate",
    "Comparison",
    "DeviceResult",
    "DeviceSpec",
    "Edgeloop",
    "ExperimentRequest",
    "ExperimentResult",
    "LatencyAssessment",
    "Listener",
    "PassSpec",
    "Plan",
    "Recipe",
    "RuntimeSettings",
    "SilentListener",
    "StateBinding",
    "SweepPlan",
    "Turn",
]

_NO_BENCHMARK = Benchmark(series="nominal")
"""Measures no device that is not fit; ``Benchmark()`` itself takes it as it is."""
_NO_SETTINGS = RuntimeSettings()


@works_beside_a_loop
class Edgeloop:
    """The verbs. Each call opens the stores, does its work and closes them again.

    Every method raises the subclasses of ``EdgeloopError`` that the orchestrate function of its name states.

    Args:
        state_directory: where records and artifacts are kept; None is ``$EDGELOOP_HOME`` or ``./.edgeloop``.
        listener: hears what happens; None is silence.
        turn: how to queue for busy devices; None leaves it to each verb.
    """

    def __init__(
        self,
        state_directory: Path | None = None,
        listener: Listener | None = None,
        *,
        turn: Turn | None = None,
    ) -> None:
        self._state_directory = state_directory
        self._listener: Listener = listener or SilentListener()
        self._turn = turn or ORDINARY_TURN

    def with_turn(self, turn: Turn) -> Edgeloop:
        """Return the same verbs with another place in the queues of devices."""
        other = copy.copy(self)
        other._turn = turn
        return other

    def _open(self) -> App:
        from edgeloop.app import App

        app = App.open(self._state_directory)
        app.turn = self._turn
        return app

    @property
    def shipping(self) -> Shipping:
        """Releases, deployments, rollouts and parity certificates."""
        from edgeloop.interfaces.shipping import Shipping

        return Shipping(self._open, self._listener)

    def run(self, request: ExperimentRequest) -> ExperimentResult:
        """Compress, measure on every device, prove parity there and choose a strategy per device."""
        from edgeloop.orchestrate.experiment import run_experiment

        with self._open() as app:
            return asyncio.run(run_experiment(app, request, self._listener))

    def plan(self, request: ExperimentRequest) -> Plan:
        """Say what ``run`` would do and how long it is expected to take."""
        from edgeloop.orchestrate.experiment import plan_experiment

        with self._open() as app:
            return asyncio.run(plan_experiment(app, request, self._listener))

    def select(self, experiment: str, require: Sequence[str] = (), prefer: str = "") -> ExperimentResult:
        """Decide again from the records of an experiment ("latest" or its id), without measuring."""
        from edgeloop.orchestrate.experiment import reselect

        with self._open() as app:
            return reselect(app, experiment, require, prefer)

    def result(self, experiment: str = "latest") -> ExperimentResult:
        """Return a recorded experiment."""
        with self._open() as app:
            return app.records.result(experiment)

    def compress(
        self,
        model: str,
        recipe: Recipe,
        *,
        data: str = "",
        state: Sequence[StateBinding] = (),
        seed: int = 0,
    ) -> Candidate:
        """Build one candidate and judge it on the host; its artifact is kept."""
        from edgeloop.orchestrate.single import compress

        with self._open() as app:
            return asyncio.run(
                compress(app, model, data, recipe, self._listener, state=tuple(state), seed=seed)
            )

    def evaluate(
        self,
        model: str,
        *,
        data: str,
        against: str = "",
        metric: str = "",
        state: Sequence[StateBinding] = (),
        seed: int = 0,
    ) -> Judgement:
        """Judge a model file or a kept artifact on labelled data, beside another one where it is named."""
        from edgeloop.orchestrate.evaluate import EvaluationRequest, evaluate

        request = EvaluationRequest(
            model=model, data=data, against=against, metric=metric, state=tuple(state), seed=seed
        )
        with self._open() as app:
            return asyncio.run(evaluate(app, request, self._listener))

    def ladder(
        self,
        model: str,
        ladder: Ladder,
        *,
        data: str,
        keep: float = 0.99,
        limit_s: float | None = None,
        state: Sequence[StateBinding] = (),
        seed: int = 0,
    ) -> Climb:
        """Build stage on stage as long as the lower 95 % bound of the kept quality stays at ``keep`` or above."""
        from edgeloop.orchestrate.ladder import ClimbRequest, climb

        request = ClimbRequest(
            model=model, data=data, ladder=ladder, keep=keep, limit_s=limit_s, state=tuple(state), seed=seed
        )
        with self._open() as app:
            return asyncio.run(climb(app, request, self._listener))

    def bench(
        self,
        model: str,
        devices: Sequence[DeviceSpec],
        benchmark: Benchmark = _NO_BENCHMARK,
        settings: RuntimeSettings = _NO_SETTINGS,
        *,
        data: str = "",
        state: Sequence[StateBinding] = (),
        variants: Sequence[RuntimeSettings] = (),
        sweep: SweepPlan = NO_SWEEP,
    ) -> tuple[DeviceResult, ...]:
        """Benchmark a model file or a kept artifact on every device, and at every point of a sweep."""
        from edgeloop.orchestrate.single import bench

        more: dict[str, Any] = {"data": data, "state": tuple(state), "variants": variants, "sweep": sweep}
        with self._open() as app:
            return asyncio.run(bench(app, model, devices, benchmark, settings, self._listener, **more))

    def predict(
        self,
        model: str,
        devices: Sequence[DeviceSpec],
        *,
        threads: Sequence[int] = (1,),
        batch_size: int = 1,
        runtime: str = "onnxruntime",
        runtime_version: str = "",
        data: str = "",
        state: Sequence[StateBinding] = (),
    ) -> tuple[BoardPrediction, ...]:
        """Predict a model's latency and memory on simulated boards from their profiles, without starting one."""
        from edgeloop.orchestrate.predict import predict

        how: dict[str, Any] = {"threads": tuple(threads), "batch_size": batch_size, "runtime": runtime}
        more: dict[str, Any] = {"runtime_version": runtime_version, "data": data, "state": tuple(state)}
        with self._open() as app:
            return asyncio.run(predict(app, model, devices, self._listener, **how, **more))

    def parity(
        self,
        model: str,
        devices: Sequence[DeviceSpec],
        benchmark: Benchmark = _NO_BENCHMARK,
        settings: RuntimeSettings = _NO_SETTINGS,
        *,
        data: str = "",
        state: Sequence[StateBinding] = (),
        variants: Sequence[RuntimeSettings] = (),
    ) -> tuple[DeviceResult, ...]:
        """Check on every device that its outputs agree with those of the host."""
        from edgeloop.orchestrate.single import parity

        more: dict[str, Any] = {"data": data, "state": tuple(state), "variants": variants}
        with self._open() as app:
            return asyncio.run(parity(app, model, devices, benchmark, settings, self._listener, **more))

    def explain_parity(
        self, results: Sequence[DeviceResult]
    ) -> tuple[tuple[DeviceSpec, Divergence | None, str], ...]:
        """Find where each failed parity of these results begins, node by node, on the device itself."""
        from edgeloop.orchestrate.divergence import explain_parity

        with self._open() as app:
            return asyncio.run(explain_parity(app, results, self._listener))

    def compare(
        self,
        a: str,
        b: str,
        devices: Sequence[DeviceSpec],
        benchmark: Benchmark | None = None,
        settings: RuntimeSettings = _NO_SETTINGS,
        *,
        data: str = "",
    ) -> tuple[Comparison, ...]:
        """Say whether ``b`` is slower than ``a`` on every device, beyond what the device does to one artifact.

        Without a benchmark the protocol of comparisons is used: many short rounds, interleaved.
        """
        from edgeloop.orchestrate.compare import COMPARISON_BENCHMARK, compare

        how = benchmark or COMPARISON_BENCHMARK
        with self._open() as app:
            return asyncio.run(compare(app, a, b, devices, how, settings, self._listener, data=data))

    def assess(self, run_id: str) -> LatencyAssessment:
        """Say what the raw latency samples of a recorded run tell: settled or not, intervals, modes, outliers."""
        from edgeloop.orchestrate.assess import assess_runs, samples_of

        with self._open() as app:
            run = app.records.run(run_id)
            if run.timing is None:
                raise NotFoundError(f"run {run_id} measured no latency.", next_step="Name another run.")
            return assess_runs((run,), samples_of(app, (run,)))[run_id]

    def analyze(
        self, model: str, *, data: str = "", state: Sequence[StateBinding] = (), sensitivity: bool = False
    ) -> Analysis:
        """Describe a model and say which recipes are worth trying, and why; what each weight alone does if asked."""
        from edgeloop.orchestrate.single import analyze

        with self._open() as app:
            return analyze(app, model, data, tuple(state), sensitivity=sensitivity)

    def validate(self, result: ExperimentResult, thresholds: Mapping[str, Any]) -> tuple[GateResult, ...]:
        """Hold a result against thresholds."""
        from edgeloop.orchestrate.validate import validate

        return validate(result, dict(thresholds))

    def report(self, result: ExperimentResult, format: str = "markdown") -> str:
        """Return a result as "html", "markdown", "json", "csv" or "junit"."""
        from edgeloop.report import render

        with self._open() as app:
            return render(result, format, app.records.samples)

    def write_report(self, result: ExperimentResult, directory: Path) -> Path:
        """Write the report's files and return the path of its page."""
        from edgeloop.report import write_report

        with self._open() as app:
            return write_report(result, directory, app.records.samples)

    def export(self, experiment: str, format: str, to: str = "", *, samples: bool = False) -> Exported:
        """Write every run, or every raw sample, of an experiment as "parquet", "csv" or to "mlflow"."""
        from edgeloop.orchestrate.records import export_records

        with self._open() as app:
            return export_records(app, experiment, format, to, samples=samples)

    def import_published(
        self,
        path: Path,
        name: str,
        *,
        licence: str = "",
        url: str = "",
        columns: Mapping[str, str] | None = None,
    ) -> ExperimentResult:
        """Append a table of published figures as third-party runs; they satisfy no gate."""
        from edgeloop.orchestrate.records import import_published

        with self._open() as app:
            return import_published(app, path, name, licence=licence, url=url, columns=columns)

    def artifacts(self) -> tuple[tuple[str, Artifact], ...]:
        """Return digest and manifest of every kept artifact, oldest first."""
        with self._open() as app:
            return tuple((digest, app.artifacts.manifest(digest)) for digest in app.artifacts.digests())

    def get_artifact(self, digest: str, directory: Path) -> tuple[str, Path]:
        """Copy the files of an artifact, named by its digest or the beginning of it, into a new directory.

        Raises:
            NotFoundError: no such artifact.
            AlreadyExistsError: the directory is there already.
        """
        with self._open() as app:
            whole = app.artifacts.find(digest)
            app.artifacts.copy_to(whole, directory)
        return whole, directory

    def package_artifact(
        self, digest: str, directory: Path, *, licence: str = "", preprocessing: Path | None = None
    ) -> tuple[str, Path]:
        """Write an artifact with its card, its golden pack and the lines that run it into a new directory.

        Raises:
            NotFoundError: no such artifact, or no such file.
            UnsupportedError: the artifact is not ONNX or has no golden pack.
            AlreadyExistsError: the directory is there already.
        """
        from edgeloop.orchestrate.package import package_artifact

        with self._open() as app:
            whole = package_artifact(app, digest, directory, licence=licence, preprocessing=preprocessing)
        return whole, directory

    def push_artifact(
        self,
        artifact: str,
        devices: Sequence[DeviceSpec],
        *,
        max_bytes: int | None = None,
        bytes_per_s: float | None = None,
    ) -> tuple[Pushed, ...]:
        """Bring a kept artifact to devices, within a budget of bytes and a rate for each.

        Raises:
            NotFoundError: no such artifact.
            InvalidInputError: a limit that cannot be.
        """
        from edgeloop.orchestrate.push import push_artifact
        from edgeloop.transport.client import PushLimits

        limits = PushLimits(max_bytes=max_bytes, bytes_per_s=bytes_per_s)
        with self._open() as app:
            return asyncio.run(push_artifact(app, artifact, devices, limits, self._listener))

    def align_energy(self, experiment_or_run: str, trace: Path) -> tuple[AlignedRun, ...]:
        """Align a meter's trace to runs by their load pulses and return energy per inference, or why there is none."""
        from edgeloop.orchestrate.energy import align_energy

        with self._open() as app:
            return align_energy(app, experiment_or_run, trace)

    def start_fleet(
        self, request: FleetRequest, *, detached: bool = False
    ) -> AbstractContextManager[StartedFleet]:
        """Start a fleet of simulated boards for the length of a ``with`` block, or for good when detached."""
        from edgeloop.orchestrate.simulated_fleet import start_fleet

        return start_fleet(self._home(), request, detached=detached)

    def stop_fleet(self, name: str) -> int:
        """End a fleet and return how many processes were ended."""
        from edgeloop.orchestrate.simulated_fleet import stop_fleet

        return stop_fleet(self._home(), name)

    def fleets(self) -> tuple[FleetStatus, ...]:
        """Return the fleets that were started and not ended, without asking their boards."""
        from edgeloop.orchestrate.simulated_fleet import fleet_names, fleet_status

        home = self._home()
        return tuple(asyncio.run(fleet_status(home, name, asking=False)) for name in fleet_names(home))

    def fleet_status(self, name: str) -> FleetStatus:
        """Ask every board of a fleet whether it serves, over the wire."""
        from edgeloop.orchestrate.simulated_fleet import fleet_status

        return asyncio.run(fleet_status(self._home(), name))

    def fleet_devices(self, word: str) -> tuple[DeviceSpec, ...]:
        """Return the boards that "fleet:NAME" or "fleet:NAME/BOARD, PATTERN, PROFILE or LABEL" stands for."""
        from edgeloop.orchestrate.simulated_fleet import select_boards

        return select_boards(self._home(), word)

    def _home(self) -> Path:
        from edgeloop.app import default_state_directory

        return self._state_directory or default_state_directory()

    def facts(self, devices: Sequence[DeviceSpec]) -> tuple[tuple[DeviceSpec, Facts | None, str], ...]:
        """Return each device with what it found out about itself, or with the reason why it did not answer."""
        from edgeloop.orchestrate.devices import facts

        with self._open() as app:
            return asyncio.run(facts(app, devices))

    def probe(self, devices: Sequence[DeviceSpec]) -> tuple[tuple[DeviceSpec, ProbedFacts | None, str], ...]:
        """Measure for about a minute what each device can do, or say why it could not be asked."""
        from edgeloop.orchestrate.probe import probe

        with self._open() as app:
            return asyncio.run(probe(app, devices, self._listener))

    def calibrate(
        self, device: DeviceSpec, path: Path, base: str = "", *, transfer: bool = False
    ) -> Calibrated:
        """Measure a suite of models on a real device and write the profile that is fitted to it.

        Args:
            device: the device.
            path: ``.toml`` file to write; its stem names the profile.
            base: profile of a device of the same tier to start from; empty takes the nearest shipped one.
            transfer: measure a few models only, because ``base`` was calibrated on a device like this one.
        """
        from edgeloop_profiles import load_profile

        from edgeloop.orchestrate.calibrate import calibrate

        start = load_profile(base) if base else None
        with self._open() as app:
            return asyncio.run(calibrate(app, device, path, self._listener, base=start, transfer=transfer))

    def doctor(
        self, devices: Sequence[DeviceSpec]
    ) -> tuple[tuple[DeviceSpec, tuple[DoctorFinding, ...]], ...]:
        """Look each device over and say what to do about what is wrong."""
        from edgeloop.orchestrate.devices import doctor

        with self._open() as app:
            return asyncio.run(doctor(app, devices))

    def standings(self, devices: Sequence[DeviceSpec]) -> tuple[Standing, ...]:
        """Ask every device at once whether it can be had: free, held, drained, or not there."""
        from edgeloop.orchestrate.devices import standings

        with self._open() as app:
            return asyncio.run(standings(app, devices))

    def drain(self, device: DeviceSpec, reason: str) -> Availability:
        """Take a device out of use; whoever holds it finishes."""
        from edgeloop.orchestrate.devices import drain

        with self._open() as app:
            return asyncio.run(drain(app, device, reason))

    def quarantine(self, device: DeviceSpec) -> tuple[QuarantinedArtifact, ...]:
        """Return the artifacts whose runners ended badly on a device, those that it opens no more first."""
        from edgeloop.orchestrate.devices import quarantine

        with self._open() as app:
            return asyncio.run(quarantine(app, device))

    def clear_quarantine(self, device: DeviceSpec, digest: str) -> tuple[str, ...]:
        """Let a device open artifacts again, named by the beginning of their digest or as "all"; return the digests."""
        from edgeloop.orchestrate.devices import clear_quarantine

        with self._open() as app:
            return asyncio.run(clear_quarantine(app, device, digest))

    def undrain(self, device: DeviceSpec) -> Availability:
        """Put a drained device back into use."""
        from edgeloop.orchestrate.devices import undrain

        with self._open() as app:
            return asyncio.run(undrain(app, device))

    def set_cool_down(self, device: DeviceSpec, rule: CoolDown | None) -> Availability:
        """Let a device rest so before each job, whoever submits it; None for no rest."""
        from edgeloop.orchestrate.devices import set_cool_down

        with self._open() as app:
            return asyncio.run(set_cool_down(app, device, rule))

    def availability(self, device: DeviceSpec) -> Availability:
        """Ask a device whether it gives out leases, and how it rests."""
        from edgeloop.orchestrate.devices import availability

        with self._open() as app:
            return asyncio.run(availability(app, device))

    def keep_identities(self, devices: Sequence[DeviceSpec], *, force: bool = False) -> tuple[Kept, ...]:
        """Give devices the newest trust list, and a new certificate when it is due or ``force`` says so."""
        from edgeloop.orchestrate.identity import keep_devices

        with self._open() as app:
            return asyncio.run(keep_devices(app, devices, force=force))
