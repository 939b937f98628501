"""Latency of a kernel table: per kernel the slower of arithmetic and memory, plus what is neither."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from edgeloop_foundation.errors import InvalidInputError, UnsupportedError
from edgeloop_protocol.types.artifact import Kernel

from edgeloop_profiles.predict.trust import Trust, family_shares, trust
from edgeloop_profiles.profile import Profile, Rate, RuntimeModel

__all__ = ["KernelTime", "Prediction", "follow_convolutions", "grouped", "predict_latency"]

_OTHER_SHARE = 0.5
_OTHER_FACTOR = 3.0
"""Kernels of class "other" (trees, decoders, plug-ins) are predicted by their bytes alone. From this share of
the time on the interval is this much wider (assumed)."""

_ELEMENT_BYTES = {"fp32": 4, "fp16": 2, "int8": 1}

_CONVOLUTIONS = ("conv", "conv1x1", "depthwise")
_JOINING = ("Add", "Mul", "QLinearAdd", "QLinearMul")

_NOTE_SHARE = 0.05
"""A precision or an encoding is worth a note from this share of the time on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelTime:
    """Predicted time of one kernel."""

    kernel: Kernel
    time_s: float
    #: Place of the rate that was used among those of the runtime.
    rate: int
    #: What the time is made of, in seconds by name: "compute", "output", "input", "weight" and "bytes" go with the
    #: rate, "near", "outer" and "far" with caches and memory, "split", "kernel" and "own" are overheads.
    terms: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Predicted median latency of one inference of a whole batch."""

    #: Point estimate.
    point_s: float
    #: Lower end of the 90 % interval.
    low_s: float
    #: Upper end of the 90 % interval.
    high_s: float
    #: What it rests on.
    basis: str
    #: What a reader should know, one sentence each.
    notes: tuple[str, ...]
    #: Factor between the point and either end.
    interval_factor: float
    #: Precision that takes most of the time: "fp32", "fp16" or "int8".
    precision: str
    #: Each kernel in order of execution.
    kernels: tuple[KernelTime, ...]
    #: How far it can be trusted.
    trust: Trust


@dataclass(frozen=True, slots=True, kw_only=True)
class _Machine:
    """Everything about the board that is the same for all kernels of one prediction."""

    profile: Profile
    runtime: RuntimeModel
    threads: int
    batch_size: int
    frequency_hz: float
    #: Share of the parameters that does not stay in cache from one inference to the next.
    weights_from_memory: float
    #: The same for the second level of cache.
    weights_from_outer: float

    @property
    def slowdown(self) -> float:
        """Return how much slower than at the highest clock instructions run."""
        return self.profile.processor.max_frequency_hz / self.frequency_hz

    def speedup(self, threads: int) -> float:
        """Return the speed-up of compute; beyond the logical cores threads only get in each other's way."""
        curve = self.runtime.threads.speedup
        return curve[min(threads, len(curve)) - 1] * min(1.0, len(curve) / threads)

    def memory_terms(self, kernel: Kernel, threads: int) -> dict[str, float]:
        """Return the time to move a kernel's bytes: near the core, from the outer caches, from main memory."""
        caches = self.profile.caches
        activations = (kernel.input_bytes + kernel.output_bytes) * self.batch_size
        moved = activations + kernel.weight_bytes
        far = max(0, activations - caches.last_level_bytes) + kernel.weight_bytes * self.weights_from_memory
        outer = 0.0
        if caches.outer_bytes_per_cycle is not None:
            outer = max(0, activations - caches.l2_bytes) + kernel.weight_bytes * self.weights_from_outer
            outer = max(0.0, outer - far)
        clock = self.speedup(threads) * self.frequency_hz
        return {
            "near": (moved - far - outer) / (caches.bytes_per_cycle * clock),
            "outer": outer / ((caches.outer_bytes_per_cycle or 1.0) * clock),
            "far": far / self._bandwidth(threads),
        }

    def _bandwidth(self, threads: int) -> float:
        figures = self.profile.bandwidth
        cores = self.profile.processor.physical_cores
        share = min(1.0, (threads - 1) / max(1, cores - 1))
        return figures.one_core_bytes_per_s + share * (
            figures.all_cores_bytes_per_s - figures.one_core_bytes_per_s
        )


