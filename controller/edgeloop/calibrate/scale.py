"""A profile with some of its figures multiplied: what a fit is allowed to change, and nothing beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from edgeloop_profiles.predict import FAMILY_GROUPS, group_of
from edgeloop_profiles.profile import Profile, Rate, RuntimeModel

__all__ = ["parameters", "scaled"]

_SHARED = ("bandwidth", "cache", "kernel_overhead", "inference_overhead", "beside")
_THREADS = "threads"


def parameters(precisions: tuple[str, ...], *, threaded: bool) -> tuple[str, ...]:
    """Return the names of everything that a fit may multiply.

    Args:
        precisions: of the models that were measured.
        threaded: whether some were measured with several threads and some with one; else the speed-up of threads
            could not be told from the rates.
    """
    rates = tuple(f"{precision}/{group}" for precision in precisions for group in FAMILY_GROUPS)
    return (*rates, *_SHARED, *((_THREADS,) if threaded else ()))


def scaled(profile: Profile, runtime: str, factors: Mapping[str, float]) -> Profile:
    """Return the profile with rates and overheads of one runtime multiplied; a factor above 1 is slower.

    Args:
        profile: where to start from.
        runtime: name of the runtime.
        factors: names as ``parameters`` gives them; missing ones are 1.

    Raises:
        UnsupportedError: the profile does not know the runtime.
    """
    chosen = profile.runtime(runtime)
    band, cache = factors.get("bandwidth", 1.0), factors.get("cache", 1.0)
    changed = _runtime(chosen, factors)
    return replace(
        profile,
        runtimes=tuple(changed if other is chosen else other for other in profile.runtimes),
        bandwidth=replace(
            profile.bandwidth,
            one_core_bytes_per_s=profile.bandwidth.one_core_bytes_per_s / band,
            all_cores_bytes_per_s=profile.bandwidth.all_cores_bytes_per_s / band,
        ),
        caches=replace(profile.caches, bytes_per_cycle=profile.caches.bytes_per_cycle / cache),
    )


def _runtime(model: RuntimeModel, factors: Mapping[str, float]) -> RuntimeModel:
    per_kernel = factors.get("kernel_overhead", 1.0)
    return replace(
        model,
        threads=replace(model.threads, speedup=_speedup(model.threads.speedup, factors.get(_THREADS, 1.0))),
        rates=tuple(_rate(rate, factors) for rate in model.rates),
        overheads=replace(
            model.overheads,
            inference_s=model.overheads.inference_s * factors.get("inference_overhead", 1.0),
            kernel_s=model.overheads.kernel_s * per_kernel,
            split_s=model.overheads.split_s * per_kernel,
        ),
    )


def _speedup(curve: tuple[float, ...], factor: float) -> tuple[float, ...]:
    """Return the curve with what each further thread brings divided by the factor; never above the thread count."""
    found, last = [], 1.0
    for count, value in enumerate(curve, start=1):
        last = max(last, min(float(count), 1.0 + (value - 1.0) / factor))
        found.append(last)
    return tuple(found)


def _rate(rate: Rate, factors: Mapping[str, float]) -> Rate:
    slower = factors.get(f"{rate.precision}/{group_of(rate.kernel_classes[0])}", 1.0)
    return replace(
        rate,
        macs_per_cycle=None if rate.macs_per_cycle is None else rate.macs_per_cycle / slower,
        bytes_per_cycle=None if rate.bytes_per_cycle is None else rate.bytes_per_cycle / slower,
        macs_per_output=rate.macs_per_output * factors.get("beside", 1.0),
        overhead_s=rate.overhead_s * factors.get("kernel_overhead", 1.0),
    )
