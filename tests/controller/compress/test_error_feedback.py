from __future__ import annotations

import numpy as np
from edgeloop.compress.error_feedback import fed_back
from edgeloop.compress.fourbit import block_grid


def restored(levels, scales, shape):
    rows, columns = shape
    return (levels * scales[:, None]).reshape(columns, -1)[:, :rows].T


def test_without_correlation_it_rounds_each_weight_to_its_own_nearest(rng):
    weight = rng.standard_normal((64, 6)).astype(np.float32)
    levels, scales = fed_back(weight, np.eye(64), 32)
    plain = block_grid(weight.T, 32)
    assert np.array_equal(levels, plain[0])
    assert np.array_equal(scales, plain[1])


def test_the_error_of_the_answers_falls_and_that_of_the_weights_rises(rng):
    weight = rng.standard_normal((96, 20)).astype(np.float32)
    x = rng.standard_normal((500, 8)) @ rng.standard_normal((8, 96)) + 0.05 * rng.standard_normal((500, 96))
    made = restored(*fed_back(weight, x.T @ x, 32), weight.shape)
    plain = restored(*block_grid(weight.T, 32), weight.shape)
    assert np.linalg.norm(x @ (made - weight)) < 0.6 * np.linalg.norm(x @ (plain - weight))
    assert np.linalg.norm(made - weight) > np.linalg.norm(plain - weight)


def test_a_block_that_is_not_whole_and_a_column_of_zeros(rng):
    weight = rng.standard_normal((40, 3)).astype(np.float32)
    weight[:, 1] = 0
    x = rng.standard_normal((200, 40))
    levels, scales = fed_back(weight, x.T @ x, 32)
    assert levels.shape == (6, 32)
    assert scales.shape == (6,)
    made = restored(levels, scales, weight.shape)
    assert np.linalg.norm(made - weight) < 0.2 * np.linalg.norm(weight)
    assert not made[:, 1].any()
