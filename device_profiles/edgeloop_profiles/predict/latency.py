"""Latency of a kernel table: per kernel the slower of arithmetic and memory, plus what is neither."""

from __future__ import annotations

from dataclasses import dataclass

from edgeloop_foundation.errors import InvalidInputError, UnsupportedError
from edgeloop_protocol.types.artifact import Kernel

from edgeloop_profiles.predict.trust import Trust, family_shares, trust
from edgeloop_profiles.profile import Profile, Rate, RuntimeModel

__all__ = ["KernelTime", "Prediction", "predict_latency"]

_OTHER_SHARE = 0.5
_OTHER_FACTOR = 3.0
"""Kernels of class "other" (trees, decoders, plug-ins) are predicted by their bytes alone. From this share of
the time on the interval is this much wider (assumed)."""

_NOTE_SHARE = 0.05
"""A precision or an encoding is worth a note from this share of the time on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelTime:
    """Predicted time of one kernel."""

    kernel: Kernel
    time_s: float


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

    @property
    def slowdown(self) -> float:
        """Return how much slower than at the highest clock instructions run."""
        return self.profile.processor.max_frequency_hz / self.frequency_hz

    def speedup(self, threads: int) -> float:
        """Return the speed-up of compute; beyond the logical cores threads only get in each other's way."""
        curve = self.runtime.threads.speedup
        return curve[min(threads, len(curve)) - 1] * min(1.0, len(curve) / threads)

    def memory_s(self, kernel: Kernel, threads: int) -> float:
        """Return the time to move a kernel's bytes between caches, main memory and cores."""
        activations = (kernel.input_bytes + kernel.output_bytes) * self.batch_size
        spilled = max(0, activations - self.profile.caches.last_level_bytes)
        far = spilled + kernel.weight_bytes * self.weights_from_memory
        near = activations + kernel.weight_bytes - far
        per_cycle = self.profile.caches.bytes_per_cycle * self.speedup(threads)
        return far / self._bandwidth(threads) + near / (per_cycle * self.frequency_hz)

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
    # Activations compete for the cache, so parameters can count on half of it.
    kept = min(1.0, profile.caches.last_level_bytes / 2 / weights) if weights else 1.0
    machine = _Machine(
        profile=profile,
        runtime=profile.runtime(runtime),
        threads=threads,
        batch_size=batch_size,
        frequency_hz=clock,
        weights_from_memory=1.0 - kept,
    )
    times = tuple(KernelTime(kernel=kernel, time_s=_kernel_s(machine, kernel)) for kernel in kernels)
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


def _kernel_s(machine: _Machine, kernel: Kernel) -> float:
    rate = _rate(machine, kernel)
    compute = _compute_s(machine, kernel, rate)
    # The runtime splits a kernel only where that pays, so more threads never make one slower.
    alone = max(compute, machine.memory_s(kernel, 1))
    split = machine.runtime.overheads.split_s * machine.slowdown + max(
        compute / machine.speedup(machine.threads), machine.memory_s(kernel, machine.threads)
    )
    oversubscribed = machine.threads > machine.profile.processor.logical_cores
    best = split if machine.threads > 1 and (split < alone or oversubscribed) else alone
    return best + (machine.runtime.overheads.kernel_s + rate.overhead_s) * machine.slowdown


def _compute_s(machine: _Machine, kernel: Kernel, rate: Rate) -> float:
    cycles = 0.0
    if rate.macs_per_cycle is not None:
        beside = rate.macs_per_output * kernel.output_channels * kernel.output_positions
        cycles = (kernel.macs + beside) / (rate.macs_per_cycle * _utilisation(kernel, rate))
    if rate.bytes_per_cycle is not None:
        moved = kernel.input_bytes + kernel.output_bytes
        cycles = max(cycles, moved / rate.bytes_per_cycle)
    return cycles * machine.batch_size / machine.frequency_hz


def _utilisation(kernel: Kernel, rate: Rate) -> float:
    """Return the share of the vector lanes that do useful work: channels come in whole groups."""
    channels, block = kernel.output_channels, rate.channel_block
    if channels <= 0 or channels % block == 0:
        return 1.0
    return channels / (-(-channels // block) * block) * rate.unaligned_factor


def _rate(machine: _Machine, kernel: Kernel) -> Rate:
    best: tuple[int, Rate] | None = None
    for rate in machine.runtime.rates:
        if (
            kernel.kernel_class in rate.kernel_classes
            and kernel.precision == rate.precision
            and (not rate.encodings or kernel.encoding in rate.encodings)
            and (not rate.op_types or kernel.op_type in rate.op_types)
        ):
            fit = 2 * bool(rate.op_types) + bool(rate.encodings)
            if best is None or fit > best[0]:
                best = (fit, rate)
    if best is None:
        raise UnsupportedError(
            f"profile {machine.profile.name} has no rate of {machine.runtime.name} for {kernel.op_type} "
            f"{kernel.name!r} (class {kernel.kernel_class}, {kernel.precision} {kernel.encoding}".rstrip()
            + ").",
            next_step="Add a rate with its provenance to the profile.",
        )
    return best[1]


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
