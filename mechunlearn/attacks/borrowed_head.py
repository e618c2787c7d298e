"""A read-out by another model's final norm and unembedding."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechunlearn.hooks import unembed
from mechunlearn.types import HookedModel, Point

Head = Callable[[Float[Tensor, "row d_model"]], Float[Tensor, "row d_vocab"]]


@dataclass(frozen=True, slots=True, eq=False)
class HeadReadOut:
    """States read by the original's norm and head."""

    point: Point
    head: Head
    placebo: int | None = None
    """Seed: what the two heads differ by goes to tokens in random order instead."""

    def logits(
        self,
        model: HookedModel,
        resid: Float[Tensor, "row d_model"],
        ids: Int[Tensor, " token"] | None = None,
    ) -> Float[Tensor, "row token"]:
        """Logits of some tokens (default: all), in float32."""
        logits = self.head(resid)
        if self.placebo is not None:
            own = unembed(model, resid)
            generator = torch.Generator().manual_seed(self.placebo)
            order = torch.randperm(own.shape[1], generator=generator).to(own.device)
            logits = own + (logits - own)[:, order]
        return logits if ids is None else logits[:, ids]
