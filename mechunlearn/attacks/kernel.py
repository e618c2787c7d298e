"""A kernel of ablation weights: how much of a direction every attention and every MLP loses.

x_l <- x_l - w_c(l) (x_l . u_l) u_l                    x_l: what component c of block l writes
w_c(l) = most - (most - least) |l - at| / reach        up to |l - at| = reach, and 0 beyond
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mechunlearn.attacks.mean_directions import NO_DIRECTION
from mechunlearn.hooks import move_along
from mechunlearn.types import Change, Direction, Hook, Point, Stream

Against = Literal["original", "benign"]
"""What the forget activations of the unlearned model are compared with: the original's, or those of
benign questions in the unlearned model itself."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Weights of one component, falling in a line from their greatest on both sides."""

    most: float
    """Greatest weight; not above 0: nothing is taken out."""
    at: float
    """Block where it is, which may lie between two."""
    least: float
    """Weight at the reach."""
    reach: float
    """Blocks from ``at`` beyond which nothing is taken out."""

    def weights(self, layers: int) -> list[float]:
        """Of every block."""
        if self.most <= 0:
            return [0.0] * layers
        return [self._weight(abs(layer - self.at)) for layer in range(layers)]

    def _weight(self, distance: float) -> float:
        if distance > self.reach:
            return 0.0
        return self.most - (self.most - self.least) * distance / self.reach


@dataclass(frozen=True, slots=True)
class Kernel:
    """One way to ablate."""

    against: Against
    layer: float | None
    """Whose direction all blocks lose, between two blocks' in a line; ``None``: each its own."""
    attention: Profile
    mlp: Profile

    def places(self, layers: int) -> list[tuple[Point, float]]:
        """Where something is taken out, and how much."""
        parts: tuple[tuple[Stream, Profile], ...] = (
            ("attn_out", self.attention),
            ("mlp_out", self.mlp),
        )
        return [
            (Point(layer, stream), weight)
            for layer in range(layers)
            for stream, profile in parts
            if (weight := profile.weights(layers)[layer]) > 0
        ]

    def weight(self, layers: int) -> float:
        """Sum of all weights."""
        return sum(weight for _, weight in self.places(layers))


NOTHING = Kernel("original", None, Profile(0, 0, 0, 1), Profile(0, 0, 0, 1))
"""Takes nothing out."""


def unit_at(direction: Direction, layer: float) -> Float[Tensor, " d_model"] | None:
    """A direction's vector at a place between its layers, at length 1.

    What lies along the mean activation of what it was taken against is left out, so that this mean
    is not changed.

    Args:
        direction: Of all layers, with its reference.

    Returns:
        ``None`` where there is no direction: before the first block that unlearning edited.
    """
    assert direction.reference is not None
    low = min(int(layer), len(direction.layers) - 1)
    high, share = min(low + 1, len(direction.layers) - 1), layer - low
    vector, mean = (
        torch.lerp(x[low].double(), x[high].double(), share)
        for x in (direction.vectors, direction.reference)
    )
    if vector.norm() <= NO_DIRECTION * direction.vectors.norm(dim=-1).max():
        return None
    along = mean / mean.norm().clamp_min(1e-12)
    vector -= (vector @ along) * along
    return (vector / vector.norm()).float() if vector.norm() > 0 else None


def units(direction: Direction, kernel: Kernel) -> dict[int, Float[Tensor, " d_model"]]:
    """By block, what a kernel takes out; blocks without a direction are left out."""
    found: dict[int, Tensor] = {}
    for layer in direction.layers:
        unit = unit_at(direction, float(layer) if kernel.layer is None else kernel.layer)
        if unit is not None:
            found[layer] = unit
    return found


def ablated(
    kernel: Kernel, layers: int, vectors: Mapping[int, Float[Tensor, " d_model"]], name: str
) -> Change:
    """The kernel along unit vectors of some blocks; nothing where a block has none.

    A direction chosen on another model may be none in this one, such as the control.
    """
    hooks = tuple(
        Hook(point.name, partial(move_along, unit=vectors[point.layer], share=weight))
        for point, weight in kernel.places(layers)
        if point.layer in vectors
    )
    place = "each layer" if kernel.layer is None else f"layer {kernel.layer:g}"
    return Change(f"{name} of {place} at {len(hooks)} places", hooks)
