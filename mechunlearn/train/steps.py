"""What a training run is told: its schedule, its shares of a batch, and what it draws."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
Fall = Literal["line", "cosine"]
"""How a learning rate falls to zero."""
Rule = Literal["adamw", "sgd"]
"""What makes a step of gradients; SGD has a momentum of 0.9."""


class UnsplittableError(ValueError):
    """A step has fewer examples than parts."""


class DivergedError(ValueError):
    """A loss exploded or stopped being finite."""


@dataclass(frozen=True, slots=True)
class Share:
    """The part of a step's examples that one process computes in one backward pass.

    The shares of a step partition it: a loss divides by the whole step's counts, so that the
    contributions of all shares add up to the step's loss.
    """

    index: int = 0
    of: int = 1

    def __call__(self, items: Sequence[T]) -> Sequence[T]:
        """This share of a step's items.

        Raises:
            UnsplittableError: If there are fewer items than shares.
        """
        if len(items) < self.of:
            raise UnsplittableError(
                f"a batch of {len(items)} cannot be split over {self.of} processes and "
                "accumulated parts; raise batch or lower optimizer.accumulate"
            )
        return items[self.index :: self.of]


Loss = Callable[[int, Share], Mapping[str, Tensor]]
"""Maps a step number and a share to named loss terms, already weighted; the sum is minimised."""


def shuffled_passes(n: int, count: int, generator: torch.Generator) -> list[int]:
    """``count`` of ``n`` items in shuffled passes, so that each is drawn equally often.

    Raises:
        ValueError: If something is to be drawn from nothing.
    """
    if count and n < 1:
        raise ValueError(f"{count} items cannot be drawn from an empty set")
    items: list[int] = []
    while len(items) < count:
        items += torch.randperm(n, generator=generator).tolist()
    return items[:count]


class Draws:
    """Which items each step takes: shuffled passes, so that each is drawn equally often."""

    def __init__(self, n: int, batch: int, steps: int, generator: torch.Generator) -> None:
        self.batch = batch
        self.all = shuffled_passes(n, steps * batch, generator)

    def __getitem__(self, step: int) -> list[int]:
        return self.all[step * self.batch : (step + 1) * self.batch]


@dataclass(frozen=True, slots=True)
class Optimizer:
    """AdamW, or SGD, with linear warm-up, a flat part and a decay to zero.

    Raises:
        ValueError: If the steps or the learning rate are not positive.
    """

    steps: int
    lr: float
    warmup: int = 0
    """Steps over which the rate rises to ``lr``."""
    decay: float = 0.0
    """Last share of the steps over which the rate falls to 0."""
    weight_decay: float = 0.0
    """Applied to matrices only."""
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float = 0.0
    """Largest gradient norm; 0: no limit."""
    accumulate: int = 1
    """Backward passes per step, each over a part of the batch; the same losses in less memory."""
    autocast: bool = False
    """Compute in bfloat16 where the device is fast at it, with weights and optimizer in their own
    type."""
    recompute: bool = False
    """Keep block inputs only and compute the rest again in the backward pass (activation
    checkpointing)."""
    fall: Fall = "line"
    rule: Rule = "adamw"

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.lr > 0 or self.accumulate < 1:
            raise ValueError(
                "training needs steps >= 1, lr > 0 and accumulate >= 1, not "
                f"steps={self.steps}, lr={self.lr}, accumulate={self.accumulate}"
            )

    def rate(self, step: int) -> float:
        """Factor on ``lr`` at a step."""
        rise = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        left = (self.steps - step) / (self.decay * self.steps) if self.decay else 1.0
        left = min(1.0, left)
        return rise * (left if self.fall == "line" else (1 - math.cos(math.pi * left)) / 2)
