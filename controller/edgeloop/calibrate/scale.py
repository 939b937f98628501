"""A profile with some of its figures multiplied: what a fit is allowed to change, and nothing beside it.

Factors go by name; above 1 is slower. ``fp32/conv`` is the rate of a group of kernel classes, ``fp32/conv/output``,
``/input``, ``/weight`` and ``/unaligned`` what shapes cost beside it, ``row/7`` one rate among those of its group, and
the rest are figures that all kernels share.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from edgeloop_profiles.predict import KernelTime, group_of, grouped, predict_latency
from edgeloop_profiles.profile import Profile, Rate, RuntimeModel
from edgeloop_protocol.types.artifact import Kernel

__all__ = ["SHAPES", "SHARED", "THREADS", "detailed", "factors_of", "names_of", "scaled"]

SHARED = ("near", "outer", "far", "kernel", "own", "split", "inference")
"""Terms of a kernel's time, and the time per inference, that one factor each multiplies for all kernels."""

THREADS = "threads"

SHAPES = ("output", "input", "weight")
"""Terms that go with the shape of a kernel, each with a factor of its group beside that of the rate."""

_SHAPED = ("conv", "conv1x1", "depthwise", "product")
_BLOCKED = ("conv", "conv1x1", "depthwise")
_START = {"output": 4.0, "input": 1.0, "weight": 1.0}
"""Multiply-accumulates that a shape costs beside its own where a profile does not say (assumed; a fit moves them)."""


def detailed(
    profile: Profile, runtime: str, kernels: Sequence[Kernel], absorbed: tuple[str, ...] = ()
) -> Profile:
    """Return the profile with a rate for each kind of operator among the kernels, so that a fit can tell them apart.

    The new rates are copies of those that would be used without them, and every rate of arithmetic has a figure for
    each cost of shape, so that a factor has something to multiply. ``absorbed`` are the operator types that were seen
    to disappear into convolutions.

    Raises:
        UnsupportedError: the profile does not know the runtime, or has no rate for a kernel.
    """
    chosen = profile.runtime(runtime)
    shaped = replace(chosen, rates=tuple(_with_shapes(rate) for rate in chosen.rates))
    start = _with_runtime(profile, shaped)
    kinds = {(k.kernel_class, k.op_type, k.precision, k.encoding, grouped(k)): k for k in kernels}
    added: dict[tuple[str, str, str, tuple[str, ...]], Rate] = {}
    for kernel in kinds.values():
        (time,) = predict_latency(start, (kernel,), threads=1, runtime=runtime).kernels
        rate = shaped.rates[time.rate]
        if kernel.op_type in rate.op_types and rate.grouped == grouped(kernel):
            continue
        kind, alone = kernel.kernel_class, grouped(kernel)
        # A convolution does the same work whether its activation is in it or not.
        plain = kernel.op_type.removeprefix("Fused")
        own = replace(rate, kernel_classes=(kind,), op_types=(plain, f"Fused{plain}"), grouped=alone)
        added[(kind, plain, kernel.precision, (*rate.encodings, str(alone)))] = own
    caches = replace(profile.caches, hidden_share=0.0)
    if caches.outer_bytes_per_cycle is None:
        caches = replace(caches, outer_bytes_per_cycle=caches.bytes_per_cycle)
    return replace(
        _with_runtime(
            profile,
            replace(
                shaped,
                rates=(*shaped.rates, *added.values()),
                absorbed=tuple(sorted({*shaped.absorbed, *absorbed})),
            ),
        ),
        caches=caches,
    )


def _with_shapes(rate: Rate) -> Rate:
    if rate.macs_per_cycle is None or group_of(rate.kernel_classes[0]) not in _SHAPED:
        return rate
    return replace(
        rate,
        macs_per_output=rate.macs_per_output or _START["output"],
        macs_per_input=rate.macs_per_input or _START["input"],
        macs_per_weight=rate.macs_per_weight or _START["weight"],
    )


