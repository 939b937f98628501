"""A whole experiment as it comes out of a real one: a machine, two simulated boards, one not reached."""

from __future__ import annotations

import hashlib

from edgeloop.domain.candidate import Candidate, CandidateState
from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.experiment import (
    DataSummary,
    DeviceResult,
    ExperimentRequest,
    ExperimentResult,
    Skipped,
)
from edgeloop.domain.model import ModelDescription
from edgeloop.domain.quality import Quality
from edgeloop.domain.recipe import PassSpec, Recipe
from edgeloop.domain.strategy import CheckResult, Decision, Evidence, Finding, Strategy
from edgeloop_protocol.types.artifact import TensorSpec
from edgeloop_protocol.types.facts import Facts, Hardware, OperatingSystem, RuntimeFacts
from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import (
    Outcome,
    Source,
    Verdict,
)

from tests.controller.report.factory_runs import (
    BOARDS,
    CREATED_WALL_S,
    EXPERIMENT_ID,
    KINDS,
    Kind,
    crashed,
    digest,
    estimate,
    raw_samples,
    run,
)

__all__ = ["CREATED_WALL_S", "EXPERIMENT_ID", "KINDS", "digest", "experiment", "raw_samples", "samples_of"]


def samples_of(result: ExperimentResult) -> dict[str, bytes]:
    """Return every samples blob by digest."""
    blobs = {}
    for device in result.devices:
        for record in device.runs:
            kind = next((k for k in KINDS if k.label == record.trial.label), None)
            if record.timing and record.timing.samples_digest and kind:
                data = raw_samples(device.device.address or device.device.name, kind).tobytes()
                blobs[hashlib.sha256(data).hexdigest()] = data
    return blobs


def quality(kind: Kind) -> Quality:
    drop = KINDS[0].quality - kind.quality
    return Quality(
        metric="accuracy",
        higher_is_better=True,
        value=Estimate(value=kind.quality, low=kind.quality - 0.004, high=min(1.0, kind.quality + 0.004)),
        baseline=Estimate(value=KINDS[0].quality, low=KINDS[0].quality - 0.004, high=0.9912),
        drop=Estimate(value=drop, low=drop - 0.0014, high=drop + 0.0016, confidence=0.95, sample_count=1842),
        mcnemar_p=0.61 if drop < 0.01 else 1.2e-9,
        agreement=1.0 - drop * 1.3,
        item_count=1842,
        group_count=1842,
    )


def candidate(kind: Kind) -> Candidate:
    return Candidate(
        label=kind.label,
        recipe=Recipe(label=kind.label, passes=kind.passes),
        state=CandidateState.BUILT,
        artifact_digest=digest(kind.label),
        size_bytes=kind.size_bytes,
        precision=kind.precision,
        build_s=None if kind.label == "original" else 3.4,
        quality=quality(kind),
        notes=("2 nodes kept in fp32: their inputs are not finite on calibration data",)
        if "U8S8" in kind.label
        else (),
    )


def exact(value: float) -> Estimate:
    return Estimate(value=value, low=value, high=value)


def evidence(device: str, kind: Kind) -> Evidence:
    record = run(device, kind)
    assert record.timing is not None
    assert record.timing.steady is not None
    assert record.memory is not None
    assert record.energy is not None
    steady = record.timing.steady
    spread = 0.012 if device == "this-machine" else 0.2
    values = (
        ("latency_p50", steady.p50),
        ("latency_p95", steady.p95),
        ("load_time", record.timing.warm_load_s),
        ("size", exact(float(kind.size_bytes))),
        ("memory", Estimate(value=float(record.memory.inference_peak_rss_bytes or 0))),
        ("energy", record.energy.gross_j),
        ("quality", quality(kind).value),
        ("quality_drop", quality(kind).drop),
    )
    gains = (
        ("latency_p50", estimate(kind.speed, spread, 5)),
        ("size", Estimate(value=KINDS[0].size_bytes / kind.size_bytes)),
    )
    return Evidence(
        candidate=kind.label,
        original=kind is KINDS[0],
        artifact_digest=digest(kind.label),
        run_id=record.run_id,
        source=record.source,
        outcome=record.outcome,
        parity=kind.parity,
        parity_reason="17 of 256 decisions differ." if kind.parity is Verdict.FAILED else "",
        values=values,
        gains=() if kind is KINDS[0] else gains,
    )


