"""Find what keeps the forgotten answers down, but nothing else needs, and take it out.

    prune = top-q share of S_forget  minus  top-p share of S_utility

``S_forget`` is the attribution of what the unlearned model does on the forget domain, ``S_utility``
of what it does elsewhere. The grain is single weights (set to zero, thresholds per matrix), MLP
neurons or attention heads (set to zero or to their mean on benign text, thresholds over the whole
model). Forget behaviour is read off the forget corpus, which suits methods that disturb
representations, or off the model's own answers, for those that refuse: the select fold decides.

Reference:
    Łucki et al. 2024, arXiv:2409.18025 (set difference pruning), after Wei et al. 2024,
    arXiv:2402.05162.
    Differs: neurons and heads beside weights; scores in float32 of all blocks in one pass; shares
    are ranks kept as one byte per weight, so that every (p, q) is a comparison; weights without any
    score are in no share, equal ones at its edge all are; data and (p, q) are chosen on the select
    fold. ``paper`` has their shares, rounding, samples and tokens; theirs sets the forget corpus
    against Wikitext (RMU) or own answers against MMLU, here both; texts give no random window.
    Limits: scores are first-order and of each part by itself, so that parts which keep answers down
    together are missed; taking things out cannot restore what was overwritten.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor

from mechunlearn.attacks.attribution import Kind, Tokens, unit_means, unit_scores, weight_scores
from mechunlearn.attacks.equal_size import as_far
from mechunlearn.attacks.protocol import Attack, Search, Trace
from mechunlearn.attacks.pruning import (
    Masks,
    Matrix,
    Rounding,
    prune_units,
    ranks,
    set_difference,
    zeroed,
)
from mechunlearn.attacks.pruning_data import forget_rows, utility_rows
from mechunlearn.attacks.seen import Scored, Seen
from mechunlearn.attacks.vocabulary import Access, Family, Need
from mechunlearn.bench.rows import Row
from mechunlearn.cost.job import BACKWARD, Cost, Job
from mechunlearn.cost.memory import Shape, Sizes, backward_bytes, forward_bytes, tokens_per_batch
from mechunlearn.progress import console
from mechunlearn.types import Change, HookedModel

Grain = Literal["weight", "neuron", "head"]
PAPER_LEVELS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.125, 0.15, 0.2)
NEEDS = frozenset[Need]({"forget text", "forget questions", "retain facts", "benign text"})
KINDS = 3
"""Rankings of weights: by the forget corpus, by own answers, by utility."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PruningConfig:
    """Settings.

    Raises:
        ValueError: If a level is no share, levels do not rise, or there are no examples.
    """

    levels: tuple[float, ...]
    """Shares tried as p and as q (with p >= q)."""
    examples: int = 128
    """Of each kind of data."""
    max_tokens: int = 1024
    kind: Kind = "snip"
    """Score of weights."""
    tokens: Tokens = "all"
    """Whose inputs Wanda counts."""
    rounding: Rounding = "up"
    """Of the number of weights or units in a share."""
    blocks_at_once: int = 0
    """0: all; fewer need less memory and as many more passes (weights only)."""

    def __post_init__(self) -> None:
        if not self.levels or not all(0 < x <= 1 for x in self.levels):
            raise ValueError(f"levels are shares p and q in (0, 1], not {self.levels}")
        if list(self.levels) != sorted(set(self.levels)):
            raise ValueError(f"levels have to rise, not {self.levels}")
        if self.examples < 1 or self.blocks_at_once < 0:
            raise ValueError(f"examples and blocks_at_once must be positive, not {self}")


@dataclass(frozen=True, slots=True)
class Shares:
    """What is taken out."""

    data: str
    """What forget behaviour is read off: ``forget corpus`` or ``own answers``."""
    p: float
    """Share that utility needs most, which stays."""
    q: float
    """Share that forgetting needs most, which goes."""
    to: Literal["zero", "mean"]


class PrunedTrace(Trace, frozen=True):
    """How many were taken out of each layer."""

    kind: ClassVar[str] = "pruned"
    pruned: tuple[int, ...]
    of: int
    """How many there are in all layers."""
    grain: Grain