def predict_latency(
    profile: Profile,
    kernels: tuple[Kernel, ...],
    *,
    threads: int,
    batch_size: int = 1,
    frequency_hz: float | None = None,
    runtime: str = "onnxruntime",
    runtime_version: str = "",
) -> Prediction:
    """Predict the median latency of one inference.

    Args:
        profile: the board.
        kernels: lowered graph at batch 1.
        threads: threads within one operator.
        batch_size: items per inference.
        frequency_hz: processor clock; the profile's highest when not given.
        runtime: name of the runtime.
        runtime_version: version that will run; another one than was calibrated makes the prediction stale.

    Raises:
        InvalidInputError: no kernels, or a thread count, batch size or clock that cannot be.
        UnsupportedError: the profile has no figures for the runtime or for one of the kernels.
    """
    clock = profile.processor.max_frequency_hz if frequency_hz is None else frequency_hz
    _check(kernels, threads, batch_size, clock)
    weights = sum(kernel.weight_bytes for kernel in kernels)
    machine = _Machine(
        profile=profile,
        runtime=profile.runtime(runtime),
        threads=threads,
        batch_size=batch_size,
        frequency_hz=clock,
        weights_from_memory=_evicted(weights, profile.caches.last_level_bytes),
        weights_from_outer=_evicted(weights, profile.caches.l2_bytes),
    )
    gone = follow_convolutions(kernels, machine.runtime.absorbed)
    times = tuple(_kernel_time(machine, k, gone=i in gone) for i, k in enumerate(kernels))
    return _summary(machine, times, runtime_version)


def _check(kernels: tuple[Kernel, ...], threads: int, batch_size: int, clock: float) -> None:
    if not kernels:
        raise InvalidInputError(
            "the kernel table is empty, so there is nothing to predict from.",
            next_step="Package the artifact with a kernel table.",
        )
    for name, value in (("threads", threads), ("batch_size", batch_size), ("frequency_hz", clock)):
        if value <= 0:
            raise InvalidInputError(f"{name}: found {value}, allowed is above 0.")


def _evicted(weights: int, cache_bytes: int) -> float:
    """Return the share of the parameters that a cache does not hold from one inference to the next."""
    # Activations compete for the cache, so parameters can count on half of it.
    return 1.0 - min(1.0, cache_bytes / 2 / weights) if weights else 0.0


def follow_convolutions(kernels: Sequence[Kernel], op_types: Container[str]) -> frozenset[int]:
    """Return the places of the kernels of some operator types that could be the end of the convolution before them."""
    found, inside = set(), False
    for place, kernel in enumerate(kernels):
        if kernel.kernel_class in _CONVOLUTIONS:
            inside = True
            continue
        inside = inside and kernel.op_type in op_types and _could_end(kernel, kernels[place - 1])
        if inside:
            found.add(place)
    return frozenset(found)


def _could_end(kernel: Kernel, before: Kernel) -> bool:
    """Return whether a kernel could end the one before it: as large, and if it joins tensors, as large as it."""
    joins = kernel.op_type in _JOINING
    return kernel.output_bytes == before.output_bytes and (
        not joins or kernel.input_bytes >= 2 * kernel.output_bytes
    )


def grouped(kernel: Kernel) -> bool:
    """Return whether a convolution's channels stay in groups.

    Multiply-accumulates per pair of channels and position are the size of the kernel where every pair meets: a whole
    number. Groups make it a fraction.
    """
    pairs = kernel.input_channels * kernel.output_channels * kernel.output_positions
    return kernel.kernel_class in ("conv", "conv1x1") and pairs > 0 and bool(kernel.macs % pairs)


