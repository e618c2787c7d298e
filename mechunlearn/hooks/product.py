"""Products with a weight matrix in float32, whatever type the weights have.

Half-precision weights are cast a part at a time, so that no float32 copy of a whole unembedding is
made: for Gemma 2 2B it would take 2.4 GB.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

PART_NUMBERS = 2**22
"""Numbers of a weight matrix that are cast at once (16 MiB in float32)."""


def full_product(
    x: Float[Tensor, "row d_model"],
    weight: Float[Tensor, "token d_model"],
    bias: Float[Tensor, " token"] | None = None,
) -> Float[Tensor, "row token"]:
    """``x W^T + b`` in float32 (float64 for weights in float64), with gradients.

    Autocast, which would round both factors to bfloat16, is off inside.
    """
    with torch.autocast(weight.device.type, enabled=False):
        full = torch.promote_types(weight.dtype, torch.float32)
        if weight.dtype == full:
            return linear(x.to(full), weight, bias)
        product: Tensor = _HalfWeights.apply(x.to(full), weight)
        return product if bias is None else product + bias.to(full)


class _HalfWeights(torch.autograd.Function):
    """``x W^T`` for float32 states and half-precision weights."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        product = x.new_empty(len(x), len(weight))
        for part in _parts(weight):
            torch.mm(x, weight[part].to(x.dtype).T, out=product[:, part])
        return product

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        wants_x, wants_weight = ctx.needs_input_grad
        of_x = torch.zeros_like(x) if wants_x else None
        of_weight = torch.empty_like(weight) if wants_weight else None
        for part in _parts(weight):
            if of_x is not None:
                of_x.addmm_(gradient[:, part], weight[part].to(x.dtype))
            if of_weight is not None:
                of_weight[part] = (gradient[:, part].T @ x).to(weight.dtype)
        return of_x, of_weight


def _parts(weight: Tensor) -> list[slice]:
    size = max(1, PART_NUMBERS // weight.shape[1])
    return [slice(start, start + size) for start in range(0, len(weight), size)]