@dataclass(frozen=True, slots=True)
class PruningSearch(Search[Shares]):
    """The ranks of one model's weights, neurons or heads."""

    grain: Grain
    levels: tuple[float, ...]
    forget: dict[str, dict[Matrix, Tensor]]
    """Kind of forget data -> ranks, by matrix, or by ``(-1, unit)`` for all layers' units."""
    utility: dict[Matrix, Tensor]
    means: dict[int, Tensor]
    model: HookedModel
    texts: Sequence[str]
    """Prompts on which a sham's size is measured."""

    def grid(self) -> list[Shares]:
        """All that takes something out; where nothing does, one that takes out nothing."""
        targets: tuple[Literal["zero", "mean"], ...] = (
            ("zero",) if self.grain == "weight" else ("zero", "mean")
        )
        cells = [(p, q) for i, p in enumerate(self.levels) for q in self.levels[: i + 1]]
        grid = [Shares(data, p, q, to) for data in self.forget for p, q in cells for to in targets]
        if found := [s for s in grid if any(m.any() for _, m in self.masks(s))]:
            return found
        levels = ", ".join(f"{level:g}" for level in self.levels)
        console.print(f"[dim]{self.grain}s: p and q of {levels} leave nothing to take out[/dim]")
        return grid[:1]

    def variants(self) -> Generator[list[Shares], Sequence[Scored], None]:
        """See ``Search``."""
        yield self.grid()

    def change(self, variant: Shares) -> Change:
        """See ``Search``."""
        return self._change(variant, partial(self.masks, variant))

    def sham(self, variant: Shares, seed: int) -> Change:
        """Random weights of each matrix, neurons or heads of each layer.

        Not as many, since those that are needed are large, but so many that the states move as far.
        """
        attack = self.change(variant)
        if not attack.changes_model:
            return attack
        taken = [float(mask.float().mean()) for _, mask in self.masks(variant)]

        def placebo(amount: float) -> Change:
            return self._change(variant, partial(self._random_masks, variant, seed, amount))

        return as_far(self.model, placebo, attack, self.texts, 1 / max(taken))

    def traces(self, variant: Shares) -> tuple[PrunedTrace]:
        """How many were taken out of each layer."""
        counts: dict[int, int] = {}
        for (layer, _), mask in self.masks(variant):
            rows = {layer: mask} if self.grain == "weight" else dict(enumerate(mask))
            for i, row in rows.items():
                counts[i] = counts.get(i, 0) + int(row.sum())
        total = sum(rank.numel() for rank in self.utility.values())
        pruned = tuple(counts[i] for i in sorted(counts))
        return (PrunedTrace(pruned=pruned, of=total, grain=self.grain),)

    def masks(self, variant: Shares) -> Iterator[tuple[Matrix, Tensor]]:
        """One matrix' mask at a time: of a large model they are large together."""
        p, q = self.levels.index(variant.p), self.levels.index(variant.q)
        for key, forget in self.forget[variant.data].items():
            yield key, set_difference(forget, self.utility[key], p, q)

    def _random_masks(
        self, variant: Shares, seed: int, amount: float
    ) -> Iterator[tuple[Matrix, Tensor]]:
        """``amount`` times as many; what a smaller amount takes out, a larger one does too."""
        generator = torch.Generator().manual_seed(seed)

        def random(mask: Tensor) -> Tensor:
            draws = torch.rand(mask.numel(), generator=generator)
            count = min(round(amount * int(mask.sum())), mask.numel())
            last = draws.kthvalue(count).values if count else -1.0
            return (draws <= last).view(mask.shape).to(mask.device)

        for key, mask in self.masks(variant):
            if self.grain == "weight":
                yield key, random(mask)
            else:
                yield key, torch.stack([random(layer) for layer in mask])

    def _change(self, variant: Shares, masks: Masks) -> Change:
        name = f"{self.grain}s, p = {variant.p:g}, q = {variant.q:g}"
        if not any(mask.any() for _, mask in masks()):
            # Shares chosen on another model may leave nothing in this one, such as the control.
            return Change(f"{name}: nothing")
        if self.grain == "weight":
            return zeroed(masks, name)
        means = self.means if variant.to == "mean" else None
        ((_, mask),) = masks()
        return prune_units(mask, self.grain, means, name)


