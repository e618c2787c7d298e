"""The only training loop, and the guarantee that a model comes back unchanged."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from mechunlearn.progress import track
from mechunlearn.types import HookedModel

Loss = Callable[[int], Mapping[str, Tensor]]
"""Maps a step number to named loss terms, already weighted; their sum is minimised."""


@dataclass(frozen=True, slots=True)
class Optimizer:
    """AdamW with linear warm-up, a flat part and a linear decay to zero.

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
    clip: float = math.inf
    """Largest gradient norm."""

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.lr > 0:
            raise ValueError(
                f"training needs steps >= 1 and lr > 0, not steps={self.steps}, lr={self.lr}"
            )

    def rate(self, step: int) -> float:
        """Factor on ``lr`` at a step."""
        rise = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        left = (self.steps - step) / (self.decay * self.steps) if self.decay else 1.0
        return rise * min(1.0, left)


@dataclass(frozen=True, slots=True)
class TrainLog:
    """Loss terms per step."""

    terms: Mapping[str, Sequence[float]]

    @property
    def steps(self) -> int:
        """Number of steps taken."""
        return max((len(v) for v in self.terms.values()), default=0)


def fit(
    parameters: Sequence[torch.nn.Parameter],
    loss: Loss,
    optimizer: Optimizer,
    *,
    label: str,
    on_step: Callable[[int], None] | None = None,
) -> TrainLog:
    """Minimise ``loss`` over ``parameters`` in place.

    Only these parameters require gradients while it runs; flags are restored afterwards.

    Args:
        label: What the progress bar says.
        on_step: Called after each step, e.g. to evaluate.

    Raises:
        ValueError: If there are no parameters, one of them gets no gradient, or the loss stops
            being finite.
    """
    parameters = list(parameters)
    if not parameters:
        raise ValueError(f"{label}: there are no parameters to train")
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": optimizer.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    flags = [p.requires_grad for p in parameters]
    adamw = torch.optim.AdamW(groups, lr=optimizer.lr, betas=optimizer.betas)
    schedule = torch.optim.lr_scheduler.LambdaLR(adamw, optimizer.rate)
    terms: dict[str, list[float]] = {}
    try:
        for p in parameters:
            p.requires_grad_(True)
        for step in track(range(optimizer.steps), label):
            named = loss(step)
            total = torch.stack([t.float() for t in named.values()]).sum()
            for name, term in named.items():
                terms.setdefault(name, []).append(term.item())
            if not bool(total.isfinite()):
                raise ValueError(
                    f"{label}: the loss is {total.item()} at step {step + 1}; "
                    f"lower lr (now {optimizer.lr:g})"
                )
            total.backward()
            if step == 0 and any(p.grad is None for p in parameters):
                missing = sum(p.grad is None for p in parameters)
                raise ValueError(f"{label}: {missing} parameter(s) got no gradient from the loss")
            if optimizer.clip < math.inf:
                torch.nn.utils.clip_grad_norm_(parameters, optimizer.clip)
            adamw.step()
            schedule.step()
            adamw.zero_grad(set_to_none=True)
            if on_step is not None:
                on_step(step)
    finally:
        for p, flag in zip(parameters, flags, strict=True):
            p.requires_grad_(flag)
            p.grad = None
    return TrainLog(terms)


@contextmanager
def restored(model: HookedModel) -> Iterator[HookedModel]:
    """Undo, bit for bit, every weight change made inside the ``with`` block."""
    saved = [(p, p.detach().clone()) for p in model.parameters()]
    try:
        yield model
    finally:
        with torch.no_grad():
            for p, before in saved:
                p.copy_(before)
