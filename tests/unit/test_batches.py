"""Rows of similar length are computed together, within a budget and with little padding."""

import numpy as np
import pytest

from mechunlearn.bench.batches import WORTH_SPLITTING, batches


@pytest.mark.parametrize("seed", range(5))
def test_every_row_is_in_one_batch_within_the_budget(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 60, size=200).tolist()
    found = list(batches(lengths, 400))
    assert sorted(i for batch in found for i in batch) == list(range(200))
    for batch in found:
        own = [lengths[i] for i in batch]
        assert own[0] == max(own)
        assert own[0] * len(own) <= 400
        saved = [(own[0] - length) * (len(own) - i) for i, length in enumerate(own)]
        assert max(saved) <= WORTH_SPLITTING * 400


def test_lengths_that_differ_are_apart_and_alike_ones_together() -> None:
    assert list(batches([20] * 30 + [5] * 30, 2000)) == [list(range(30)), list(range(30, 60))]
    assert list(batches([20] * 30 + [19] * 30, 2000)) == [list(range(60))]
    assert list(batches([20, 5], 2000)) == [[0, 1]]  # Fifteen tokens are not worth a forward.
    assert list(batches([500, 3], 100)) == [[0], [1]]  # A row longer than the budget stands alone.
