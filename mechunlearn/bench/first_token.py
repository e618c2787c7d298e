"""What a model would say first behind a prompt, and how far a change moves that."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mechunlearn.bench.states import states_at
from mechunlearn.hooks import unembed
from mechunlearn.types import NO_CHANGE, Change, HookedModel, Point

AT_ONCE = 16
"""Prompts that are unembedded together."""


@torch.no_grad()
def first_token_logs(
    model: HookedModel, texts: Sequence[str], change: Change = NO_CHANGE
) -> Float[Tensor, "prompt token"]:
    """Log-probabilities of the token behind each prompt, in float32, on the host.

    Args:
        change: Its hooks and edits are applied.
    """
    rows = model.tokenizer(list(texts))["input_ids"]
    final = Point(model.cfg.n_layers - 1)
    with change.on(model):
        found = states_at(model, rows, [[len(row) - 1] for row in rows], [final])
    logs = [unembed(model, states).log_softmax(-1) for states in found[final].split(AT_ONCE)]
    return torch.cat(logs)


def divergence(
    before: Float[Tensor, "prompt token"], after: Float[Tensor, "prompt token"]
) -> float:
    """KL(before || after) in nats, mean over the prompts."""
    each = (before.exp() * (before - after)).nan_to_num(0.0).sum(dim=-1)
    return float(each.mean())
