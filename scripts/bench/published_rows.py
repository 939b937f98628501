"""Published latencies as rows of a pool: networks are built and lowered for real, boards get their own figures.

The part of a runtime's name after the hyphen is its release. ncnn's table gives none, but its program times a list of
networks that grew over the years: sections with the same list are of the same time, and are named by the newest network
that came with it (``ncnn-list2019`` has none of mobilenet_v3 and later, ``ncnn`` is the table of today).

Of the revision that ncnn_boards.csv names, every section is in it that has int8 beside float on cores whose kind the
section tells. Out are what ran on more than one kind; the Snapdragon 675 and the Apple M1, which have two; and the
iPhone 5S, whose large networks page: VGG16 takes 4.3 s on both cores and 4.8 s on one, repeats of ResNet-50 take 0.5 to
1.3 s. No part of the pool stands for that; with it the sign was told in 76.0 % instead of 76.7 %, and another family on
the Raspberry Pi 4 was 26 % off instead of 17 % (before 3x3 convolutions had a part of their own).
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import json
import math
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from edgeloop.calibrate.pooled import Row
from edgeloop.calibrate.scale import detailed, factors_of
from edgeloop.calibrate.zoo import ZooModel, find
from edgeloop.compress.lowering import lower
from edgeloop_profiles import load_profile
from edgeloop_profiles.predict import predict_latency
from edgeloop_profiles.profile import Profile
from edgeloop_protocol.types.artifact import Kernel

HERE = Path(__file__).parent
BOARDS = HERE / "data" / "boards.csv"
COMMON = "raspberry_pi_4"
RUNTIME = "onnxruntime"
THREAD_EXPONENT = 0.7
BYTES = {"fp32": 4, "fp16": 2, "int8": 1}
ON_THE_BOARD = {"Celeron N5105", "Raspberry Pi 3 Model B+", "Raspberry Pi Zero 2 W"}
"""Where rows of published_boards.csv were measured on the board itself; the others were on one with the same core."""
ARITHMETIC = ("conv", "conv1x1", "depthwise", "product")

MACS_PER_INSTRUCTION = {
    "neon": {"fp32": 4.0, "fp16": 4.0, "int8": 16 / 3},
    "neon_fp16": {"fp32": 4.0, "fp16": 8.0, "int8": 16 / 3},
    "neon_dotprod": {"fp32": 4.0, "fp16": 8.0, "int8": 16.0},
    "neon_i8mm": {"fp32": 4.0, "fp16": 8.0, "int8": 32.0},
    "sse4": {"fp32": 2.0, "fp16": 2.0, "int8": 8 / 3},
    "avx2": {"fp32": 8.0, "fp16": 8.0, "int8": 16 / 3},
    "avx2_vnni": {"fp32": 8.0, "fp16": 8.0, "int8": 32.0},
    "avx512_vnni": {"fp32": 16.0, "fp16": 16.0, "int8": 64.0},
}
"""Multiply-accumulates of a vector instruction, from the instruction sets and not from any latency.

FMLA has 4 lanes of fp32 and 8 of fp16; int8 takes SMULL, SMLAL and SADALP for 16 without the dot product, SDOT for 16,
SMMLA for 32 (Arm Architecture Reference Manual, DDI 0487). x86 without VNNI widens to 16 bits: extension, PMADDWD and
PADDD for 8 in SSE, which has no FMA, and for 16 in AVX2; VPDPBUSD does 32 and 64 (Intel SDM, volume 2).
"""

WINOGRAD = {"ncnn": ("fp32", "fp16", "int8"), "armnn": ("fp32", "fp16")}
"""Runtimes that do 3x3 convolutions of stride 1 by Winograd's algorithm, and in which precisions.

Tencent/ncnn: src/layer/arm/convolution_arm.cpp, src/layer/x86/convolution_x86.cpp. ArmNN on NEON: CpuConv2d.cpp and
CpuWinogradConv2d.cpp in ARM-software/ComputeLibrary src/cpu/operators, for floats, unit strides and 16 input channels
or more. TFLite gathers inputs and multiplies matrices (tensorflow/lite/kernels/conv.cc).
"""

WINOGRAD_INT8_MACS = {"neon": 4.0, "neon_fp16": 4.0, "sse4": 4.0, "avx2": 8.0}
"""Transformed int8 has 16 bits: multiply-accumulates of an instruction (SMLAL; PMADDWD with PADDD), by tier.

