"""The profile that a calibration starts from follows the device's instruction sets."""

from __future__ import annotations

import pytest
from edgeloop.calibrate.start import starting_profile, tier_of
from edgeloop.orchestrate.calibrate import check_tier
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_profiles import list_profiles, load_profile
from edgeloop_protocol.types.facts import Facts, Hardware, OperatingSystem


def hardware(architecture: str, flags: tuple[str, ...]) -> Hardware:
    return Hardware(
        architecture=architecture, isa_flags=flags, logical_cores=6, memory_total_bytes=4 << 30, model="New"
    )


def facts(found: Hardware) -> Facts:
    return Facts(
        device_id="d" * 32,
        name="board",
        hardware=found,
        operating_system=OperatingSystem(name="Test", kernel="6", python_version="3.11"),
        boot_id="boot-1",
    )


@pytest.mark.parametrize("name", [n for n in list_profiles() if load_profile(n).processor.isa_flags])
def test_the_flags_of_a_shipped_board_prove_its_tier(name: str) -> None:
    processor = load_profile(name).processor
    if not processor.isa_tier.startswith("wasm"):
        assert tier_of(hardware(processor.architecture, processor.isa_flags)) == processor.isa_tier


@pytest.mark.parametrize(
    ("architecture", "flags", "tier"),
    [
        ("x86_64", ("avx", "avx2", "fma"), "avx2"),
        ("x86_64", ("avx2", "avx_vnni"), "avx2_vnni"),
        ("x86_64", ("avx2", "avx512_vnni"), "avx512_vnni"),
        ("x86_64", ("sse4_2",), "sse4"),
        ("aarch64", ("asimd",), "neon"),
        ("aarch64", ("asimd", "asimdhp"), "neon_fp16"),
        ("aarch64", ("asimd", "asimdhp", "asimddp"), "neon_dotprod"),
        ("aarch64", ("asimddp", "i8mm"), "neon_i8mm"),
    ],
)
def test_a_calibration_starts_from_a_board_of_the_same_tier(
    architecture: str, flags: tuple[str, ...], tier: str
) -> None:
    start = starting_profile(facts(hardware(architecture, flags)), "mine")
    assert start.processor.isa_tier == tier
    assert len(start.runtime("onnxruntime").threads.speedup) == 6


def test_a_transfer_to_another_tier_is_refused() -> None:
    base = load_profile("raspberry_pi_4")
    check_tier("other", hardware("aarch64", ("asimd", "crc32")), base)
    with pytest.raises(InvalidInputError, match=r"tier neon, other is of neon_dotprod"):
        check_tier("other", hardware("aarch64", ("asimd", "asimddp")), base)
