"""Sums of products against the instruction: in plain Python, and on a processor that has it."""

from __future__ import annotations

import ctypes
import mmap
import platform
from pathlib import Path

import numpy as np
import pytest
from edgeloop_agent.runner.numerics.products import accumulate, can_saturate, requantize, saturating_pairs
from numpy.typing import NDArray

VPMADDUBSW = bytes.fromhex("c5fe6f07 c5fe6f0e c4e27d04c1 c5fe7f02 c5f877 c3")
"""vmovdqu ymm0,[rdi]; vmovdqu ymm1,[rsi]; vpmaddubsw ymm0,ymm0,ymm1; vmovdqu [rdx],ymm0; vzeroupper; ret"""


def pair(a: int, b: int, c: int, d: int) -> int:
    """One element of ``vpmaddubsw`` as the manual writes it: SaturateToSignedWord(a * b + c * d)."""
    return max(-32768, min(32767, a * b + c * d))


def scalar(left: list[int], right: list[int]) -> int:
    """A whole sum: neighbours saturate, then all are added in 32 bits."""
    if len(left) % 2:
        left, right = [*left, 0], [*right, 0]
    return sum(pair(left[i], right[i], left[i + 1], right[i + 1]) for i in range(0, len(left), 2))


@pytest.mark.parametrize("depth", [1, 2, 7, 64, 515])
def test_sums_saturate_as_the_scalar_definition(depth: int) -> None:
    rng = np.random.default_rng(depth)
    left = rng.integers(128, 256, (5, depth), dtype=np.uint8)
    right = rng.choice(np.array([-128, -127, -3, 0, 90, 127], np.int8), (depth, 9))
    expected = [[scalar(row.tolist(), column.tolist()) for column in right.T] for row in left]
    assert accumulate(left, right, saturating=True).tolist() == expected
    exact = left.astype(np.int64) @ right.astype(np.int64)
    assert accumulate(left, right, saturating=False).tolist() == exact.tolist()
    if depth > 1:
        assert expected != exact.tolist()


@pytest.mark.parametrize(("left", "right"), [(np.uint8, np.uint8), (np.int8, np.int8)])
def test_other_types_are_exact_even_where_saturation_is_asked_for(left: type, right: type) -> None:
    low, high = np.iinfo(left).max, np.iinfo(right).max
    sums = accumulate(np.full((1, 600), low, left), np.full((600, 1), high, right), saturating=True)
    assert sums.item() == 600 * low * high


def test_seven_bit_weights_cannot_saturate_and_eight_bit_ones_can() -> None:
    assert not can_saturate(np.full((8, 3), 64, np.int8))
    assert not can_saturate(np.full((8, 3), -64, np.int8))
    assert can_saturate(np.full((8, 3), 65, np.int8))
    mixed = np.array([[127, 100], [-128, 29], [127, 0], [0, 127]], np.int8)
    assert saturating_pairs(mixed).tolist() == [[False, True], [False, False]]


def test_requantisation_rounds_half_to_even_and_clamps() -> None:
    sums = np.array([1, 3, 5, -1, 10_000, -10_000], np.int32)
    assert requantize(sums, np.float32(0.5), np.uint8(10)).tolist() == [10, 12, 12, 10, 255, 0]
    assert requantize(sums, np.float32(0.5), np.int8(-4)).tolist() == [-4, -2, -2, -4, 127, -128]


def _has_avx2() -> bool:
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return False
    return " avx2 " in Path("/proc/cpuinfo").read_text(encoding="utf-8")


@pytest.mark.skipif(not _has_avx2(), reason="this processor has no vpmaddubsw on 256 bits")
def test_pairs_saturate_as_the_instruction_itself() -> None:
    code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(VPMADDUBSW)
    address = ctypes.addressof(ctypes.c_char.from_buffer(code))
    multiply = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)(address)
    rng = np.random.default_rng(1)
    saturated = 0
    for _ in range(200):
        left: NDArray[np.uint8] = rng.integers(0, 256, 32, dtype=np.uint8)
        right: NDArray[np.int8] = rng.integers(-128, 128, 32, dtype=np.int8)
        found = np.zeros(16, np.int16)
        multiply(left.ctypes.data, right.ctypes.data, found.ctypes.data)
        for place in range(16):
            both = slice(2 * place, 2 * place + 2)
            ours = accumulate(left[both][None], right[both][:, None], saturating=True).item()
            assert ours == found[place]
        saturated += int(np.count_nonzero((found == 32767) | (found == -32768)))
    assert saturated > 50