def findings(device: str, bound_s: float) -> tuple[Finding, ...]:
    found = []
    for kind in KINDS:
        latency = BOARDS[device] / kind.speed * 1.06
        checks = (
            CheckResult(
                constraint=f"latency_p95 < {bound_s * 1e3:g}ms",
                verdict=Verdict.PASSED if latency < bound_s else Verdict.FAILED,
                reason=f"latency_p95 is {latency * 1e3:.2f} ms.",
                violation=(latency - bound_s) / bound_s,
            ),
            CheckResult(
                constraint="accuracy_drop < 1%",
                verdict=Verdict.PASSED if kind.quality > 0.98 else Verdict.FAILED,
                reason=f"accuracy falls by {(KINDS[0].quality - kind.quality) * 100:.2f} points.",
                violation=0.0,
            ),
        )
        good = all(check.verdict is Verdict.PASSED for check in checks) and kind.parity is Verdict.PASSED
        standing = {"static int8 U8S8 per channel": "chosen", "dynamic int8": "runner-up"}.get(
            kind.label, "feasible"
        )
        found.append(
            Finding(
                candidate=kind.label,
                standing=standing if good else "infeasible",
                checks=checks,
                reason="" if good else "parity failed: 17 of 256 decisions differ.",
                on_front=good and kind.label != "optimised",
            )
        )
    found.append(
        Finding(candidate="pruned 50 %", standing="excluded", reason="The runner ended by signal 11.")
    )
    return tuple(found)


def strategy(device: str, bound_s: float) -> Strategy:
    simulated = device != "this-machine"
    common = {
        "device": device,
        "device_id": digest(device)[:32],
        "source": Source.SIMULATED if simulated else Source.MEASURED,
        "basis": "transferred, unvalidated" if simulated else "",
        "findings": findings(device, bound_s),
    }
    if device == "raspberry_pi_4":
        return Strategy(
            decision=Decision.NONE_FEASIBLE,
            nearest="static int8 U8S8 per channel",
            reasons=("No candidate has latency_p95 < 20 ms; the nearest, static int8 U8S8, has 25.9 ms.",),
            **common,
        )
    chosen = KINDS[3]
    return Strategy(
        decision=Decision.UNDECIDED if simulated else Decision.THIS_ONE,
        candidate=chosen.label,
        artifact_digest=digest(chosen.label),
        runner_up="dynamic int8",
        reasons=(
            "1.71 times faster than the original (95 % interval 1.69 to 1.73), and 3.6 times smaller.",
            "Accuracy falls by 0.12 points (-0.02 to 0.28), below the 1 % allowed.",
            *(("The figures are predicted from a data sheet; measure the board to decide.",) * simulated),
        ),
        **common,
    )


def facts(device: str) -> Facts:
    simulated = device != "this-machine"
    return Facts(
        device_id=digest(device)[:32],
        name=device,
        simulated=simulated,
        profile=device if simulated else "",
        profile_digest=digest(device) if simulated else "",
        hardware=Hardware(
            model={
                "raspberry_pi_5": "Raspberry Pi 5 Model B",
                "raspberry_pi_4": "Raspberry Pi 4 Model B",
            }.get(device, ""),
            architecture="aarch64" if simulated else "x86_64",
            cpu_model="Cortex-A76" if simulated else "Intel Core i7-1165G7",
            isa_flags=("asimddp",) if simulated else ("avx2", "avx512_vnni"),
            logical_cores=4,
            physical_cores=4,
            max_frequency_hz=2.4e9,
            memory_total_bytes=8 << 30,
        ),
        operating_system=OperatingSystem(
            name="Debian GNU/Linux 12", kernel="6.6.31", libc="glibc 2.36", python_version="3.11.2"
        ),
        runtimes=(RuntimeFacts(name="onnxruntime", version="1.23.2", providers=("CPUExecutionProvider",)),),
        boot_id=digest("boot" + device)[:32],
        agent_version="0.1.0",
    )