Where there are dot products, they are faster than that, and ncnn uses them (the same convolution_arm.cpp).
"""

WINOGRAD_GAIN = 4.0
"""F(4x4, 3x3) multiplies 36 times for 16 outputs instead of 144 times (Lavin and Gray 2016, arXiv 1509.09308)."""

WINOGRAD_CHANNELS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One published latency with everything that is derived from it."""

    #: Name of the table's file.
    table: str
    board: str
    frequency_hz: float
    runtime: str
    precision: str
    threads: int
    model: str
    family: str
    tier: str
    latency_s: float
    #: What repeats came to at the worse end, where the source tells: the mean beside a smallest, the 90th percentile
    #: beside a median. Else the latency.
    repeated_s: float
    macs: int
    #: Latency at the datasheet's peak and bandwidth.
    roofline_s: float
    watts: float | None
    energy_j: float | None
    source: str
    row: Row

    @property
    def cell(self) -> str:
        return f"{self.board}/{self.runtime}/{self.precision}"


def read(paths: Iterable[Path], cache: Path) -> tuple[list[Published], list[str]]:
    """Return the rows of tables, and those that were left out with the reason."""
    boards = {entry["board"]: entry for entry in csv.DictReader(BOARDS.read_text().splitlines())}
    rows, left_out = [], []
    tables = _Tables(cache)
    names: dict[str, int] = {}
    known: set[tuple[str, ...]] = set()
    for path in paths:
        for entry in csv.DictReader(path.read_text().splitlines()):
            what = tuple(entry[name] for name in ("board", "runtime", "precision", "threads", "model"))
            if what in known:
                continue  # published in both tables
            known.add(what)
            if entry.get("measured_on") not in {None, *ON_THE_BOARD}:
                left_out.append(f"{path.name}: {' '.join(what)}: measured on {entry['measured_on']}")
                continue
            try:
                rows.append(_published(path.name, entry, boards, tables, names))
            except ValueError as error:
                left_out.append(f"{path.name}: {entry['board']} {entry['runtime']} {entry['model']}: {error}")
    width = len(names)
    full = [
        dataclasses.replace(
            found,
            row=dataclasses.replace(
                found.row, parts=found.row.parts + (0.0,) * (width - len(found.row.parts))
            ),
        )
        for found in rows
    ]
    return full, left_out


def _published(
    table: str,
    entry: dict[str, str],
    boards: dict[str, dict[str, str]],
    tables: _Tables,
    names: dict[str, int],
) -> Published:
    if entry["precision"] not in BYTES:
        raise ValueError(f"precision {entry['precision']!r} is none of {', '.join(BYTES)}")
    profile = _profile(entry["board"], boards)
    side = int(entry["input"]) if entry["input"].strip().isdigit() else 0
    model = find(entry["model"], side)
    if model is None:
        raise ValueError("the architecture is not known to the zoo")
    kernels = in_precision(tables.of(model), entry["precision"])
    threads = int(entry["threads"].strip("?") or 1)
    parts = _parts(profile, kernels, threads, entry["runtime"])
    vector = [0.0] * len(names)
    for name, seconds in parts.items():
        place = names.setdefault(name, len(names))
        vector += [0.0] * (place + 1 - len(vector))
        vector[place] = seconds
    latency_s = _latency_s(entry)
    cell = f"{entry['board']}/{entry['runtime']}/{entry['precision']}"
    base = entry["runtime"].partition("-")[0]
    keys = {
        "precision": entry["precision"],
        "runtime": f"{base}/{entry['precision']}",
        "release": f"{entry['runtime']}/{entry['precision']}",
        "tier": f"{profile.processor.isa_tier}/{entry['precision']}",
        "board": entry["board"],
        "cell": cell,
        "cell threads": f"{cell}/{threads}",
        "model": model.name,
        "model precision": f"{model.name}/{entry['precision']}",
        "model runtime": f"{model.name}/{base}",
        "model threads": f"{model.name}/{threads > 1}",
    }
    macs = sum(kernel.macs for kernel in kernels)
    return Published(
        table=table,
        board=entry["board"],
        frequency_hz=profile.processor.max_frequency_hz,
        runtime=entry["runtime"],
        precision=entry["precision"],
        threads=threads,
        model=model.name,
        family=model.family,
        tier=profile.processor.isa_tier,
        latency_s=latency_s,
        repeated_s=_repeated_s(entry, latency_s),
        macs=macs,
        roofline_s=_roofline_s(profile, kernels, threads, entry["precision"]),
        watts=_number(entry.get("wall_w", "")),
        energy_j=_number(entry.get("energy_j", "")),
        source=entry["source"],
        row=Row(
            parts=tuple(vector), keys=keys, log_threads=math.log(threads), log_latency=math.log(latency_s)
        ),
    )