class SetDifferencePruning(Attack[PruningConfig, None, Shares]):
    """Set-difference pruning at one grain as a registered attack."""

    family: ClassVar[Family] = "sparse"
    access: frozenset[Access] = frozenset({"weights"})
    needs: frozenset[Need] = NEEDS
    variant = Shares

    def __init__(self, grain: Grain, levels: tuple[float, ...]) -> None:
        self.grain: Grain = grain
        self.presets: Mapping[str, PruningConfig] = {
            "paper": PruningConfig(
                levels=PAPER_LEVELS if grain == "weight" else levels,
                examples=512,
                tokens="answer",
                rounding="down",
            ),
            "small": PruningConfig(levels=levels, max_tokens=128),
            "organism": PruningConfig(levels=levels),
        }

    def by_name(self, config: PruningConfig) -> bool:
        """See ``Attack``: heads are no matrices."""
        return self.grain != "head"

    def search(
        self, model: HookedModel, seen: Seen, reference: None, config: PruningConfig
    ) -> PruningSearch:
        """Ranks by forget attribution (for each kind of data) and by utility attribution."""
        limit = min(config.max_tokens, model.cfg.n_ctx or config.max_tokens)
        forget = forget_rows(model, seen, config.examples, limit)
        utility = utility_rows(model, seen, config.examples, limit)
        return PruningSearch(
            self.grain,
            config.levels,
            {data: self._ranks(model, rows, config) for data, rows in forget.items()},
            self._ranks(model, utility, config),
            {} if self.grain == "weight" else unit_means(model, utility, self.grain),
            model,
            [seen.text(q) for q in seen.asked],
        )

    def _ranks(
        self, model: HookedModel, rows: Sequence[Row], config: PruningConfig
    ) -> dict[Matrix, Tensor]:
        if self.grain != "weight":
            units = unit_scores(model, rows, self.grain)
            return {(-1, self.grain): ranks([units], config.levels, config.rounding)[0].cpu()}
        n = model.cfg.n_layers
        size = config.blocks_at_once or n
        by_matrix = {}
        for start in range(0, n, size):
            layers = range(start, min(start + size, n))
            scores = weight_scores(model, rows, config.kind, config.tokens, layers=layers)
            for key, score in scores.items():
                by_matrix[key] = ranks([score], config.levels, config.rounding)[0].cpu()
        return by_matrix

    def cost(self, config: PruningConfig, job: Job) -> Cost:
        """Backward passes over all kinds of data; then every (p, q) by data, units by target."""
        pairs = len(config.levels) * (len(config.levels) + 1) / 2
        shape, sizes = job.shape, job.sizes
        tokens = tokens_per_batch(shape, sizes, backward=True, questions=config.examples)
        memory = {"activations": backward_bytes(shape, sizes, tokens)}
        if self.grain == "weight":
            memory = _ranking_bytes(config, shape, sizes, memory["activations"])
        return Cost(
            search=BACKWARD * 4 * config.examples,
            variants=pairs * 2 * (1 if self.grain == "weight" else 2),
            memory=memory,
        )


def _ranking_bytes(
    config: PruningConfig, shape: Shape, sizes: Sizes, backward: float
) -> dict[str, float]:
    """Scores of the blocks at once, as many bytes of ranks per kind of data, one backward pass."""
    blocks = config.blocks_at_once or shape.layers
    scores = 4.0 * shape.matrices * blocks / shape.layers
    on_host = float(KINDS * shape.matrices) if sizes.kind == "cpu" else 0.0
    once = backward + 8 * shape.largest
    pruned = config.levels[-1] * sizes.number * shape.matrices
    return {"ranks": on_host, "scores": max(scores + once, forward_bytes(shape, sizes) + pruned)}


WEIGHTS = SetDifferencePruning("weight", (0.005, 0.01, 0.025, 0.05, 0.1, 0.2))
NEURONS = SetDifferencePruning("neuron", (0.01, 0.025, 0.05, 0.1, 0.2))
HEADS = SetDifferencePruning("head", (0.05, 0.1, 0.2, 0.4))