def device_result(device: str, bound_s: float = 0.02, name: str = "") -> DeviceResult:
    simulated = device != "this-machine"
    return DeviceResult(
        device=DeviceSpec(
            name=name or device,
            transport="simulated" if simulated else "local",
            address=device if simulated else "",
        ),
        facts=facts(device),
        runs=(*(run(device, kind, i) for i, kind in enumerate(KINDS)), crashed(device)),
        evidence=(
            *(evidence(device, kind) for kind in KINDS),
            Evidence(
                candidate="pruned 50 %",
                original=False,
                artifact_digest=digest("pruned 50 %"),
                run_id=crashed(device).run_id,
                source=crashed(device).source,
                outcome=Outcome.DEVICE_ERROR,
                exclusion="The runner ended by signal 11 while it loaded the model.",
            ),
        ),
        strategy=strategy(device, bound_s),
        sent_bytes=9_128_000,
        present_bytes=1_010_332,
        duration_s=71.2,
    )


def unreachable() -> DeviceResult:
    return DeviceResult(
        device=DeviceSpec(name="attic", transport="grpc", address="10.0.0.9:7443"),
        error="attic (10.0.0.9:7443) did not answer within 10 s.",
    )


def model() -> ModelDescription:
    return ModelDescription(
        name="standard_v3_3.onnx",
        format="onnx",
        digest=digest("model"),
        size_bytes=3_190_412,
        inputs=(TensorSpec(name="bytes", dtype="int32", shape=(-1, 2048)),),
        outputs=(TensorSpec(name="probabilities", dtype="float32", shape=(-1, 214)),),
        opsets=(("", 17),),
        ir_version=8,
        parameter_count=781_334,
        operator_counts=(("MatMul", 12), ("Add", 9), ("Gelu", 4), ("Conv", 3)),
        precision="fp32",
        quantized=False,
    )


def data() -> DataSummary:
    return DataSummary(
        name="python-files",
        digest=digest("data"),
        evaluation_count=1842,
        calibration_count=256,
        golden_count=256,
        labelled=True,
        task="classification",
        metric="accuracy",
    )


def experiment(
    experiment_id: str = EXPERIMENT_ID, created_wall_s: float = CREATED_WALL_S
) -> ExperimentResult:
    """Build the whole; equal calls give equal values."""
    pruned = Recipe(label="pruned 50 %", passes=(PassSpec.of("prune", ratio=0.5, layers=["a", "b"]),))
    return ExperimentResult(
        experiment_id=experiment_id,
        created_wall_s=created_wall_s,
        duration_s=243.8,
        edgeloop_version="0.1.0",
        request=ExperimentRequest(
            model="standard_v3_3.onnx",
            data="examples/python_files.py:items",
            devices=tuple(
                d.device
                for d in (
                    device_result("this-machine"),
                    device_result("raspberry_pi_5"),
                    device_result("raspberry_pi_4"),
                    unreachable(),
                )
            ),
            require=("latency_p95 < 20ms", "accuracy_drop < 1%"),
            prefer="latency_p50",
            seed=7,
            context=(("git", "4f1a9c2"),),
        ),
        model=model(),
        data=data(),
        candidates=(
            *(candidate(kind) for kind in KINDS),
            Candidate(
                label="pruned 50 %",
                recipe=pruned,
                state=CandidateState.BUILT,
                artifact_digest=digest("pruned 50 %"),
                size_bytes=1_700_000,
                precision="fp32",
            ),
            Candidate(
                label="static int8 S8S8 per tensor",
                recipe=Recipe(label="static int8 S8S8 per tensor", passes=(PassSpec.of("static_int8"),)),
                state=CandidateState.HOPELESS,
                reason="accuracy is 0.41, less than half of the original's 0.987.",
                artifact_digest=digest("S8S8"),
                size_bytes=871_204,
                precision="int8",
            ),
        ),
        skipped=(
            Skipped(
                label="dynamic int8 for Conv",
                reason="3 of 15 heavy nodes are Conv, which ONNX Runtime runs "
                "slower in dynamic int8 than in fp32.",
            ),
        ),
        devices=(
            device_result("this-machine"),
            device_result("raspberry_pi_5"),
            device_result("raspberry_pi_4"),
            unreachable(),
        ),
    )