def _number(text: str) -> float | None:
    return float(text) if text.strip() else None


def _latency_s(entry: dict[str, str]) -> float:
    """Return the median; where none was published the mean, unless the smallest of a few loops is much below it."""
    for name in ("p50_ms", "min_ms", "mean_ms"):
        found = _number(entry.get(name, ""))
        if found is not None and found > 0:
            return found * 1e-3
    raise ValueError("it has no latency")


def _repeated_s(entry: dict[str, str], latency_s: float) -> float:
    """Return the 90th percentile beside a median, the mean beside a smallest, else the latency."""
    name = "p90_ms" if _number(entry.get("p50_ms", "")) else "mean_ms"
    return max(latency_s, (_number(entry.get(name, "")) or 0.0) * 1e-3)


@functools.cache
def _loaded(name: str) -> Profile:
    """Return a profile that is read once: hundreds of rows share it."""
    return load_profile(name)


def _profile(board: str, boards: dict[str, dict[str, str]]) -> Profile:
    """Return the common profile with the figures of a board."""
    facts = boards.get(board)
    if facts is None:
        try:
            return _loaded(board)
        except Exception as error:
            raise ValueError(f"there are no figures of the board in {BOARDS.name}, nor a profile") from error
    common = _loaded(COMMON)
    cores = int(facts["cores"])
    runtime = common.runtime(RUNTIME)
    curve = tuple(count**THREAD_EXPONENT for count in range(1, cores + 1))
    hertz = float(facts["frequency_hz"])
    return dataclasses.replace(
        common,
        name=board,
        processor=dataclasses.replace(
            common.processor,
            isa_tier=facts["isa_tier"],
            physical_cores=cores,
            logical_cores=cores,
            max_frequency_hz=hertz,
            min_frequency_hz=min(hertz, common.processor.min_frequency_hz),
        ),
        caches=dataclasses.replace(
            common.caches,
            l2_bytes=int(facts["l2_bytes"]),
            last_level_bytes=int(facts["last_level_bytes"]),
        ),
        bandwidth=dataclasses.replace(
            common.bandwidth,
            one_core_bytes_per_s=float(facts["one_core_bytes_per_s"]),
            all_cores_bytes_per_s=float(facts["all_cores_bytes_per_s"]),
        ),
        runtimes=(dataclasses.replace(runtime, threads=dataclasses.replace(runtime.threads, speedup=curve)),),
    )


def _parts(profile: Profile, kernels: Sequence[Kernel], threads: int, runtime: str) -> dict[str, float]:
    """Return the seconds of each kind of work, precision left out of the names."""
    ready = detailed(profile, RUNTIME, kernels)
    cores = len(ready.runtime(RUNTIME).threads.speedup)
    found = predict_latency(ready, tuple(kernels), threads=min(threads, cores))
    model, parts = ready.runtime(RUNTIME), dict[str, float]()
    for time in found.kernels:
        small = _by_winograd(time.kernel)
        for seconds, names in factors_of(model, time):
            plain = [
                name for name in names if not name.startswith("row/") and not name.endswith("/unaligned")
            ]
            name = plain[-1].partition("/")[2] or plain[-1]
            gain = _gain(profile, time.kernel.precision, name)
            if small and name.partition("/")[0] == "conv":
                if name == "conv" and time.kernel.precision in WINOGRAD.get(runtime.partition("-")[0], ()):
                    gain *= _winograd_gain(profile.processor.isa_tier, time.kernel.precision)
                name = f"3x3 {name}"
            parts[name] = parts.get(name, 0.0) + seconds / gain
    parts["inference"] = model.overheads.inference_s
    return parts


