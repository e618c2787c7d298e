"""Go back along the change of weights: towards a relative, past it, without its largest part.

    D = W_u - W_r:    W_r + lambda D;    W_u - top_r(D);    W_r + top_r(D);    W_r in one block

``W_r`` are the weights of a *relative*: the original, or another model of the same shape, such as
the base of both; ``top_r`` keeps the ``r`` largest singular values of each of a block's matrices.

**It hands weights back.** At lambda = 0 the original is there again, whatever was unlearned. Every
variant says which share of the squared difference to the original it takes away
(``handed_back``), and no verdict rests on this attack. It says where the change is: in how many
directions, in which block, and how little of it has to go.

Reference:
    Ilharco et al. 2022, Editing Models with Task Arithmetic, arXiv:2212.04089 (lambda); Zou et al.
    2024, arXiv:2406.04313, whose changes are of low rank.
    Differs: the select fold chooses lambda, rank and block; lambda = 0 is never tried.
    Limits: the relative has the same architecture and vocabulary. The sham has the spectrum of the
    change in random bases, so a relative of other origin, between which and the suspect no straight
    line is low in loss, looks like it.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mechunlearn.attacks.protocol import Attack, Grid
from mechunlearn.attacks.seen import Seen
from mechunlearn.attacks.vocabulary import Access, Family, Need
from mechunlearn.cost.job import Cost, Job
from mechunlearn.cost.memory import weight_copies
from mechunlearn.hooks import live_parameters
from mechunlearn.models import load
from mechunlearn.models.placement import FLOATS
from mechunlearn.train import restored
from mechunlearn.types import Change, HookedModel

Way = Literal["interpolated", "without the top", "the top alone", "block merged back"]
MOST_BLOCKS = 8
"""Deeper models have so many evenly spaced blocks merged back."""
EXACT = 1024
"""Sides up to which singular vectors are computed exactly, and bases drawn from all rotations."""
FITS = 6
"""Times that a sham's size is measured and mended."""
NEEDED_SPARE = 16
"""Further directions of the approximate ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MergingConfig:
    """Settings.

    Raises:
        ValueError: If lambda is 0 or 1, or a rank is below 1.
    """

    relative: str = ""
    """Another model, as a path or name; empty: the original."""
    lambdas: tuple[float, ...] = (0.75, 0.5, 0.25, 1.5, 2.0)
    """What remains of the difference; above 1 it is exaggerated."""
    ranks: tuple[int, ...] = (1, 4, 16)
    """Singular values of each matrix that go, or that alone remain."""

    def __post_init__(self) -> None:
        if {0.0, 1.0} & set(self.lambdas) or min(self.ranks, default=1) < 1:
            raise ValueError(
                "lambda 0 is the relative and 1 the unlearned model itself, and a rank is at least "
                f"1; not {self}"
            )


@dataclass(frozen=True, slots=True)
class Merge:
    """One way back."""

    way: Way
    amount: float
    """Lambda, the rank, or the block."""
    handed_back: float
    """Share of the squared difference to the original's weights that is taken away; 1: the weights
    are the original's. Negative: further from them than before."""


@dataclass(frozen=True, slots=True)
class Relatives:
    """Weights in the order of ``live_parameters``, on the host."""

    relative: list[Tensor]
    original: list[Tensor]
    """The same list where the original is the relative."""


def weights_of(model: HookedModel) -> list[Tensor]:
    """Copies of a model's live weights on the host."""
    return [p.detach().to("cpu", copy=True) for p in live_parameters(model)]


def rotated(delta: Float[Tensor, "..."], generator: torch.Generator) -> Float[Tensor, "..."]:
    """The same spectrum in random bases: a matrix between two orthogonal ones.

    Sides longer than ``EXACT`` are permuted with random signs, which is orthogonal too; so are
    vectors.
    """
    turned = delta.float()
    for axis in range(delta.ndim):
        n = delta.shape[axis]
        if delta.ndim < 2 or n > EXACT:
            order = torch.randperm(n, generator=generator)
            signs = 1.0 - 2.0 * torch.randint(2, (n,), generator=generator)
            turned = (turned.movedim(axis, -1)[..., order] * signs).movedim(-1, axis)
        else:
            q, r = torch.linalg.qr(torch.randn(n, n, generator=generator))
            turned = (turned.movedim(axis, -1) @ (q * r.diagonal().sign())).movedim(-1, axis)
    return turned.to(delta.dtype)


