"""Placebos of equal measured size: they move activations as far as an attack does."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mechunlearn.bench.rows import pad
from mechunlearn.hooks import forward_to
from mechunlearn.types import Change, Hook, HookedModel, HookFn

MEASURED = 64
"""Prompts that the size of hooks is measured on."""
FEW = 16
"""The same where it takes several forwards."""
HALVINGS = 7
"""Amounts of a placebo that are tried, each in the geometric middle of what is left."""
NEAR = 0.03
"""Relative difference at which two sizes are equal."""


@dataclass(slots=True)
class _Scaled:
    """A hook's change, times a factor that is fixed when the size was measured."""

    place: str
    function: HookFn
    target: float | None
    """Mean norm of the change that is wanted; ``None``: the change as it is."""
    size: float = 0.0
    """Mean norm over tokens of the change, measured."""
    factor: float = field(default=1.0)

    def measured(self, activation: Tensor, hook: object, real: Bool[Tensor, "row pos"]) -> Tensor:
        """Fix the factor on this batch, and make the change."""
        change = (self.function(activation, hook) - activation).float()
        norms = change.flatten(2).norm(dim=-1)[real.to(change.device)]
        size = float(norms.mean())
        if self.target is not None:
            self.factor = self.target / size if size > 0 else 0.0
        self.size = self.factor * size
        return (activation.float() + self.factor * change).to(activation)

    def made(
        self, activation: Float[Tensor, "*batch d_model"], hook: object
    ) -> Float[Tensor, "*batch d_model"]:
        """The change at the fixed factor; a new tensor."""
        change = (self.function(activation, hook) - activation).float()
        return (activation.float() + self.factor * change).to(activation)


def change_sizes(model: HookedModel, change: Change, texts: Sequence[str]) -> list[float]:
    """Mean norm, over the tokens of some prompts, of what each hook adds to the activation.

    Returns:
        In the order of the hooks, in activation units; edits and rewrites are not measured.
    """
    return [scaled.size for scaled in _run(model, change, texts, None)]


def of_equal_size(
    model: HookedModel, placebo: Change, attack: Change, texts: Sequence[str]
) -> Change:
    """The placebo, with each hook's change scaled to the mean norm of the attack's change there.

    One forward fixes all factors: a later hook is measured on activations that the earlier ones
    have already moved.

    Args:
        placebo: Token hooks at the attack's places, in the same order.
        texts: What the sizes are measured on; of many the first ``MEASURED``.

    Raises:
        ValueError: If the places differ.
    """
    places = [[hook.place for hook in change.hooks] for change in (placebo, attack)]
    if places[0] != places[1]:
        raise ValueError(
            f"a placebo of equal size needs the attack's places {places[1]}, not {places[0]}"
        )
    targets = change_sizes(model, attack, texts)
    scaled = _run(model, placebo, texts, targets)
    hooks = tuple(Hook(s.place, s.made) for s in scaled)
    return Change(f"{placebo.name} of equal size", hooks)


def as_far(
    model: HookedModel,
    placebo: Callable[[float], Change],
    attack: Change,
    texts: Sequence[str],
    most: float,
) -> Change:
    """The placebo that moves the last block's output as far as the attack does.

    Args:
        placebo: Of an amount, 1 having as many parts as the attack; more move it farther.
        texts: What the sizes are measured on; of many the first ``FEW``.
        most: Largest amount.

    Returns:
        Of the amounts that were tried, found by halving, the one that comes nearest.
    """
    measured = _moving(model, texts)
    wanted = measured(attack)
    low, high, amount = 1 / most, most, 1.0
    tried: list[tuple[float, Change]] = []
    for _ in range(HALVINGS):
        change = placebo(amount)
        size = measured(change)
        tried.append((abs(size - wanted), change))
        if abs(size - wanted) <= NEAR * wanted:
            break
        low, high = (amount, high) if size < wanted else (low, amount)
        amount = math.sqrt(low * high)
    return min(tried, key=lambda pair: pair[0])[1]


def moved(model: HookedModel, change: Change, texts: Sequence[str]) -> float:
    """Mean norm, over the tokens of some prompts, of what a change adds to the last block's output.

    Args:
        texts: Prompts; of many the first ``FEW``.
    """
    return _moving(model, texts)(change)


@torch.no_grad()
def _moving(model: HookedModel, texts: Sequence[str]) -> Callable[[Change], float]:
    """``moved`` of any change, with one forward of the model itself for all."""
    tokens, real = pad(model, model.tokenizer(list(texts[:FEW]))["input_ids"])
    last = model.cfg.n_layers - 1
    before = forward_to(model, tokens, last)

    @torch.no_grad()
    def measured(change: Change) -> float:
        with change.applied(model):
            after = forward_to(model, tokens, last)
        norms = (after - before).float().norm(dim=-1)
        return float(norms[real.to(norms.device)].mean())

    return measured


@torch.no_grad()
def _run(
    model: HookedModel, change: Change, texts: Sequence[str], targets: Sequence[float] | None
) -> list[_Scaled]:
    hooks = change.hooks
    wanted: Sequence[float | None] = [None] * len(hooks) if targets is None else targets
    scaled = [
        _Scaled(hook.place, hook.bound(model), target)
        for hook, target in zip(hooks, wanted, strict=True)
    ]
    tokens, real = pad(model, model.tokenizer(list(texts[:MEASURED]))["input_ids"])
    with _measuring(model, scaled, real):
        forward_to(model, tokens, model.cfg.n_layers - 1)
    return scaled


@contextmanager
def _measuring(
    model: HookedModel, scaled: Sequence[_Scaled], real: Bool[Tensor, "row pos"]
) -> Iterator[None]:
    pairs = [(s.place, partial(s.measured, real=real)) for s in scaled]
    with model.hooks(fwd_hooks=pairs):
        yield
