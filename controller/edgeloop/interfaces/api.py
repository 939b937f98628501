"""The typed Python API: the verbs of the command line as methods that wait for their result.

>>> from edgeloop.interfaces.api import DeviceSpec, Edgeloop, ExperimentRequest
>>> request = ExperimentRequest(model="model.onnx", data="photos", devices=(DeviceSpec.parse("local"),))
>>> result = Edgeloop().run(request)  # doctest: +SKIP
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_foundation.errors import AlreadyExistsError
from edgeloop_protocol.types.artifact import Artifact, StateBinding
from edgeloop_protocol.types.trial import Benchmark, RuntimeSettings

from edgeloop.domain.candidate import Candidate
from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.experiment import (
    DeviceResult,
    ExperimentRequest,
    ExperimentResult,
    Listener,
    Plan,
    SilentListener,
)
from edgeloop.domain.recipe import PassSpec, Recipe

if TYPE_CHECKING:
    from edgeloop_protocol.types.facts import Facts

    from edgeloop.app import App
    from edgeloop.compress.analysis import Analysis
    from edgeloop.domain.divergence import Divergence
    from edgeloop.domain.probe import ProbedFacts
    from edgeloop.orchestrate.calibrate import Calibrated
    from edgeloop.orchestrate.devices import DoctorFinding
    from edgeloop.orchestrate.validate import GateResult

__all__ = [
    "Artifact",
    "Benchmark",
    "Candidate",
    "DeviceResult",
    "DeviceSpec",
    "Edgeloop",
    "ExperimentRequest",
    "ExperimentResult",
    "Listener",
    "PassSpec",
    "Plan",
    "Recipe",
    "RuntimeSettings",
    "SilentListener",
    "StateBinding",
]

_NO_BENCHMARK = Benchmark()
_NO_SETTINGS = RuntimeSettings()


class Edgeloop:
    """The verbs. Each call opens the stores, does its work and closes them again.

    Every method raises the subclasses of ``EdgeloopError`` that the orchestrate function of its name states.

    Args:
        state_directory: where records and artifacts are kept; None is ``$EDGELOOP_HOME`` or ``./.edgeloop``.
        listener: hears what happens; None is silence.
    """

    def __init__(self, state_directory: Path | None = None, listener: Listener | None = None) -> None:
        self._state_directory = state_directory
        self._listener: Listener = listener or SilentListener()

    def _open(self) -> App:
        from edgeloop.app import App

        return App.open(self._state_directory)

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

    def bench(
        self,
        model: str,
        devices: Sequence[DeviceSpec],
        benchmark: Benchmark = _NO_BENCHMARK,
        settings: RuntimeSettings = _NO_SETTINGS,
        *,
        data: str = "",
        state: Sequence[StateBinding] = (),
    ) -> tuple[DeviceResult, ...]:
        """Benchmark a model file or a kept artifact on every device."""
        from edgeloop.orchestrate.single import bench

        with self._open() as app:
            return asyncio.run(
                bench(app, model, devices, benchmark, settings, self._listener, data=data, state=tuple(state))
            )

    def parity(
        self,
        model: str,
        devices: Sequence[DeviceSpec],
        benchmark: Benchmark = _NO_BENCHMARK,
        settings: RuntimeSettings = _NO_SETTINGS,
        *,
        data: str = "",
        state: Sequence[StateBinding] = (),
    ) -> tuple[DeviceResult, ...]:
        """Check on every device that its outputs agree with those of the host."""
        from edgeloop.orchestrate.single import parity

        with self._open() as app:
            return asyncio.run(
                parity(
                    app, model, devices, benchmark, settings, self._listener, data=data, state=tuple(state)
                )
            )

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
        benchmark: Benchmark = _NO_BENCHMARK,
        settings: RuntimeSettings = _NO_SETTINGS,
        *,
        data: str = "",
    ) -> tuple[DeviceResult, ...]:
        """Measure two models interleaved on every device; the gains of ``b`` are paired with ``a``."""
        from edgeloop.orchestrate.single import compare

        with self._open() as app:
            return asyncio.run(compare(app, a, b, devices, benchmark, settings, self._listener, data=data))

    def analyze(self, model: str, *, data: str = "", state: Sequence[StateBinding] = ()) -> Analysis:
        """Describe a model and say which recipes are worth trying, and why."""
        from edgeloop.orchestrate.single import analyze

        with self._open() as app:
            return analyze(app, model, data, tuple(state))

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
            if directory.exists():
                raise AlreadyExistsError(
                    f"{directory} exists already.", next_step="Name another with --output."
                )
            shutil.copytree(app.artifacts.directory(whole), directory)
        for file in directory.iterdir():
            # The store's files are read-only because they never change; a copy belongs to the user.
            file.chmod(0o644)
        return whole, directory

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

    def calibrate(self, device: DeviceSpec, path: Path, base: str = "") -> Calibrated:
        """Measure a suite of models on a real device and write the profile that is fitted to it.

        Args:
            device: the device.
            path: ``.toml`` file to write; its stem names the profile.
            base: profile of a device of the same tier to start from; empty takes the nearest shipped one.
        """
        from edgeloop_profiles import load_profile

        from edgeloop.orchestrate.calibrate import calibrate

        start = load_profile(base) if base else None
        with self._open() as app:
            return asyncio.run(calibrate(app, device, path, self._listener, base=start))

    def doctor(
        self, devices: Sequence[DeviceSpec]
    ) -> tuple[tuple[DeviceSpec, tuple[DoctorFinding, ...]], ...]:
        """Look each device over and say what to do about what is wrong."""
        from edgeloop.orchestrate.devices import doctor

        with self._open() as app:
            return asyncio.run(doctor(app, devices))
