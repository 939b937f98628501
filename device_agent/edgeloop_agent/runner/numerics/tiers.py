"""Which instruction sets add saturated products of 8-bit pairs.

From ONNX Runtime's source, ``onnxruntime/core/mlas/lib``:

- AVX2 without VNNI multiplies unsigned activations with signed weights by ``vpmaddubsw``, which saturates the sum of
  two products to 16 bits (``amd64/QgemmU8S8KernelAvx2``, ``QgemvU8S8KernelAvx2``, ``ConvSymKernelAvx2``; chosen in
  ``platform.cpp``). ``vpdpbusds`` of AVX-VNNI and AVX512-VNNI adds in 32 bits.
- Both of one sign, or unsigned with unsigned, are widened to 16 bits first and exact; so are depthwise convolutions
  (``vpmaddwd`` in ``ConvSymKernelAvx2``, ``qdwconv_kernelsize``).
- Below AVX2 the Linux and macOS builds use the SSE2 kernel, which widens: exact. (The SSE4.1 kernel, which saturates,
  is compiled with MSVC only.)
- AArch64 is exact, and quantises as x86 does: float32, rounded half to even (``vcvtnq`` in ``quantize.cpp``). So there
  is nothing to work out for those tiers. One corner is left: without dot products two products of signed bytes are
  added in 16 bits (``smull``, ``smlal`` in ``aarch64/QgemmS8S8KernelNeon``), which wraps when both weights are -128 and
  both activations the least; symmetric quantisation stops at -127.
- AArch64 with half-precision vectors computes float16 as such (``MLAS_F16VEC_INTRINSICS_SUPPORTED``); x86 widens it to
  float32. This is not worked out, and the record says so.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["computes_fp16", "host_saturates", "saturates"]

_SATURATING = frozenset({"avx2"})
_FP16 = frozenset({"neon_fp16", "neon_dotprod", "neon_i8mm"})
_EXACT = frozenset({"avx_vnni", "avx512_vnni", "amx_int8"})


def saturates(tier: str) -> bool:
    """Return whether ONNX Runtime saturates sums of two products on this tier of a profile."""
    return tier in _SATURATING


def computes_fp16(tier: str) -> bool:
    """Return whether ONNX Runtime computes float16 without widening it on this tier of a profile."""
    return tier in _FP16


def host_saturates(root: Path = Path("/")) -> bool:
    """Return the same of the machine that this process runs on, from its processor flags."""
    lines = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    flags = next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())
    return "avx2" in flags and not flags & _EXACT
