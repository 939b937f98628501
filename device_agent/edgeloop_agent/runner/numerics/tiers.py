"""Which instruction sets add saturated products of 8-bit pairs.

From ONNX Runtime's source, ``onnxruntime/core/mlas/lib``:

- AVX2 without VNNI multiplies unsigned activations with signed weights by ``vpmaddubsw``, which saturates the sum of
  two products to 16 bits (``amd64/QgemmU8S8KernelAvx2``, ``QgemvU8S8KernelAvx2``, ``ConvSymKernelAvx2``; chosen in
  ``platform.cpp``). ``vpdpbusds`` of AVX-VNNI and AVX512-VNNI adds in 32 bits.
- Both of one sign, or unsigned with unsigned, are widened to 16 bits first and exact; so are depthwise convolutions
  (``vpmaddwd`` in ``ConvSymKernelAvx2``, ``qdwconv_kernelsize``).
- Below AVX2 the Linux and macOS builds use the SSE2 kernel, which widens: exact. (The SSE4.1 kernel, which saturates,
  is compiled with MSVC only.)
- AArch64 is exact, and requantises as x86 does: a float32 multiplication, rounded half to even (``vcvtnq``,
  ``fcvtns``). So there is nothing to work out for those tiers.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["host_saturates", "saturates"]

_SATURATING = frozenset({"avx2"})
_EXACT = frozenset({"avx_vnni", "avx512_vnni", "amx_int8"})


def saturates(tier: str) -> bool:
    """Return whether ONNX Runtime saturates sums of two products on this tier of a profile."""
    return tier in _SATURATING


def host_saturates(root: Path = Path("/")) -> bool:
    """Return the same of the machine that this process runs on, from its processor flags."""
    lines = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    flags = next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())
    return "avx2" in flags and not flags & _EXACT
