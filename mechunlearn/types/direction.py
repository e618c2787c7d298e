"""A direction in the residual stream, layer by layer."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from mechunlearn.types.display import table


@dataclass(frozen=True, slots=True, eq=False)
class Direction:
    """One vector in the residual stream for each of some layers."""

    name: str
    layers: tuple[int, ...]
    vectors: Float[Tensor, "layer d_model"] = field(repr=False)
    """Row i belongs to ``layers[i]``; not normalised, so its length can be read."""
    reference: Float[Tensor, "layer d_model"] | None = field(default=None, repr=False)
    """Mean activations of what the direction was taken against, where it was."""

    def unit(self) -> Float[Tensor, "layer d_model"]:
        """The vectors at length 1.

        Raises:
            ValueError: If a vector has length 0 or is not finite: it points nowhere.
        """
        norms = self.vectors.norm(dim=-1, keepdim=True)
        if not bool((norms > 0).all() and norms.isfinite().all()):
            raise ValueError(f"direction {self.name!r} has a zero or non-finite vector")
        return self.vectors / norms

    def restricted(self, layers: Sequence[int]) -> "Direction":
        """The same direction at some of its layers.

        Raises:
            ValueError: If it has no vector for one of them.
        """
        if missing := [i for i in layers if i not in self.layers]:
            raise ValueError(f"direction {self.name!r} has no vector for layers {missing}")
        rows = [self.layers.index(layer) for layer in layers]
        reference = None if self.reference is None else self.reference[rows]
        return Direction(self.name, tuple(layers), self.vectors[rows], reference)

    def _repr_html_(self) -> str:
        lengths = self.vectors.norm(dim=-1).tolist()
        rows = {f"layer {i}": f"length {x:.3g}" for i, x in zip(self.layers, lengths, strict=True)}
        return table(rows, self.name)
