import numpy as np
import pytest

from toolkit.analysis.change_detection.block_length import block_length, cut_blocks, widening


def _wander(draw, memory, n=600):
    kept, level = np.exp(-1 / memory), [draw.normal()]
    for step in draw.normal(0, np.sqrt(1 - kept**2), n - 1):
        level.append(kept * level[-1] + step)
    return np.array(level)


def test_independent_values_need_short_blocks():
    draw = np.random.default_rng(1)
    assert np.median([block_length([draw.normal(size=600)] * 2) for _ in range(30)]) == 1


@pytest.mark.parametrize("memory", [3, 10, 30])
def test_the_length_grows_with_the_memory_as_politis_and_white_derive_it(memory):
    draw = np.random.default_rng(1)
    found = np.median([block_length([_wander(draw, memory) for _ in range(2)]) for _ in range(40)])
    # Of an autoregressive process of order 1, and 1.5 times that: 1.5 * (1.5 * memory**2 * n) ** (1/3).
    assert found == pytest.approx(1.5 * (1.5 * memory**2 * 600) ** (1 / 3), rel=0.35)


def test_values_without_variance_and_few_values_have_length_1():
    assert block_length([np.zeros(50)] * 2) == 1
    assert block_length([np.array([1.0, -1.0])] * 2) == 1


def test_blocks_are_widened_by_the_correlation_of_neighbours():
    draw = np.random.default_rng(1)
    alone, neighbours = ([_wander(draw, memory) for _ in range(2)] for memory in (1e-9, 1.0))
    assert widening(alone) < 1.2
    assert widening(neighbours) == pytest.approx((1 + np.exp(-1)) / (1 - np.exp(-1)), rel=0.25)
    assert widening([np.zeros(9)] * 2) == 1


def test_blocks_have_nearly_equal_lengths():
    assert cut_blocks(10, 3.0).tolist() == [0, 3, 6]
    assert cut_blocks(10, 100.0).tolist() == [0]
    assert set(np.diff([*cut_blocks(120, 13.3), 120])) == {13, 14}
