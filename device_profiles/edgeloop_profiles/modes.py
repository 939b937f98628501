"""Power modes: the same board with fewer cores, a lower clock and a budget."""

from __future__ import annotations

from dataclasses import replace

from edgeloop_foundation.errors import NotFoundError

from edgeloop_profiles.profile import PowerMode, Profile, RuntimeModel, Sensor

__all__ = ["in_power_mode"]


def in_power_mode(profile: Profile, name: str) -> Profile:
    """Return the profile as the board is in one of its power modes.

    Raises:
        NotFoundError: it has no mode of this name.
    """
    mode = next((mode for mode in profile.power_modes if mode.name == name), None)
    if mode is None:
        known = ", ".join(mode.name for mode in profile.power_modes)
        raise NotFoundError(
            f"profile {profile.name} has no power mode {name!r}.",
            next_step=f"Its power modes: {known}." if known else "It has none; leave out the @.",
        )
    processor, power, bandwidth = profile.processor, profile.power, profile.bandwidth
    clock = mode.max_frequency_hz / processor.max_frequency_hz
    share = (mode.cores - 1) / max(1, processor.logical_cores - 1)
    more = bandwidth.all_cores_bytes_per_s - bandwidth.one_core_bytes_per_s
    scaled_w = power.core_w * clock**power.frequency_exponent
    allowed_w = (mode.budget_w - power.idle_w) / (mode.cores * max(1.0, power.int8_factor))
    return replace(
        profile,
        power_mode=name,
        processor=replace(
            processor,
            kind=mode.kind,
            source=f"{processor.source}; power mode {name}: {mode.source}",
            physical_cores=min(mode.cores, processor.physical_cores),
            logical_cores=mode.cores,
            min_frequency_hz=min(processor.min_frequency_hz, mode.max_frequency_hz),
            max_frequency_hz=mode.max_frequency_hz,
        ),
        bandwidth=replace(
            bandwidth,
            source=f"{bandwidth.source}; power mode {name}: {mode.cores} cores",
            all_cores_bytes_per_s=bandwidth.one_core_bytes_per_s + share * more,
        ),
        power=replace(
            power,
            source=f"{power.source}; power mode {name}: clock scaled, at most {mode.budget_w:g} W in all",
            core_w=min(scaled_w, allowed_w),
        ),
        runtimes=tuple(_runtime(runtime, mode, clock) for runtime in profile.runtimes),
        sensors=tuple(_sensor(sensor, mode) for sensor in profile.sensors),
    )


def _sensor(sensor: Sensor, mode: PowerMode) -> Sensor:
    """Return a sensor that shows the mode's number and name where it is the one that shows modes."""
    return replace(sensor, text=mode.shown) if sensor.name == "nvpmodel" else sensor


def _runtime(runtime: RuntimeModel, mode: PowerMode, clock: float) -> RuntimeModel:
    """Return a runtime with the mode's cores; its overheads are stated at the highest clock, which is lower."""
    overheads, loading = runtime.overheads, runtime.loading
    note = f"; power mode {mode.name}: the clock is {clock:.3g} times the highest"
    return replace(
        runtime,
        threads=replace(runtime.threads, speedup=runtime.threads.speedup[: mode.cores]),
        overheads=replace(
            overheads,
            source=overheads.source + note,
            inference_s=overheads.inference_s / clock,
            kernel_s=overheads.kernel_s / clock,
            split_s=overheads.split_s / clock,
        ),
        loading=replace(
            loading,
            source=loading.source + note,
            fixed_s=loading.fixed_s / clock,
            kernel_s=loading.kernel_s / clock,
            weight_bytes_per_s=loading.weight_bytes_per_s * clock,
        ),
        rates=tuple(replace(rate, overhead_s=rate.overhead_s / clock) for rate in runtime.rates),
    )
