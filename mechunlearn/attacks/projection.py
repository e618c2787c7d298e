"""Where questions lie along the found direction: the picture behind an ablation."""

from typing import Any

import torch

from mechunlearn.attacks.direction_ablation import question_texts
from mechunlearn.bench.rows import pad
from mechunlearn.hooks import forward_to
from mechunlearn.types import Direction, HookedModel, Task


@torch.no_grad()
def projections(model: HookedModel, direction: Direction, layer: int, task: Task) -> dict[str, Any]:
    """Coordinates along the unit direction at the last token of each confirm question."""
    (unit,) = direction.restricted([layer]).unit()
    found: dict[str, Any] = {"layer": layer, "direction": direction.name}
    for role in ("forget", "retain"):
        texts = question_texts(task, task.questions(role, "confirm"))
        values = []
        for start in range(0, len(texts), 64):
            tokens, real = pad(model, model.tokenizer(texts[start : start + 64])["input_ids"])
            resid = forward_to(model, tokens, layer)
            last = resid[torch.arange(len(tokens), device=real.device), real.sum(dim=1) - 1]
            values += (last.float() @ unit.to(last.device)).tolist()
        found[role] = [round(v, 3) for v in values]
    return found
