"""Several continuations of one text in one row: what each token may see, and where it stands."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mechunlearn.bench.rows import placed
from mechunlearn.types import HookedModel

Mask = Float[Tensor, "row 1 query key"]


@dataclass(frozen=True, slots=True)
class Branch:
    """Consecutive tokens of a row that see each other and the row's first ``seen`` tokens."""

    start: int
    length: int
    seen: int


def branches(
    model: HookedModel, rows: Sequence[Sequence[Branch]], width: int, cached: int
) -> dict[str, Any]:
    """Mask and positions under which no branch of a row sees another one.

    Args:
        rows: Branches of each row, counted from its first cached token.
        width: Tokens of the rows that are not cached.
        cached: Tokens that are.

    Returns:
        Arguments of the forward. Models that mix full and sliding attention get a mask for each
        kind of layer.

    Raises:
        ValueError: If the model's gate found that it computes such rows wrong.
    """
    if not model.shortcuts.packing:
        raise ValueError(
            f"{model.provenance.name} cannot compute several continuations in one row: "
            f"{model.provenance.architecture} masks tokens in a way of its own; leave this out"
        )
    total = cached + width
    allowed = torch.ones(total, total, dtype=torch.bool).tril().repeat(len(rows), 1, 1)
    positions = torch.arange(total).repeat(len(rows), 1)
    for i, row in enumerate(rows):
        for branch in row:
            own = slice(branch.start, branch.start + branch.length)
            allowed[i, own, branch.seen : branch.start] = False
            positions[i, own] = torch.arange(branch.seen, branch.seen + branch.length)
    dtype, device = next(model.parameters()).dtype, model.cfg.device

    def additive(seen: Bool[Tensor, "row total total"]) -> Mask:
        mask = torch.zeros(seen.shape, dtype=dtype)
        mask.masked_fill_(~seen, torch.finfo(dtype).min)
        return placed(mask[:, None, cached:], device)

    inputs = {
        "attention_mask": additive(allowed),
        "position_ids": placed(positions[:, cached:], device),
    }
    config = model.original_model.config.get_text_config()
    # Configurations write 0, too, for a window that is off.
    window = getattr(config, "sliding_window", None) or None
    mixed = "sliding_attention" in (getattr(config, "layer_types", None) or ())
    if window is None or (total <= window and not mixed):
        return inputs
    near = positions[:, :, None] - positions[:, None] < window
    sliding = additive(allowed & near)
    masks = {"full_attention": inputs["attention_mask"], "sliding_attention": sliding}
    return inputs | {"attention_mask": masks if mixed else sliding}
