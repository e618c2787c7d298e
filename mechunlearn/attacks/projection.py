"""Where questions lie along a direction: what a figure shows of an ablated direction."""

from collections.abc import Sequence
from typing import ClassVar

import torch

from mechunlearn.attacks.protocol import Confirm, Trace
from mechunlearn.bench.rows import pad
from mechunlearn.hooks import forward_to
from mechunlearn.types import Direction, HookedModel


class ProjectionTrace(Trace, frozen=True):
    """Coordinates along the unit direction at the last token of each confirm question."""

    kind: ClassVar[str] = "projection"
    layer: int
    direction: str
    forget: tuple[float, ...]
    retain: tuple[float, ...]


@torch.no_grad()
def project(
    model: HookedModel, direction: Direction, layer: int, texts: Sequence[str]
) -> list[float]:
    """Coordinate along the unit direction at the last token of each text."""
    (unit,) = direction.restricted([layer]).unit()
    values: list[float] = []
    for start in range(0, len(texts), 64):
        tokens, real = pad(model, model.tokenizer(list(texts[start : start + 64]))["input_ids"])
        resid = forward_to(model, tokens, layer)
        last = resid[torch.arange(len(tokens), device=real.device), real.sum(dim=1) - 1]
        values += (last.float() @ unit.to(last.device)).tolist()
    return values


def projections(
    model: HookedModel, confirm: Confirm, direction: Direction, layer: int
) -> ProjectionTrace:
    """Where the confirm fold's questions lie along a layer's direction."""
    forget, retain = (
        project(model, direction, layer, [confirm.prompt.text(q, confirm.scoring) for q in asked])
        for asked in (confirm.forget, confirm.retain)
    )
    return ProjectionTrace(
        layer=layer,
        direction=direction.name,
        forget=tuple(round(v, 3) for v in forget),
        retain=tuple(round(v, 3) for v in retain),
    )
