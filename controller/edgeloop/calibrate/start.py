"""The profile that a calibration starts from: the nearest shipped board, with the device's own facts in it."""

from __future__ import annotations

from dataclasses import replace

from edgeloop_profiles import load_profile
from edgeloop_profiles.profile import Profile, RuntimeModel
from edgeloop_protocol.types.facts import Facts, Hardware

__all__ = ["starting_profile", "tier_of"]

_X86 = ("x86_64", "i686", "amd64")

_X86_TIERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("avx512_vnni", ("avx512_vnni", "avx512vnni")),
    ("avx2_vnni", ("avx_vnni", "avxvnni")),
    ("avx2", ("avx2",)),
    ("sse4", ()),
)
_ARM_TIERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("neon_i8mm", ("i8mm",)),
    ("neon_dotprod", ("asimddp",)),
    ("neon_fp16", ("asimdhp",)),
    ("neon", ()),
)
"""Tiers from the widest to the narrowest, each with the flags of /proc/cpuinfo that prove it; the last needs none."""

_BOARD_OF_TIER = {
    "avx512_vnni": "nuc11",
    "avx2_vnni": "nuc13_i5",
    "avx2": "nuc8_i5",
    "sse4": "mini_pc_n5105",
    # No shipped board has the matrix instructions; a Raspberry Pi 5 has all the others.
    "neon_i8mm": "raspberry_pi_5",
    "neon_dotprod": "raspberry_pi_5",
    "neon_fp16": "jetson_xavier_nx",
    "neon": "raspberry_pi_4",
}


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
        isa_tier=tier_of(hardware),
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


def tier_of(hardware: Hardware) -> str:
    """Return the tier of instruction sets that a device's processor flags prove."""
    flags = {flag.lower() for flag in hardware.isa_flags}
    tiers = _X86_TIERS if hardware.architecture.lower() in _X86 else _ARM_TIERS
    return next(tier for tier, proof in tiers if not proof or flags & set(proof))


def _nearest(facts: Facts) -> str:
    return _BOARD_OF_TIER[tier_of(facts.hardware)]


def _for_cores(runtime: RuntimeModel, cores: int) -> RuntimeModel:
    """Return the runtime with a speed-up for each of the device's processors."""
    curve = runtime.threads.speedup[:cores]
    curve += (curve[-1],) * (cores - len(curve))
    return replace(runtime, threads=replace(runtime.threads, speedup=curve))
