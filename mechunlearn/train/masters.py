"""Float32 copies of half-precision weights, which the optimizer steps on.

    m <- m - step(g);  w <- round(m)

In bfloat16 a weight has eight significant bits: a step below 1/512 of its size is rounded away,
as are almost all steps at published learning rates. The copies collect them; the model computes
with the rounded weights. Gradients of several backward passes are added up in float32 too.
Weights in float32 are their own copy, so that nothing changes for them.

Reference:
    Micikevicius et al. 2018, Mixed Precision Training, arXiv:1710.03740, section 3.1. Rounding at
    random would need no copies (12 bytes a weight with moments instead of 16), but adds noise that
    a comparison with float32 would have to separate from the method.
"""

from collections.abc import Sequence

import torch
from torch.nn import Parameter


class Masters:
    """Weights to train and what the optimizer steps on in their place."""

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        self.weights = list(parameters)
        self.stepped = [Parameter(p.detach().float()) if _half(p) else p for p in parameters]
        """The weights themselves, or float32 copies of those in half precision."""

    def collect(self) -> None:
        """Move the weights' gradients to the copies, adding to what is there."""
        for weight, master in self._copies():
            if weight.grad is None:
                continue
            gradient = weight.grad.float()
            master.grad = gradient if master.grad is None else master.grad.add_(gradient)
            weight.grad = None

    @torch.no_grad()
    def write(self) -> None:
        """Round the copies into the weights."""
        for weight, master in self._copies():
            weight.copy_(master)

    def _copies(self) -> list[tuple[Parameter, Parameter]]:
        pairs = zip(self.weights, self.stepped, strict=True)
        return [(weight, master) for weight, master in pairs if weight is not master]


def _half(parameter: Parameter) -> bool:
    return parameter.dtype in (torch.bfloat16, torch.float16)
