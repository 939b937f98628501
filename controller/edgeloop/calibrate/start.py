"""The profile that a calibration starts from: the nearest shipped board, with the device's own facts in it."""

from __future__ import annotations

from dataclasses import replace

from edgeloop_profiles import load_profile
from edgeloop_profiles.profile import Profile, RuntimeModel
from edgeloop_protocol.types.facts import Facts

__all__ = ["starting_profile"]

_X86 = ("x86_64", "i686", "amd64")


def starting_profile(facts: Facts, name: str, base: Profile | None = None) -> Profile:
    """Return a profile of the device to fit from.

    Args:
        facts: of the device.
        name: of the new profile; also its file's stem.
        base: profile of a device of the same tier; None takes the nearest shipped one.
    """
    origin = base or load_profile(_nearest(facts))
    hardware = facts.hardware
    cores = hardware.logical_cores
    processor = replace(
        origin.processor,
        kind="assumed",
        source=f"facts of the device; what it does not tell is taken from {origin.name}",
        board_model=hardware.model or hardware.cpu_model or name,
        architecture=hardware.architecture,
        cpu_model=hardware.cpu_model or origin.processor.cpu_model,
        isa_flags=hardware.isa_flags,
        physical_cores=min(cores, hardware.physical_cores or cores),
        logical_cores=cores,
        max_frequency_hz=hardware.max_frequency_hz or origin.processor.max_frequency_hz,
        min_frequency_hz=min(
            origin.processor.min_frequency_hz, hardware.max_frequency_hz or origin.processor.max_frequency_hz
        ),
    )
    memory = replace(
        origin.memory,
        kind="assumed",
        source=f"total from the facts of the device; reserved as {origin.name}",
        total_bytes=hardware.memory_total_bytes,
        reserved_bytes=min(origin.memory.reserved_bytes, hardware.memory_total_bytes // 2),
    )
    return replace(
        origin,
        name=name,
        title=f"{processor.board_model}, calibrated from {origin.name}",
        processor=processor,
        memory=memory,
        runtimes=tuple(_for_cores(runtime, cores) for runtime in origin.runtimes),
        calibration=None,
        digest="",
    )


def _nearest(facts: Facts) -> str:
    flags = facts.hardware.isa_flags
    if facts.hardware.architecture in _X86:
        return "nuc11"
    return "raspberry_pi_5" if "asimddp" in flags or "asimdhp" in flags else "raspberry_pi_4"


def _for_cores(runtime: RuntimeModel, cores: int) -> RuntimeModel:
    """Return the runtime with a speed-up for each of the device's processors."""
    curve = runtime.threads.speedup[:cores]
    curve += (curve[-1],) * (cores - len(curve))
    return replace(runtime, threads=replace(runtime.threads, speedup=curve))