def top(delta: Float[Tensor, "out in"], rank: int) -> Float[Tensor, "out in"]:
    """The part of a matrix with its ``rank`` largest singular values."""
    full = delta.float()
    if min(delta.shape) <= EXACT:
        u, s, v = torch.linalg.svd(full, full_matrices=False)
        return ((u[:, :rank] * s[:rank]) @ v[:rank]).to(delta.dtype)
    with torch.random.fork_rng([full.device] if full.is_cuda else []):
        torch.manual_seed(0)
        u, s, right = torch.svd_lowrank(full, q=min(rank + NEEDED_SPARE, *delta.shape), niter=4)
    return ((u[:, :rank] * s[:rank]) @ right[:, :rank].T).to(delta.dtype)


def rounded(weight: Tensor, step: Tensor) -> Float[Tensor, "..."]:
    """What adding a step to a weight really adds, in float64: in bfloat16 small ones are lost."""
    return (weight + step).double() - weight.double()


def as_large(weight: Tensor, placebo: Tensor, step: Tensor) -> Float[Tensor, "..."]:
    """The placebo, scaled so that rounding leaves as much of it as of the step."""
    if weight.dtype == torch.float32:
        return placebo
    wanted, factor = float(rounded(weight, step).norm()), 1.0
    if not wanted:
        return torch.zeros_like(step)
    for _ in range(FITS):
        left = float(rounded(weight, (factor * placebo.float()).to(step)).norm())
        factor *= wanted / left if left else 2.0
    return (factor * placebo.float()).to(step)


@dataclass(frozen=True, slots=True)
class Steps:
    """What each way adds to each weight of one model."""

    relatives: Relatives
    block_of: tuple[int | None, ...]
    """The block of each weight; ``None`` outside them."""

    @classmethod
    def on(cls, model: HookedModel, relatives: Relatives) -> "Steps":
        """For a model.

        Raises:
            ValueError: If the relative's weights have other shapes.
        """
        own = live_parameters(model)
        if [p.shape for p in own] != [w.shape for w in relatives.relative]:
            raise ValueError(
                "the relative's weights have other shapes than the unlearned model's; take a model "
                "of the same architecture and vocabulary (merging.relative)"
            )
        blocks = {id(p): i for i, block in enumerate(model.blocks) for p in block.parameters()}
        return cls(relatives, tuple(blocks.get(id(p)) for p in own))

    def step(self, way: Way, amount: float, i: int, weight: Tensor) -> Tensor | None:
        """What is added to the weight number ``i``; ``None``: nothing."""
        delta = weight.detach().cpu() - self.relatives.relative[i].to(weight.dtype)
        block = self.block_of[i]
        if way == "interpolated":
            return (amount - 1) * delta
        if way == "block merged back":
            return -delta if block == int(amount) else None
        if delta.ndim != 2 or block is None:
            return None
        largest = top(delta, int(amount))
        return -largest if way == "without the top" else largest - delta

    def handed_back(self, model: HookedModel, way: Way, amount: float) -> float:
        """See ``Merge.handed_back``; 0 of a model that has the original's weights."""
        before = after = 0.0
        for i, weight in enumerate(live_parameters(model)):
            apart = weight.detach().cpu().double() - self.relatives.original[i].double()
            step = self.step(way, amount, i, weight)
            before += float(apart.square().sum())
            if step is not None:
                apart += rounded(weight.detach().cpu(), step)
            after += float(apart.square().sum())
        return round(1 - after / before, 3) if before else 0.0

    def change(self, variant: Merge, seed: int | None = None) -> Change:
        """The variant; with a seed its sham."""
        ways: dict[Way, str] = {
            "interpolated": f"{variant.amount:g} of the difference",
            "without the top": f"without its top {variant.amount:g}",
            "the top alone": f"only its top {variant.amount:g}",
            "block merged back": f"block {variant.amount:g} merged back",
        }
        back = f"{variant.handed_back:.0%} of the way to the original's weights"
        name = f"{ways[variant.way]}, {back}" if seed is None else "same spectrum, random bases"
        return Change(name, edits=(partial(_edit, steps=self, variant=variant, seed=seed),))


