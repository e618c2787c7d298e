"""Steer: add to the stream what tells a question that is answered from one that is not.

    h_l <- h_l + s v_l                 at every token of one layer l, with a strength s

    original:    v_l = mean h_l(forget; original) - mean h_l(forget; unlearned)
    benign:      v_l = mean h_l(retain; unlearned) - mean h_l(forget; unlearned)
    anonymised:  v_l = mean over q of [h_l(q) - mean_j h_l(a_j(q))],      a_j(q) unnamed

All means are over the last tokens of prompts. The first two undo a push by adding its opposite,
where ``direction_ablation`` moves to a value; the third looks at the unlearned model alone, and
makes it think more of what the question is about. A question is anonymised by exchanging every word
that no question of another source has for such a word of another question.

Reference:
    Anonymised questions: Seyitoğlu et al. 2024, Extracting Unlearned Information from LLMs with
    Activation Steering, arXiv:2411.02631. Difference in means, added: Rimsky et al. 2023,
    arXiv:2312.06681.
    Differs: the vector is added at every token, not only at the first that is generated; one vector
    serves all questions, where theirs has one for each; words are exchanged by the rule above,
    where theirs are chosen by a language model; layer and strength are chosen on the select fold,
    and answers are read as the task does instead of counting words over samples.
    Limits: one vector for all questions, also for those that are to stay: what is far from the
    retain questions' own activations costs them. Strong on famous subjects and weak on private
    people in the paper.
"""

import dataclasses
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from mechunlearn.attacks.projection import projections
from mechunlearn.attacks.protocol import Attack, Grid, View
from mechunlearn.attacks.seen import Seen
from mechunlearn.attacks.vocabulary import Access, Family, Need
from mechunlearn.bench.batches import in_batches
from mechunlearn.bench.rows import pad
from mechunlearn.cost.job import Cost, Job
from mechunlearn.hooks import add_vector, capture, count_flops, run_blocks
from mechunlearn.types import Change, Direction, Hook, HookedModel, Point, Question