def names_of(model: RuntimeModel, time: KernelTime) -> tuple[str, ...]:
    """Return the names of the factors of the rate that a kernel uses, whichever part of its time is the longer now."""
    rate = model.rates[time.rate]
    group = _group(rate)
    names: tuple[str, ...] = (group, f"row/{time.rate}")
    if time.kernel.kernel_class in _BLOCKED and time.kernel.output_channels % rate.channel_block:
        names += (f"{group}/unaligned",)
    return names


def factors_of(model: RuntimeModel, time: KernelTime) -> Iterator[tuple[float, tuple[str, ...]]]:
    """Yield the parts of a kernel's time in seconds, each with the names of the factors that it goes with."""
    names = names_of(model, time)
    for term, seconds in time.terms.items():
        if term in SHARED:
            yield seconds, (term,)
        else:
            yield seconds, (*names, f"{names[0]}/{term}") if term in SHAPES else names


def scaled(profile: Profile, runtime: str, factors: Mapping[str, float]) -> Profile:
    """Return the profile with rates and overheads of one runtime multiplied; a factor above 1 is slower.

    Args:
        profile: where to start from.
        runtime: name of the runtime.
        factors: by name; missing ones are 1.

    Raises:
        UnsupportedError: the profile does not know the runtime.
    """
    chosen = profile.runtime(runtime)
    far, caches = factors.get("far", 1.0), profile.caches
    outer = caches.outer_bytes_per_cycle
    return replace(
        _with_runtime(profile, _runtime(chosen, factors)),
        bandwidth=replace(
            profile.bandwidth,
            one_core_bytes_per_s=profile.bandwidth.one_core_bytes_per_s / far,
            all_cores_bytes_per_s=profile.bandwidth.all_cores_bytes_per_s / far,
        ),
        caches=replace(
            caches,
            bytes_per_cycle=caches.bytes_per_cycle / factors.get("near", 1.0),
            outer_bytes_per_cycle=None if outer is None else outer / factors.get("outer", 1.0),
        ),
    )


def _with_runtime(profile: Profile, model: RuntimeModel) -> Profile:
    runtimes = tuple(model if other.name == model.name else other for other in profile.runtimes)
    return replace(profile, runtimes=runtimes)


def _runtime(model: RuntimeModel, factors: Mapping[str, float]) -> RuntimeModel:
    return replace(
        model,
        threads=replace(model.threads, speedup=_speedup(model.threads.speedup, factors.get(THREADS, 1.0))),
        rates=tuple(_rate(index, rate, factors) for index, rate in enumerate(model.rates)),
        overheads=replace(
            model.overheads,
            inference_s=model.overheads.inference_s * factors.get("inference", 1.0),
            kernel_s=model.overheads.kernel_s * factors.get("kernel", 1.0),
            split_s=model.overheads.split_s * factors.get("split", 1.0),
        ),
    )


def _speedup(curve: tuple[float, ...], factor: float) -> tuple[float, ...]:
    """Return the curve with what each further thread brings divided by the factor; never above the thread count."""
    found, last = [], 1.0
    for count, value in enumerate(curve, start=1):
        last = max(last, min(float(count), 1.0 + (value - 1.0) / factor))
        found.append(last)
    return tuple(found)


def _rate(index: int, rate: Rate, factors: Mapping[str, float]) -> Rate:
    group = _group(rate)
    slower = factors.get(group, 1.0) * factors.get(f"row/{index}", 1.0)
    return replace(
        rate,
        macs_per_cycle=None if rate.macs_per_cycle is None else rate.macs_per_cycle / slower,
        bytes_per_cycle=None if rate.bytes_per_cycle is None else rate.bytes_per_cycle / slower,
        macs_per_output=rate.macs_per_output * factors.get(f"{group}/output", 1.0),
        macs_per_input=rate.macs_per_input * factors.get(f"{group}/input", 1.0),
        macs_per_weight=rate.macs_per_weight * factors.get(f"{group}/weight", 1.0),
        unaligned_factor=min(1.0, rate.unaligned_factor / factors.get(f"{group}/unaligned", 1.0)),
        overhead_s=rate.overhead_s * factors.get("own", 1.0),
    )


def _group(rate: Rate) -> str:
    return f"{rate.precision}/{'grouped ' if rate.grouped else ''}{group_of(rate.kernel_classes[0])}"