@contextmanager
def _edit(model: HookedModel, steps: Steps, variant: Merge, seed: int | None) -> Iterator[None]:
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    with restored(model):
        with torch.no_grad():
            for i, weight in enumerate(live_parameters(model)):
                step = steps.step(variant.way, variant.amount, i, weight)
                if step is not None:
                    if generator is not None:
                        step = as_large(weight.detach().cpu(), rotated(step, generator), step)
                    weight.add_(step.to(weight.device))
        yield


@dataclass(frozen=True, slots=True)
class MergingSearch(Grid[Merge]):
    """The ways back from one model."""

    def size(self, variant: Merge) -> int:
        """Thousandths of what is handed back."""
        return round(1000 * variant.handed_back)


class Merging(Attack[MergingConfig, Relatives, Merge]):
    """The way back to a relative's weights as a registered attack."""

    family: ClassVar[Family] = "delta"
    access: frozenset[Access] = frozenset({"weights"})
    needs: frozenset[Need] = frozenset({"original model", "original weights"})
    variant = Merge
    presets: Mapping[str, MergingConfig] = {
        "organism": MergingConfig(),
        "small": MergingConfig(),
        "paper": MergingConfig(lambdas=(0.75, 0.5, 0.25), ranks=(16,)),
    }

    def reads(self, config: MergingConfig) -> Sequence[str]:
        """The relative, if it is not the original."""
        return [config.relative] if config.relative else []

    def learn(self, original: HookedModel, seen: Seen, config: MergingConfig) -> Relatives:
        """The original's weights, and the relative's, which is loaded as the original was."""
        own = weights_of(original)
        if not config.relative:
            return Relatives(own, own)
        about = original.provenance
        relative = load(
            config.relative,
            device=str(original.cfg.device),
            dtype=about.dtype if about.dtype in FLOATS else "auto",
            trust_remote_code=about.trust_remote_code,
        )
        return Relatives(weights_of(relative), own)

    def search(
        self, model: HookedModel, seen: Seen, reference: Relatives, config: MergingConfig
    ) -> MergingSearch:
        """Every way back, and how far it leads.

        Raises:
            ValueError: If the relative has other shapes.
        """
        steps = Steps.on(model, reference)
        grid = [
            Merge(way, amount, steps.handed_back(model, way, amount))
            for way, amount in _ways(config, model.cfg.n_layers)
        ]
        return MergingSearch(grid, steps.change, steps.change)

    def rebuild(
        self,
        model: HookedModel,
        seen: Seen,
        reference: Relatives,
        variant: Merge,
        config: MergingConfig,
    ) -> MergingSearch:
        """Without measuring the others."""
        steps = Steps.on(model, reference)
        return MergingSearch([variant], steps.change, steps.change)

    def cost(self, config: MergingConfig, job: Job) -> Cost:
        """A variant each; the relative's weights and the unlearned model's are kept."""
        copies = weight_copies(job.shape, job.sizes)
        kept = {f"relative's {name}": size for name, size in copies.items()}
        return Cost(
            variants=float(len(list(_ways(config, job.shape.layers)))),
            memory=copies | kept | {"difference": 16.0 * job.shape.largest},
        )


def _ways(config: MergingConfig, layers: int) -> Iterator[tuple[Way, float]]:
    few = min(layers, MOST_BLOCKS)
    yield from (("interpolated", x) for x in config.lambdas)
    yield from (("without the top", float(r)) for r in config.ranks)
    yield from (("the top alone", float(r)) for r in config.ranks)
    yield from (("block merged back", float(layers * k // few)) for k in range(few))
