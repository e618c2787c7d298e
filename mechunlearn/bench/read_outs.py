"""Read-outs: where an answer is read, and how activations there become logits."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from mechunlearn.hooks import unembed
from mechunlearn.types import HookedModel, Point


@dataclass(frozen=True, slots=True)
class LensReadOut:
    """The logit lens at one point: ``W_U ln_final(x) + b_U``; at the last one, the output."""

    point: Point
    norm: bool = True
    """Whether the final norm is applied before unembedding."""

    def logits(
        self,
        model: HookedModel,
        resid: Float[Tensor, "row d_model"],
        ids: Int[Tensor, " token"] | None = None,
    ) -> Float[Tensor, "row token"]:
        """Logits of some tokens (default: all), in float32."""
        return unembed(model, resid, ids, self.norm)
