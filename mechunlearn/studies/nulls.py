"""Attacks that find nothing, so that what an audit says of them are false alarms.

One changes nothing, one adds noise inside the model, one only makes it guess again; each has as
many variants to choose among as luck needs to look like knowledge.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mechunlearn.attacks import Attack, Grid, Seen
from mechunlearn.attacks.vocabulary import Access, Family, Need, NoSettings
from mechunlearn.registry import names, register
from mechunlearn.types import Change, Hook, HookedModel, Point, Rewrite

NOISE = 0.3
"""Length of the added vector, in norms of the activation."""
VARIANTS = 8


@dataclass(frozen=True, slots=True)
class Draw:
    """One of the variants."""

    seed: int


class Nothing(Attack[NoSettings, None, Draw]):
    """Leaves everything as it is."""

    family: ClassVar[Family] = "direction"
    access: frozenset[Access] = frozenset({"activations"})
    needs: frozenset[Need] = frozenset()
    variant = Draw
    presets: Mapping[str, NoSettings] = {"organism": NoSettings()}

    def search(
        self, model: HookedModel, seen: Seen, reference: None, config: NoSettings
    ) -> Grid[Draw]:
        """One variant."""
        return Grid([Draw(0)], lambda _: Change("nothing"), lambda _, seed: Change("nothing too"))


class Noise(Nothing):
    """Adds a random vector to the residual stream in the middle of the model."""

    def search(
        self, model: HookedModel, seen: Seen, reference: None, config: NoSettings
    ) -> Grid[Draw]:
        """Several vectors, of which the luckiest is chosen."""
        width, place = model.cfg.d_model, Point(model.cfg.n_layers // 2).name

        def added(seed: int) -> Change:
            vector = torch.randn(width, generator=torch.Generator().manual_seed(seed))
            vector /= vector.norm()

            def add(activation: Tensor, hook: object) -> Tensor:
                size = NOISE * activation.norm(dim=-1, keepdim=True)
                return activation + size * vector.to(activation)

            return Change(f"noise {seed}", hooks=(Hook(place, add),))

        draws = [Draw(seed) for seed in range(VARIANTS)]
        return Grid(draws, lambda draw: added(draw.seed), lambda _, seed: added(10_000 + seed))


class Guess(Nothing):
    """Puts a random word of the retain texts in front of every question."""

    family: ClassVar[Family] = "prompt"
    access: frozenset[Access] = frozenset({"prompts"})
    needs: frozenset[Need] = frozenset({"retain facts"})

    def search(
        self, model: HookedModel, seen: Seen, reference: None, config: NoSettings
    ) -> Grid[Draw]:
        """Several draws, of which the luckiest is chosen."""
        words = sorted({word for q in seen.retain for word in q.stem.split()})

        def preface(text: str, rng: random.Random) -> str:
            return f"{rng.choice(words)} {text}"

        def asked(seed: int) -> Change:
            return Change(f"words {seed}", rewrite=Rewrite(preface, seed))

        draws = [Draw(seed) for seed in range(VARIANTS)]
        return Grid(draws, lambda draw: asked(draw.seed), lambda _, seed: asked(10_000 + seed))


NULLS: dict[str, type[Nothing]] = {
    "null_nothing": Nothing,
    "null_noise": Noise,
    "null_guess": Guess,
}


def add_nulls() -> tuple[str, ...]:
    """Register the null attacks in this process; their names."""
    for name, attack in NULLS.items():
        if name not in names("attack"):
            register("attack", name, attack)
    return tuple(NULLS)
