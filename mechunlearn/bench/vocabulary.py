"""Log-probabilities over a whole vocabulary, a part of the rows at a time.

The logits of a batch over 256,000 tokens take more memory than all of its activations. What a
backward pass needs of them is computed again there instead of kept; values and gradients are the
same, bit for bit, as long as the rows are one part.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mechunlearn.bench.footprint import LOGITS
from mechunlearn.bench.rows import placed

WORTH_RECOMPUTING = 2**20
"""Logits of one call from which on a backward pass computes them again."""


def row_parts(rows: int, vocabulary: int, kind: str) -> list[slice]:
    """Rows whose logits are computed together.

    Args:
        kind: Of the device.
    """
    size = max(1, LOGITS.get(kind, LOGITS["cuda"]) // vocabulary)
    return [slice(start, start + size) for start in range(0, rows, size)]


def over_rows(
    compute: Callable[[slice], Tensor], rows: int, vocabulary: int, device: torch.device
) -> list[Tensor]:
    """``compute`` for each part of the rows, keeping no logits for a backward pass."""
    parts = row_parts(rows, vocabulary, device.type)
    if not torch.is_grad_enabled() or rows * vocabulary < WORTH_RECOMPUTING:
        return [compute(part) for part in parts]
    return [
        checkpoint(compute, part, use_reentrant=False, preserve_rng_state=False) for part in parts
    ]


def log_probabilities(
    logits: Callable[[Tensor], Float[Tensor, "row d_vocab"]],
    states: Float[Tensor, "row d_model"],
    vocabulary: int,
    row: Int[Tensor, " read"],
    token: Int[Tensor, " read"],
) -> Float[Tensor, " read"]:
    """Log-probability of each read's token, from the states of its row; differentiable.

    Args:
        logits: Logits of some states over the whole vocabulary.
        vocabulary: How many tokens that are.
        row: On the host, where the reads are dealt out to parts without waiting for a GPU.
    """
    order: list[Tensor] = []

    def compute(part: slice) -> Tensor:
        here = ((row >= part.start) & (row < part.stop)).nonzero()[:, 0]
        order.append(here)
        own, read = (placed(x, states.device) for x in (row[here] - part.start, here))
        return logits(states[part]).log_softmax(-1)[own, token[read]]

    values = over_rows(compute, len(states), vocabulary, states.device)
    if len(values) == 1:
        return values[0]
    return torch.cat(values)[placed(torch.cat(order[: len(values)]).argsort(), states.device)]
