"""Where an answer is read: the output, or the same unembedding at an earlier point."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from mechunlearn.hooks import unembed
from mechunlearn.types import HookedModel, Point


@dataclass(frozen=True, slots=True)
class LensReadOut:
    """Final norm and unembedding applied to a stream: the logit lens.

    At the last block's output this is the model's own answer.
    """

    point: Point
    norm: bool = True
    """Whether the final norm comes first."""

    def logits(
        self,
        model: HookedModel,
        resid: Float[Tensor, "row d_model"],
        ids: Int[Tensor, " token"] | None = None,
    ) -> Float[Tensor, "row token"]:
        """Logits of some tokens (default: all), in float32."""
        return unembed(model, resid, ids, self.norm).float()


def output(model: HookedModel) -> LensReadOut:
    """The read-out of the model's own answer."""
    return LensReadOut(Point(model.cfg.n_layers - 1))