def _kernel_time(machine: _Machine, kernel: Kernel, *, gone: bool) -> KernelTime:
    index, rate = _rate(machine, kernel)
    if gone:
        return KernelTime(kernel=kernel, time_s=0.0, rate=index, terms={})
    compute = _compute_terms(machine, kernel, rate)
    # The runtime splits a kernel only where that pays, so more threads never make one slower.
    terms = _with_memory(machine, compute, machine.memory_terms(kernel, 1))
    if machine.threads > 1:
        speedup = machine.speedup(machine.threads)
        shared = {name: value / speedup for name, value in compute.items()}
        split = _with_memory(machine, shared, machine.memory_terms(kernel, machine.threads))
        split["split"] = machine.runtime.overheads.split_s * machine.slowdown
        oversubscribed = machine.threads > machine.profile.processor.logical_cores
        if oversubscribed or sum(split.values()) < sum(terms.values()):
            terms = split
    terms["kernel"] = machine.runtime.overheads.kernel_s * machine.slowdown
    terms["own"] = rate.overhead_s * machine.slowdown
    return KernelTime(kernel=kernel, time_s=sum(terms.values()), rate=index, terms=terms)


def _with_memory(machine: _Machine, compute: dict[str, float], memory: dict[str, float]) -> dict[str, float]:
    """Return both together: the slower, and of the faster what it does not hide.

    Bytes that are only moved on are hidden whole: their rate already is that of moving them.
    """
    shown = 1.0 - machine.profile.caches.hidden_share if "compute" in compute else 0.0
    slower = _slower(compute, memory)
    faster = memory if slower is compute else compute
    return {**slower, **{name: value * shown for name, value in faster.items() if shown}}


def _slower(one: dict[str, float], other: dict[str, float]) -> dict[str, float]:
    return one if sum(one.values()) >= sum(other.values()) else other


def _compute_terms(machine: _Machine, kernel: Kernel, rate: Rate) -> dict[str, float]:
    arithmetic, moved = {}, {}
    if rate.macs_per_cycle is not None:
        speed = rate.macs_per_cycle * _utilisation(kernel, rate)
        arithmetic = {
            "compute": kernel.macs / speed,
            "output": rate.macs_per_output * kernel.output_channels * kernel.output_positions / speed,
            "input": rate.macs_per_input * _gathered(kernel) / speed,
            "weight": rate.macs_per_weight * _parameters(kernel) / speed,
        }
    if rate.bytes_per_cycle is not None:
        moved = {"bytes": (kernel.input_bytes + kernel.output_bytes) / rate.bytes_per_cycle}
    cycles = _slower(arithmetic, moved)
    return {name: value * machine.batch_size / machine.frequency_hz for name, value in cycles.items()}


def _gathered(kernel: Kernel) -> float:
    """Return how many inputs are gathered: all that meet at each position, or each once where channels stay apart."""
    if kernel.kernel_class == "depthwise":
        return kernel.input_bytes / _ELEMENT_BYTES[kernel.precision]
    return kernel.macs / kernel.output_channels if kernel.output_channels else 0.0


def _parameters(kernel: Kernel) -> float:
    """Return the parameters that the arithmetic uses, each once."""
    return kernel.macs / kernel.output_positions if kernel.output_positions else 0.0


