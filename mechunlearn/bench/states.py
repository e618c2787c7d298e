"""Hidden states of many prompts at chosen places, on the host."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mechunlearn.bench.batches import in_batches
from mechunlearn.bench.rows import pad
from mechunlearn.hooks import capture, count_flops, run_blocks
from mechunlearn.types import HookedModel, Point


@torch.no_grad()
def states_at(
    model: HookedModel,
    rows: Sequence[Sequence[int]],
    places: Sequence[Sequence[int]],
    points: Sequence[Point],
) -> dict[Point, Float[Tensor, "place d_model"]]:
    """What passes some points at some tokens, in one forward per batch.

    Args:
        rows: Tokens of each prompt.
        places: Of each prompt, the tokens that are kept.

    Returns:
        By point, in the model's type: the places of the first row, then of the second, ...
    """
    starts = [0]
    for own in places:
        starts.append(starts[-1] + len(own))
    blocks = 1 + max(point.layer for point in points)
    kept: dict[Point, Tensor] = {}

    def compute(batch: list[int]) -> None:
        tokens, _ = pad(model, [rows[i] for i in batch])
        width = tokens.shape[1]
        pick = [at * width + place for at, i in enumerate(batch) for place in places[i]]
        slots = [slot for i in batch for slot in range(starts[i], starts[i + 1])]
        count_flops(model, tokens.numel(), blocks)
        with capture(model, points, torch.tensor(pick, device=tokens.device)) as found:
            run_blocks(model, tokens, blocks)
        for point, states in found.items():
            if point not in kept:
                kept[point] = torch.empty(starts[-1], states.shape[1], dtype=states.dtype)
            kept[point][slots] = states.cpu()

    in_batches(model, [len(row) for row in rows], compute, backward=True)
    return kept
