from __future__ import annotations

import numpy as np
from edgeloop.compress.codebooks import coded, decoded


def error(table, size, seed=0):
    codes, books = coded(table, size, seed)
    return float(((decoded(codes, books, table.shape[1]) - table) ** 2).mean() / (table**2).mean())


def test_fewer_numbers_a_byte_are_nearer_and_three_lose_a_thirtieth(rng):
    table = rng.standard_normal((3000, 6)).astype(np.float32)
    errors = [error(table, size) for size in (2, 3, 4)]
    # Of independent normal numbers, the hardest there are; the rate bounds are 2 to the power of -8, -5.3 and -4.
    assert 0.004 < errors[0] < 0.01 < errors[1] < 0.036 < errors[2] < 0.1


def test_what_repeats_is_exact_and_columns_need_not_divide(rng):
    values = rng.standard_normal((200, 7)).astype(np.float32)
    table = values[rng.integers(0, 200, 900)]
    codes, books = coded(table, 3, 0)
    assert codes.shape == (900, 3)
    assert books.shape == (3, 256, 3)
    assert np.abs(decoded(codes, books, 7) - table).max() < 0.5
    assert error(table, 3) < 1e-3


def test_the_same_seed_gives_the_same_codes(rng):
    table = rng.standard_normal((400, 4)).astype(np.float32)
    first, second, other = coded(table, 2, 1), coded(table, 2, 1), coded(table, 2, 2)
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])
    assert not np.array_equal(first[0], other[0])
