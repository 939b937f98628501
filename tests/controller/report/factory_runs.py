"""The runs of the experiment: figures with noise and tails as devices have them, the same on every call."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass, replace

import numpy as np
from edgeloop.domain.recipe import PassSpec
from edgeloop_protocol.summary import distribution
from edgeloop_protocol.types.conditions import Conditions
from edgeloop_protocol.types.measurement import Estimate, Reading
from edgeloop_protocol.types.run import (
    Block,
    Comparison,
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


def estimate(value: float, spread: float = 0.01, count: int = 700) -> Estimate:
    width = abs(value) * spread
    return Estimate(value=value, low=value - width, high=value + width, confidence=0.95, sample_count=count)


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
            profile=device,
            profile_digest=digest(device),
            basis="transferred, unvalidated",
            seed=7,
            interval_factor=2.0,
        )
        if simulated
        else None,
    )


def crashed(device: str) -> Run:
    kind = Kind("pruned 50 %", (PassSpec.of("prune", ratio=0.5),), "fp32", 1_700_000, 1.3, 0.97)
    return replace(
        run(device, kind, 5),
        outcome=Outcome.DEVICE_ERROR,
        failure_kind=FailureKind.RUNNER_CRASHED,
        failure_reason="The runner ended by signal 11 while it loaded the model.",
        log_tail="Fatal Python error: Segmentation fault\n  <frame 0>",
        timing=None,
        memory=None,
        energy=None,
        placement=None,
        parity=None,
    )
