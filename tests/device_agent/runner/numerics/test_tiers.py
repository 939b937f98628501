"""Which tiers saturate, and what this machine is taken for."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgeloop_agent.runner.numerics.tiers import host_saturates, saturates


def test_only_avx2_without_vnni_saturates_among_the_tiers_of_profiles() -> None:
    tiers = ("neon", "neon_fp16", "neon_dotprod", "neon_i8mm", "sse4", "avx2", "avx2_vnni", "avx512_vnni")
    assert [tier for tier in tiers if saturates(tier)] == ["avx2"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("flags\t\t: fpu sse4_2 avx avx2 fma", True),
        ("flags\t\t: fpu avx avx2 fma avx512f avx512bw", True),
        ("flags\t\t: fpu avx avx2 avx_vnni", False),
        ("flags\t\t: fpu avx avx2 avx512f avx512_vnni", False),
        ("flags\t\t: fpu sse4_2 avx", False),
        ("Features\t: fp asimd asimddp", False),
    ],
)
def test_the_host_is_read_from_its_flags(tmp_path: Path, line: str, expected: bool) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(f"processor\t: 0\n{line}\n", encoding="utf-8")
    assert host_saturates(tmp_path) is expected