MOST_LAYERS = 8
"""Deeper models are steered at so many evenly spaced layers."""
WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True, kw_only=True)
class SteeringConfig:
    """Settings.

    Raises:
        ValueError: If there is no strength, one is not positive, or nothing is anonymised.
    """

    strengths: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    """Times the difference of means; the paper goes to 2."""
    anonymisations: int = 5
    """Of each question."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.strengths or min(self.strengths) <= 0 or self.anonymisations < 1:
            raise ValueError(f"steering needs strengths > 0 and anonymisations >= 1, not {self}")


@dataclass(frozen=True, slots=True)
class Steer:
    """One vector at one strength."""

    towards: str
    """What gave the vector: ``original``, ``benign`` or ``anonymised``."""
    layer: int
    strength: float


def anonymised(
    questions: Sequence[Question], others: Sequence[Question], seed: int
) -> list[Question]:
    """Questions whose own words are exchanged for other questions' own words.

    A word is a question's own if no question of another source has it.

    Args:
        others: Further questions, to tell which words are common and to take words from.

    Returns:
        In order; a question without words of its own stays as it is.
    """
    owners: dict[str, set[str]] = {}
    asked = [(q.source or f"{i}", q) for i, q in enumerate([*questions, *others])]
    for owner, question in asked:
        for word in WORD.findall(question.stem):
            owners.setdefault(word, set()).add(owner)
    own = {word: next(iter(of)) for word, of in owners.items() if len(of) == 1}
    foreign = {owner: [w for w, of in own.items() if of != owner] for owner, _ in asked}

    def exchanged(match: re.Match[str], owner: str) -> str:
        word = match[0]
        if own.get(word) != owner or not foreign[owner]:
            return word
        return random.Random(f"{seed}-{owner}-{word}").choice(foreign[owner])

    return [
        dataclasses.replace(q, stem=WORD.sub(partial(exchanged, owner=owner), q.stem))
        for owner, q in asked[: len(questions)]
    ]


@torch.no_grad()
def last_token_means(model: HookedModel, texts: Sequence[str]) -> Float[Tensor, "layer d_model"]:
    """Mean activation at the last token of some texts, after every block, in float64."""
    rows = model.tokenizer(list(texts))["input_ids"]
    points = [Point(i) for i in range(model.cfg.n_layers)]
    sums: list[Tensor] = []

    def compute(batch: Sequence[int]) -> None:
        tokens, real = pad(model, [rows[i] for i in batch])
        last = real.sum(dim=1) - 1
        pick = torch.arange(len(batch), device=last.device) * tokens.shape[1] + last
        count_flops(model, tokens.numel())
        with capture(model, points, pick) as kept:
            run_blocks(model, tokens)
        sums.append(torch.stack([kept[p].double().sum(dim=0) for p in points]))

    in_batches(model, [len(row) for row in rows], compute)
    return torch.stack(sums).cpu().sum(dim=0) / len(rows)


@dataclass(frozen=True, slots=True)
class SteeringSearch(Grid[Steer]):
    """The vectors found in one model."""

    directions: Mapping[str, Direction]
    """By what they point to."""

    def size(self, variant: Steer) -> int:
        """Hundredths of the strength."""
        return round(100 * variant.strength)

    def view(self, variant: Steer) -> View:
        """Where questions lie along the vector."""
        direction = self.directions[variant.towards].restricted([variant.layer])
        return partial(projections, direction=direction, layer=variant.layer)


class Steering(Attack[SteeringConfig, Tensor, Steer]):
    """Adding a vector as a registered attack."""

    family: ClassVar[Family] = "direction"
    access: frozenset[Access] = frozenset({"activations"})
    needs: frozenset[Need] = frozenset({"original model", "forget questions", "retain facts"})
    variant = Steer
    presets: Mapping[str, SteeringConfig] = {
        "organism": SteeringConfig(),
        "small": SteeringConfig(),
        "paper": SteeringConfig(strengths=(1.0, 2.0)),
    }

    def learn(
        self, original: HookedModel, seen: Seen, config: SteeringConfig
    ) -> Float[Tensor, "layer d_model"]:
        """The original's mean activation at the end of the forget questions."""
        return last_token_means(original, [seen.text(q) for q in seen.asked])

    def search(
        self, model: HookedModel, seen: Seen, reference: Tensor, config: SteeringConfig
    ) -> SteeringSearch:
        """A vector of each kind at every layer."""
        forget = last_token_means(model, [seen.text(q) for q in seen.asked])
        benign = last_token_means(model, [seen.text(q) for q in seen.retain])
        nameless = [
            last_token_means(model, [seen.text(q) for q in anonymised(seen.asked, seen.retain, s)])
            for s in range(config.seed, config.seed + config.anonymisations)
        ]
        vectors = {
            "original": reference - forget,
            "benign": benign - forget,
            "anonymised": forget - torch.stack(nameless).mean(dim=0),
        }
        layers = tuple(range(model.cfg.n_layers))
        directions = {
            name: Direction(f"{name} vector", layers, v.float()) for name, v in vectors.items()
        }

        def steer(variant: Steer, seed: int | None = None) -> Change:
            (vector,) = directions[variant.towards].restricted([variant.layer]).vectors
            vector = variant.strength * vector
            if seed is not None:
                generator = torch.Generator().manual_seed(seed)
                random_ = torch.randn(vector.shape, generator=generator)
                vector = vector.norm() * random_ / random_.norm()
            hook = Hook(Point(variant.layer).name, partial(add_vector, vector=vector))
            name = variant.towards if seed is None else "random vector"
            return Change(f"{name} x {variant.strength:g} at layer {variant.layer}", (hook,))

        # Blocks before the first edited one compute what the original's do: nothing to add.
        grid = [
            Steer(name, layer, s)
            for name, v in vectors.items()
            for layer in places(len(layers))
            if v[layer].norm() > 1e-4 * v.norm(dim=-1).max()
            for s in config.strengths
        ]
        # Without a difference it steers nowhere, which finds nothing.
        none = [Steer("original", layers[-1], config.strengths[0])]
        return SteeringSearch(grid or none, steer, steer, directions)

    def cost(self, config: SteeringConfig, job: Job) -> Cost:
        """Means of the questions and their anonymised forms; three vectors at some layers."""
        return Cost(
            search=float((2 + config.anonymisations) * job.forget_select + job.retain_select),
            variants=float(3 * len(config.strengths) * len(places(job.shape.layers))),
        )


def places(layers: int) -> tuple[int, ...]:
    """The layers to steer at, the last among them."""
    few = min(layers, MOST_LAYERS)
    return tuple(layers * (k + 1) // few - 1 for k in range(few))
