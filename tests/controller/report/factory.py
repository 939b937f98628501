"""A whole experiment as it comes out of a real one: a machine, two simulated boards, one not reached."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass

import numpy as np
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
from edgeloop_protocol.summary import distribution
from edgeloop_protocol.types.artifact import TensorSpec
from edgeloop_protocol.types.facts import Facts, Hardware, OperatingSystem, RuntimeFacts
from edgeloop_protocol.types.measurement import Estimate, Reading
from edgeloop_protocol.types.run import (
    Block,
    Comparison,
    Conditions,
    DecisionParity,
    Energy,
    FailureKind,
    Isolation,
    Memory,
    NodeTime,
    Outcome,
    OutputParity,
    Parity,
    Placement,
    Run,
    Simulation,
    Source,
    SteadyState,
    StopReason,
    Timing,
    Verdict,
)
from edgeloop_protocol.types.trial import Benchmark, RuntimeSettings, Trial

CREATED_WALL_S = 1_760_000_000.0
EXPERIMENT_ID = "20251009-085320-4f1a"


@dataclass(frozen=True)
class Kind:
    """One candidate in the figures that everything else follows from."""

    label: str
    passes: tuple[PassSpec, ...]
    precision: str
    size_bytes: int
    speed: float
    quality: float
    parity: Verdict = Verdict.PASSED


KINDS = (
    Kind("original", (), "fp32", 3_190_412, 1.0, 0.9874),
    Kind("optimised", (PassSpec.of("optimize_graph", level="extended"),), "fp32", 3_171_020, 1.04, 0.9874),
    Kind(
        "dynamic int8",
        (PassSpec.of("dynamic_int8"),),
        "int8",
        1_010_332,
        1.22,
        0.9841,
    ),
    Kind(
        "static int8 U8S8 per channel",
        (PassSpec.of("static_int8", encoding="U8S8", per_channel=True, calibration="minmax"),),
        "int8",
        884_730,
        1.71,
        0.9862,
    ),
    Kind(
        "static int8 U8U8 per tensor",
        (PassSpec.of("static_int8", encoding="U8U8", per_channel=False, calibration="entropy"),),
        "int8",
        871_204,
        1.64,
        0.9433,
        Verdict.FAILED,
    ),
)

BOARDS = {"this-machine": 4.9e-3, "raspberry_pi_5": 14.2e-3, "raspberry_pi_4": 41.7e-3}


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def raw_samples(device: str, kind: Kind, count: int = 700) -> np.ndarray:
    """Nanoseconds with a tail, as devices have it; the same on every call."""
    seed = int(digest(device + kind.label)[:8], 16)
    generator = np.random.default_rng(seed)
    base = BOARDS[device] / kind.speed
    noise = generator.lognormal(0.0, 0.02, count) + generator.pareto(6.0, count) * 0.02
    return (base * noise * 1e9).astype("<i8")


def samples_of(result: ExperimentResult) -> dict[str, bytes]:
    """Return every samples blob by digest."""
    blobs = {}
    for device in result.devices:
        for run in device.runs:
            kind = next((k for k in KINDS if k.label == run.trial.label), None)
            if run.timing and run.timing.samples_digest and kind:
                data = raw_samples(device.device.address or device.device.name, kind).tobytes()
                blobs[hashlib.sha256(data).hexdigest()] = data
    return blobs


def estimate(value: float, spread: float = 0.01, count: int = 700) -> Estimate:
    width = abs(value) * spread
    return Estimate(value=value, low=value - width, high=value + width, confidence=0.95, sample_count=count)


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


def timing(device: str, kind: Kind) -> Timing:
    samples = raw_samples(device, kind)
    seconds = (samples / 1e9).tolist()
    size = len(seconds) // 5
    blocks = tuple(
        Block(
            round=r,
            position=(r + 1) % 3,
            sample_offset=r * size,
            sample_count=size,
            p50_s=float(np.median(seconds[r * size : (r + 1) * size])),
            warmup_count=24,
            load_s=0.031,
            first_inference_s=0.012,
            cold=r == 0,
        )
        for r in range(5)
    )
    return Timing(
        cold_load_s=Estimate(value=0.082, sample_count=1),
        warm_load_s=estimate(0.031, 0.1, 4),
        first_inference_s=estimate(0.012, 0.2, 5),
        steady=distribution(seconds, "s"),
        steady_state=SteadyState.REACHED,
        stop_reason=StopReason.INTERVAL_NARROW,
        blocks=blocks,
        samples_digest=hashlib.sha256(samples.tobytes()).hexdigest(),
        clock_disagreement=0.0004,
    )


def parity(kind: Kind) -> Parity:
    failed = kind.parity is Verdict.FAILED
    flips = 17 if failed else 0
    comparisons = []
    for against in ("host", "original"):
        wrong = failed and against == "original"
        comparisons.append(
            Comparison(
                against=against,
                tolerance_class=kind.precision,
                outputs=(
                    OutputParity(
                        name="probabilities",
                        max_absolute_error=0.41 if wrong else 3.1e-3,
                        max_relative_error=0.44 if wrong else 3.3e-3,
                        cosine_similarity=0.9312 if wrong else 0.999981,
                        within_tolerance=not wrong,
                        absolute_tolerance=0.02,
                        relative_tolerance=0.02,
                        digest=digest(kind.label + against),
                    ),
                ),
                decision=DecisionParity(
                    output="probabilities",
                    rule="argmax",
                    item_count=256,
                    flip_count=flips if wrong else 0,
                    flip_rate=Estimate(
                        value=flips / 256 if wrong else 0.0,
                        low=0.039 if wrong else 0.0,
                        high=0.104 if wrong else 0.0143,
                    ),
                    flip_rate_max=0.02,
                    margin_edges=(0.0, 0.1, 0.5, 1.0),
                    margin_counts=(11, 60, 185),
                    largest_flipped_margin=0.21 if wrong else None,
                ),
                verdict=Verdict.FAILED if wrong else Verdict.PASSED,
                reason="17 of 256 decisions differ, at most 2 % may."
                if wrong
                else "All 256 decisions agree.",
            )
        )
    return Parity(golden_digest=digest("golden"), item_count=256, comparisons=tuple(comparisons))


def placement(device: str, kind: Kind) -> Placement:
    operator = "QLinearConv" if kind.precision == "int8" else "Conv"
    share = BOARDS[device] / kind.speed / 24
    nodes = tuple(
        NodeTime(
            name=f"/encoder/block{i // 3}/{'gelu' if i % 3 == 2 else 'conv' + str(i % 3)}",
            op_type="Gelu" if i % 3 == 2 else operator,
            provider="CPUExecutionProvider",
            mean_s=share * (2.2 - i * 0.1) * (0.5 if i % 3 == 2 else 1.0),
        )
        for i in range(20)
    )
    return Placement(nodes=nodes, nodes_per_provider=(("CPUExecutionProvider", 20),))


def memory(kind: Kind, simulated: bool) -> Memory:
    base = 38 << 20
    peak = base + kind.size_bytes * 2 + (9 << 20)
    return Memory(
        baseline_rss_bytes=base,
        loaded_rss_bytes=base + kind.size_bytes,
        load_peak_rss_bytes=base + kind.size_bytes * 2,
        inference_peak_rss_bytes=peak,
        pss_bytes=None if simulated else peak - (4 << 20),
        method="predicted from the kernel table" if simulated else "VmHWM reset through clear_refs",
        reason="a simulated board has no proportional set size" if simulated else "",
    )


def energy(device: str, kind: Kind, simulated: bool) -> Energy:
    if not simulated:
        nothing = Estimate.absent("no energy sensor: /sys/class/powercap has no readable RAPL domain")
        return Energy(gross_j=nothing, above_idle_j=nothing, mean_power_w=nothing, idle_power_w=nothing)
    joule = BOARDS[device] / kind.speed * 6.1
    return Energy(
        gross_j=estimate(joule, 0.3),
        above_idle_j=estimate(joule * 0.55, 0.3),
        mean_power_w=estimate(6.1, 0.3),
        idle_power_w=estimate(2.7, 0.2),
        sensor="predicted",
        scope="board",
        rate_hz=None,
    )


def conditions(offset_s: float) -> Conditions:
    return Conditions(
        wall_time_s=CREATED_WALL_S + offset_s,
        monotonic_ns=int(offset_s * 1e9),
        clock_synchronised=True,
        load_average_1min=0.31,
        available_memory_bytes=5 << 30,
        free_disk_bytes=80 << 30,
        governor="performance",
        readings=(
            Reading(name="thermal/x86_pkg_temp", unit="celsius", value=46.0 + offset_s / 10),
            Reading(name="throttle/package", unit="count", reason="no throttle counter on this processor"),
        ),
    )


def run(device: str, kind: Kind, position: int = 0) -> Run:
    simulated = device != "this-machine"
    return Run(
        run_id=str(uuid.uuid5(uuid.NAMESPACE_OID, f"{device}/{kind.label}")),
        source=Source.SIMULATED if simulated else Source.MEASURED,
        device_id=digest(device)[:32],
        device_name=device,
        boot_id=digest("boot" + device)[:32],
        agent_version="0.1.0",
        job_id="job-" + device,
        request_id="request-" + device,
        lease_id="lease-" + device,
        experiment_id=EXPERIMENT_ID,
        trial=Trial(
            trial_id=f"t{position}",
            label=kind.label,
            artifact_digest=digest(kind.label),
            settings=RuntimeSettings(intra_op_threads=4 if simulated else 2),
            anchor=position == 0,
        ),
        benchmark=Benchmark(seed=7),
        runtime_version="1.23.2",
        started_wall_s=CREATED_WALL_S + 60 + position,
        duration_s=11.4,
        outcome=Outcome.SUCCESS,
        conditions_before=conditions(60),
        conditions_after=conditions(140),
        timing=timing(device, kind),
        memory=memory(kind, simulated),
        energy=energy(device, kind, simulated),
        placement=placement(device, kind),
        parity=parity(kind),
        isolation=Isolation(tier="process", layers=(("rlimit", True), ("seccomp", False))),
        simulation=Simulation(
            profile=device, profile_digest=digest(device), basis="datasheet", seed=7, interval_factor=2.0
        )
        if simulated
        else None,
    )


def crashed(device: str) -> Run:
    kind = Kind("pruned 50 %", (PassSpec.of("prune", ratio=0.5),), "fp32", 1_700_000, 1.3, 0.97)
    whole = run(device, kind, 5)
    return Run(
        **{
            **{name: getattr(whole, name) for name in whole.__dataclass_fields__},
            "outcome": Outcome.DEVICE_ERROR,
            "failure_kind": FailureKind.RUNNER_CRASHED,
            "failure_reason": "The runner ended by signal 11 while it loaded the model.",
            "log_tail": "Fatal Python error: Segmentation fault\n  <frame 0>",
            "timing": None,
            "memory": None,
            "energy": None,
            "placement": None,
            "parity": None,
        }
    )


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
        ("size", Estimate(value=float(kind.size_bytes))),
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
        "basis": "datasheet" if simulated else "",
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