def _winograd_gain(tier: str, precision: str) -> float:
    """Return how much faster Winograd's algorithm is than products of the plain numbers."""
    if precision != "int8":
        return WINOGRAD_GAIN
    wide = WINOGRAD_INT8_MACS.get(tier)
    return WINOGRAD_GAIN * wide / MACS_PER_INSTRUCTION[tier]["int8"] if wide else 1.0


def _by_winograd(kernel: Kernel) -> bool:
    """Return whether a kernel is a 3x3 convolution of stride 1 with enough channels for Winograd's algorithm."""
    pairs = kernel.input_channels * kernel.output_channels
    inputs = kernel.input_bytes // BYTES[kernel.precision]
    return (
        kernel.kernel_class == "conv"
        and min(kernel.input_channels, kernel.output_channels) >= WINOGRAD_CHANNELS
        and kernel.macs == 9 * pairs * kernel.output_positions
        and inputs == kernel.input_channels * kernel.output_positions
    )


def _gain(profile: Profile, precision: str, part: str) -> float:
    """Return how much more an instruction of the board does for a part than one of the common profile's tier."""
    group = part.partition("/")[0]
    if group not in ARITHMETIC:
        return 1.0
    tier = profile.processor.isa_tier
    # A depthwise convolution has no sum over channels, so that dot products do not serve it.
    if group == "depthwise" and precision == "int8" and tier in ("neon_dotprod", "neon_i8mm"):
        tier = "neon"
    common = _loaded(COMMON).processor.isa_tier
    return MACS_PER_INSTRUCTION[tier][precision] / MACS_PER_INSTRUCTION[common][precision]


def _roofline_s(profile: Profile, kernels: Sequence[Kernel], threads: int, precision: str) -> float:
    """Return the latency at the peak: vector units of the tier, all of the bandwidth, no overhead."""
    lanes = {"neon": 4, "sse4": 4, "neon_fp16": 8, "neon_dotprod": 8, "neon_i8mm": 8, "avx2": 16}
    peak = lanes.get(profile.processor.isa_tier, 16) * {"fp32": 1, "fp16": 2, "int8": 2}[precision]
    cores = min(threads, profile.processor.physical_cores)
    hertz, band = profile.processor.max_frequency_hz, profile.bandwidth.all_cores_bytes_per_s
    moved = [k.input_bytes + k.weight_bytes + k.output_bytes for k in kernels]
    return sum(
        max(k.macs / (peak * cores * hertz), size / band) for k, size in zip(kernels, moved, strict=True)
    )


def in_precision(kernels: Sequence[Kernel], precision: str) -> tuple[Kernel, ...]:
    """Return the table of the same network in another precision, every tensor in it."""
    share = BYTES["fp32"] // BYTES[precision]
    return tuple(
        dataclasses.replace(
            kernel,
            precision=precision,
            encoding="U8S8" if precision == "int8" and kernel.macs else "",
            input_bytes=kernel.input_bytes // share,
            weight_bytes=kernel.weight_bytes // share,
            output_bytes=kernel.output_bytes // share,
        )
        for kernel in kernels
    )


class _Tables:
    """Kernel tables of the zoo, lowered once and kept in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept = json.loads(path.read_text()) if path.exists() else {}

    def of(self, model: ZooModel) -> tuple[Kernel, ...]:
        if model.name not in self._kept:
            with tempfile.TemporaryDirectory() as name:
                net = model.build()
                path = net.save(Path(name) / "model.onnx")
                kernels = lower(path, {"x": np.zeros(net.input_shape, np.float32)}).kernels
            self._kept[model.name] = [dataclasses.asdict(kernel) for kernel in kernels]
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(json.dumps(self._kept))
        return tuple(Kernel(**kernel) for kernel in self._kept[model.name])
