"""An API that records what it is asked and answers from memory, and a value of each kind to answer with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeloop.domain.candidate import CandidateState
from edgeloop.domain.comparison import ChangeVerdict, NoiseFloor, RatioEstimate
from edgeloop.domain.experiment import DataSummary, PlanStep, Skipped
from edgeloop.domain.model import ModelDescription
from edgeloop.domain.recipe import ORIGINAL
from edgeloop.domain.strategy import Decision, Evidence, Strategy
from edgeloop.domain.sweep import NO_SWEEP, SweepPlan
from edgeloop.interfaces.api import (
    Artifact,
    Benchmark,
    Candidate,
    Comparison,
    DeviceResult,
    DeviceSpec,
    Edgeloop,
    ExperimentRequest,
    ExperimentResult,
    PassSpec,
    Plan,
    Recipe,
    RuntimeSettings,
    StateBinding,
)
from edgeloop.orchestrate.devices import DoctorFinding
from edgeloop.orchestrate.push import Pushed
from edgeloop.orchestrate.records import Exported
from edgeloop_protocol.types.artifact import FileEntry
from edgeloop_protocol.types.facts import Facts
from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import Source, Verdict

DIGEST = "0123456789ab" + "c" * 52
QUANTIZED = Recipe(
    label="int8", passes=(PassSpec.of("quantize_static", encoding="U8S8", ratios=[0.5, "x", None]),)
)


def evidence(parity: Verdict = Verdict.PASSED) -> Evidence:
    return Evidence(
        candidate="original",
        original=True,
        artifact_digest=DIGEST,
        run_id="run-1",
        source=Source.SIMULATED,
        parity=parity,
        values=(("latency_p50", Estimate(value=0.0049, low=0.0048, high=0.005, confidence=0.95)),),
    )


def device_result(name: str = "pi", error: str = "", parity: Verdict = Verdict.PASSED) -> DeviceResult:
    spec = DeviceSpec.parse(f"{name}=sim:raspberry_pi_5")
    if error:
        return DeviceResult(device=spec, error=error)
    strategy = Strategy(
        device=name,
        device_id="d",
        decision=Decision.KEEP_ORIGINAL,
        candidate="original",
        reasons=("nothing is certainly faster [0.98 to 1.01]",),
        source=Source.SIMULATED,
        basis="transferred, unvalidated",
    )
    return DeviceResult(device=spec, evidence=(evidence(parity),), strategy=strategy)


def comparison(device: DeviceSpec, ratio: float, error: str = "") -> Comparison:
    """Return a comparison with an interval of 1 % around the ratio."""
    found = Comparison(device=device, a="a", b="b", a_digest=DIGEST, b_digest=DIGEST[::-1], error=error)
    if error:
        return found
    verdict = ChangeVerdict.SLOWER if ratio > 1.02 else ChangeVerdict.NO_CHANGE_SHOWN
    b_a = Estimate(value=ratio, low=ratio - 0.01, high=ratio + 0.01, confidence=0.95, sample_count=6)
    a_b = Estimate(
        value=1 / ratio, low=1 / (ratio + 0.01), high=1 / (ratio - 0.01), confidence=0.95, sample_count=6
    )
    p50 = RatioEstimate(
        quantity="latency_p50", ratio=b_a, gain=a_b, verdict=verdict, reason="B/A, it is said"
    )
    p90 = replace(
        p50, quantity="latency_p90", ratio=Estimate.absent("too few"), gain=Estimate.absent("too few")
    )
    floor = NoiseFloor(fraction=0.008, count=3, newest_age_s=600.0, oldest_age_s=86_400.0 * 3)
    return replace(
        found,
        source=Source.SIMULATED,
        basis="transferred, unvalidated",
        ratios=(p50, p90),
        floor=floor,
        round_count=6,
        notes=("a: its latency has two modes.",),
    )


def experiment(*devices: DeviceResult) -> ExperimentResult:
    devices = devices or (device_result(),)
    return ExperimentResult(
        experiment_id="e-1",
        created_wall_s=1.7e9,
        duration_s=3.0,
        edgeloop_version="0.1.0",
        request=ExperimentRequest(
            model="m.onnx", devices=tuple(d.device for d in devices), recipes=(QUANTIZED,)
        ),
        model=model(),
        data=DataSummary(
            name="none",
            digest="",
            evaluation_count=0,
            calibration_count=0,
            golden_count=1,
            labelled=False,
            task="",
            metric="",
        ),
        candidates=(candidate(ORIGINAL), candidate(QUANTIZED)),
        skipped=(Skipped(label="dynamic int8", reason="Conv has no dynamic kernel"),),
        devices=devices,
    )


def model() -> ModelDescription:
    return ModelDescription(
        name="m.onnx",
        format="onnx",
        digest=DIGEST,
        size_bytes=10,
        inputs=(),
        outputs=(),
        opsets=(("", 17),),
        ir_version=8,
        parameter_count=1,
        operator_counts=(("Relu", 2), ("Conv", 1)),
        precision="fp32",
        quantized=False,
    )


def candidate(recipe: Recipe) -> Candidate:
    return Candidate(
        label=recipe.label, recipe=recipe, state=CandidateState.BUILT, artifact_digest=DIGEST, size_bytes=7
    )


def artifact() -> Artifact:
    return Artifact(
        format="onnx",
        label="int8",
        files=(FileEntry(name="model.onnx", digest=DIGEST, size_bytes=5),),
        model_file="model.onnx",
        source_digest=DIGEST,
    )


class Recorder(Edgeloop):
    """Answers with ``devices`` and raises ``error`` first, if there is one."""

    def __init__(self, *devices: DeviceResult, error: BaseException | None = None) -> None:
        super().__init__()
        self.devices = devices or (device_result(),)
        self.error = error
        self.compared = 1.0
        self.calls: list[tuple[str, Any]] = []
        #: What a push answers.
        self.pushed: tuple[Pushed, ...] = ()

    def _hear(self, verb: str, *what: Any) -> None:
        self.calls.append((verb, what[0] if len(what) == 1 else what))
        if self.error is not None:
            raise self.error

    @property
    def heard(self) -> Any:
        return self.calls[-1][1]

    def run(self, request: ExperimentRequest) -> ExperimentResult:
        self._hear("run", request)
        return experiment(*self.devices)

    def export(self, experiment: str, format: str, to: str = "", *, samples: bool = False) -> Exported:
        self._hear("export", experiment, format, to, samples)
        return Exported(experiment_id="e1", place=to or "e1.csv", row_count=7)

    def import_published(
        self,
        path: Path,
        name: str,
        *,
        licence: str = "",
        url: str = "",
        columns: Mapping[str, str] | None = None,
    ) -> ExperimentResult:
        self._hear("import", path, name, licence, url, columns)
        return experiment(*self.devices)

    def plan(self, request: ExperimentRequest) -> Plan:
        self._hear("plan", request)
        return Plan(
            model=model(),
            recipes=(ORIGINAL, QUANTIZED),
            skipped=(),
            devices=("pi",),
            steps=(PlanStep(what="measure", expected_s=90.0),),
            benchmark=request.benchmark,
        )

    def select(self, experiment_id: str, require: Sequence[str] = (), prefer: str = "") -> ExperimentResult:
        self._hear("select", experiment_id, tuple(require), prefer)
        return experiment(*self.devices)

    def result(self, experiment_id: str = "latest") -> ExperimentResult:
        self._hear("result", experiment_id)
        return experiment(*self.devices)

    def compress(
        self,
        model: str,
        recipe: Recipe,
        *,
        data: str = "",
        state: Sequence[StateBinding] = (),
        seed: int = 0,
    ) -> Candidate:
        self._hear("compress", model, recipe, data, tuple(state), seed)
        return candidate(recipe)

    def bench(
        self,
        model: str,
        devices: Sequence[DeviceSpec],
        benchmark: Benchmark = Benchmark(),  # noqa: B008
        settings: RuntimeSettings = RuntimeSettings(),  # noqa: B008
        *,
        data: str = "",
        state: Sequence[StateBinding] = (),
        variants: Sequence[RuntimeSettings] = (),
        sweep: SweepPlan = NO_SWEEP,
    ) -> tuple[DeviceResult, ...]:
        self._hear("bench", model, tuple(devices), benchmark, settings, data, tuple(state))
        self.variants, self.sweep = tuple(variants), sweep
        return self.devices

    parity = bench

    def write_report(self, result: ExperimentResult, directory: Path) -> Path:
        self._hear("write_report", directory)
        return directory / "index.html"

    def validate(self, result: ExperimentResult, thresholds: Mapping[str, Any]) -> Any:
        self._hear("validate", dict(thresholds))
        return super().validate(result, thresholds)

    def report(self, result: ExperimentResult, format: str = "markdown") -> str:
        self._hear("report", format)
        return f"# {format}"

    def artifacts(self) -> tuple[tuple[str, Artifact], ...]:
        self._hear("artifacts", ())
        return ((DIGEST, artifact()),)

    def push_artifact(
        self,
        artifact: str,
        devices: Sequence[DeviceSpec],
        *,
        max_bytes: int | None = None,
        bytes_per_s: float | None = None,
    ) -> tuple[Pushed, ...]:
        self._hear("push_artifact", artifact, tuple(devices), max_bytes, bytes_per_s)
        return self.pushed

    def compare(
        self,
        a: str,
        b: str,
        devices: Sequence[DeviceSpec],
        benchmark: Benchmark | None = None,
        settings: RuntimeSettings = RuntimeSettings(),  # noqa: B008
        *,
        data: str = "",
    ) -> tuple[Comparison, ...]:
        self._hear("compare", a, b, tuple(devices), data, benchmark, settings)
        return tuple(comparison(device, self.compared) for device in devices)

    def facts(self, devices: Sequence[DeviceSpec]) -> tuple[tuple[DeviceSpec, Facts | None, str], ...]:
        self._hear("facts", tuple(devices))
        return tuple((spec, None, f"{spec.name} cannot be reached.") for spec in devices)

    def doctor(self, devices: Sequence[DeviceSpec]) -> Any:
        self._hear("doctor", tuple(devices))
        levels = ("ok", "warning") if len(devices) == 1 else ("error",)
        findings = tuple(DoctorFinding(level=level, what=f"a {level}", next_step="Act.") for level in levels)
        return tuple((spec, findings) for spec in devices)