def _utilisation(kernel: Kernel, rate: Rate) -> float:
    """Return the share of the vector lanes that do useful work: channels come in whole groups."""
    channels, block = kernel.output_channels, rate.channel_block
    if channels <= 0 or channels % block == 0:
        return 1.0
    return channels / (-(-channels // block) * block) * rate.unaligned_factor


def _rate(machine: _Machine, kernel: Kernel) -> tuple[int, Rate]:
    """Return the most specific rate that fits and its place."""
    best: tuple[int, int, Rate] | None = None
    for index, rate in enumerate(machine.runtime.rates):
        if (
            kernel.kernel_class in rate.kernel_classes
            and kernel.precision == rate.precision
            and (not rate.encodings or kernel.encoding in rate.encodings)
            and (not rate.op_types or kernel.op_type in rate.op_types)
            and (not rate.grouped or grouped(kernel))
        ):
            fit = 4 * rate.grouped + 2 * bool(rate.op_types) + bool(rate.encodings)
            if best is None or fit > best[0]:
                best = (fit, index, rate)
    if best is None:
        raise UnsupportedError(
            f"profile {machine.profile.name} has no rate of {machine.runtime.name} for {kernel.op_type} "
            f"{kernel.name!r} (class {kernel.kernel_class}, {kernel.precision} {kernel.encoding}".rstrip()
            + ").",
            next_step="Add a rate with its provenance to the profile.",
        )
    return best[1:]


def _summary(machine: _Machine, times: tuple[KernelTime, ...], runtime_version: str) -> Prediction:
    point = sum(time.time_s for time in times)
    shares: dict[str, float] = {}
    for time in times:
        share = time.time_s / point if point else 1.0 / len(times)
        shares[time.kernel.precision] = shares.get(time.kernel.precision, 0.0) + share
    point += machine.runtime.overheads.inference_s * machine.slowdown
    # Errors of one precision are shared by its kernels, so they do not average out.
    factor = max(
        machine.runtime.interval(name).factor for name, share in shares.items() if share >= _NOTE_SHARE
    )
    if _other_share(times) >= _OTHER_SHARE:
        factor *= _OTHER_FACTOR
    trusted = trust(
        machine.profile,
        machine.runtime.name,
        shares=family_shares((time.kernel.kernel_class, time.time_s) for time in times),
        latency_s=point,
        precisions=[name for name, share in shares.items() if share >= _NOTE_SHARE],
        threads=machine.threads,
        datasheet_factor=factor,
        runtime_version=runtime_version,
    )
    factor = trusted.interval_factor
    return Prediction(
        point_s=point,
        low_s=point / factor,
        high_s=point * factor,
        basis=trusted.basis,
        notes=(*_notes(machine, times, shares), *trusted.extrapolations),
        interval_factor=factor,
        trust=trusted,
        precision=max(shares, key=lambda name: (shares[name], name)),
        kernels=times,
    )


def _other_share(times: tuple[KernelTime, ...]) -> float:
    total = sum(time.time_s for time in times)
    other = sum(time.time_s for time in times if time.kernel.kernel_class == "other")
    return other / total if total else 0.0


def _notes(machine: _Machine, times: tuple[KernelTime, ...], shares: dict[str, float]) -> tuple[str, ...]:
    notes = [f"Rates of {machine.runtime.name} on {machine.profile.name}: {machine.runtime.source}"]
    for name, share in sorted(shares.items()):
        if share >= _NOTE_SHARE:
            interval = machine.runtime.interval(name)
            notes.append(
                f"90 % interval x/\N{DIVISION SIGN} {interval.factor:g} for {name}: {interval.source}"
            )
    if _other_share(times) >= _OTHER_SHARE:
        notes.append(
            f"Most kernels are known by their bytes alone, so the interval is {_OTHER_FACTOR:g}x wider."
        )
    cores = machine.profile.processor.logical_cores
    if machine.threads > cores:
        notes.append(f"{machine.threads} threads share {cores} logical cores.")
    if any(time.kernel.precision == "int8" and not time.kernel.encoding for time in times):
        notes.append("Some int8 kernels do not say their encoding; the general int8 rate was used.")
    if machine.slowdown > 1.0:
        notes.append(f"At {machine.frequency_hz / 1e9:.2f} GHz, below the highest clock.")
    if len(shares) > 1:
        mix = ", ".join(f"{name} {share:.0%}" for name, share in sorted(shares.items()))
        notes.append(f"Time by precision: {mix}.")
    return tuple(notes)
