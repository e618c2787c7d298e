"""Push the stream, by one vector or one map for all questions, to where the answers are: trained.

    h_l <- h_l + e m_l clip(v)                vector;  clip(x) = x / max(1, |x|)
    h_l <- h_l + e m_l clip(B A h_l / m_l)    map of low rank

    v*, A*, B* = argmin  mean over training questions of -log p(answer | question)

at every token of one layer l, or of the embeddings; m_l is the median norm of the stream there and
e the norm limit. ``steering_vectors`` adds what activations differ by; here gradients look for
whatever makes the model answer. That can bring answers out and can teach them, which is why it is
judged by questions that it was not trained on, beside the never-knew model that is trained alike.

Reference:
    Latent adversarial perturbations: Sheshadri et al. 2024, LAT, arXiv:2407.15549. In the
    embeddings, on unlearned models: Schwinn et al. 2024, arXiv:2402.09063. That such attacks elicit
    what a model was never taught: Chen et al. 2025, arXiv:2502.15836.
    Differs: one perturbation for all tokens and questions, where theirs is found for each prompt
    alone and could spell out any answer; it is fitted on half of the select fold and chosen on the
    other; the limit is relative to the stream, where theirs is 2 at layer 7 of Zephyr; the map is
    ours.
    Limits: a bound only where training finds the best; it is trained on few questions and may fit
    them alone. Layers are raced: all at the largest limit, the other limits and the map at the best
    of them.
"""

import random
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from mechunlearn.attacks.equal_size import MEASURED, of_equal_size
from mechunlearn.attacks.limits import limit_trace
from mechunlearn.attacks.protocol import Attack, Search, View
from mechunlearn.attacks.seen import Scored, Seen
from mechunlearn.attacks.vocabulary import Access, Family, Need
from mechunlearn.bench.likelihood import example_rows, log_likelihoods
from mechunlearn.bench.rows import Row, pad
from mechunlearn.cost.job import Cost, Job
from mechunlearn.cost.memory import backward_bytes, logits_bytes
from mechunlearn.hooks import EMBED, forward_to
from mechunlearn.presets import Size
from mechunlearn.train import Draws, Optimizer, Share, fit
from mechunlearn.types import Change, Hook, HookedModel, Point, Role

EMBEDDINGS = -1
"""The layer before the first block."""
PASSES = 2.0
"""A training step costs two forwards: no gradient of a weight is computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentConfig:
    """Settings.

    Raises:
        ValueError: If a number makes no sense.
    """

    eps: tuple[float, ...] = (0.25, 0.5, 1.0)
    """Norm limits, in units of the median norm of the stream; theirs at layer 7 is about 0.3."""
    rank: int = 4
    """Of the map; 0 tries vectors alone."""
    layers: int = 4
    """Blocks at whose output it is tried, evenly spaced, beside the embeddings."""
    steps: int = 64
    lr: float = 0.1
    """AdamW's; a step of it moves a vector by so much of the limit."""
    batch: int = 16
    questions: int = 64
    """Forget questions trained on, at most."""
    retain_share: float = 0.5
    """Of the questions trained on, retain questions: with few, most of what is found costs them."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.eps or min(self.eps) <= 0 or not 0 <= self.retain_share < 1:
            raise ValueError(f"a perturbation needs eps > 0 and 0 <= retain_share < 1, not {self}")
        if min(self.steps, self.batch, self.questions, self.layers) < 1 or self.rank < 0:
            raise ValueError(
                f"a perturbation needs steps, batch, questions, layers >= 1 and rank >= 0: {self}"
            )


@dataclass(frozen=True, slots=True)
class Perturbation:
    """One that is trained."""

    layer: int
    """The block at whose output it acts; -1: the embeddings."""
    eps: float
    """Norm limit, in units of the median norm of the stream there."""
    rank: int
    """Of the map; 0 is a vector."""

    @property
    def place(self) -> str:
        """Name of the hook point."""
        return EMBED if self.layer == EMBEDDINGS else Point(self.layer).name

    @property
    def where(self) -> str:
        """In words."""
        return "the embeddings" if self.layer == EMBEDDINGS else f"layer {self.layer}"


@dataclass(frozen=True, slots=True, eq=False)
class Shift:
    """What is added to a state."""

    norm: float
    """The median of the stream."""
    limit: float
    """The largest norm, in units of that."""
    up: Float[Tensor, "d_model column"]
    """A vector as one column, or the map's B."""
    down: Float[Tensor, "rank d_model"] | None = None
    """The map's A."""

    def __call__(
        self, activation: Float[Tensor, "*batch d_model"], hook: object
    ) -> Float[Tensor, "*batch d_model"]:
        """The state with the shift; computed in float32, a new tensor."""
        x, up = activation.float(), self.up.to(activation.device)
        if self.down is None:
            moved = up[:, 0].expand_as(x)
        else:
            width = x.shape[-1] ** 0.5  # So that entries of both matrices are as small as v's.
            moved = width * (x / self.norm @ self.down.to(x.device).T) @ up.T
        size = moved.norm(dim=-1, keepdim=True).clamp_min(1.0)
        return (x + self.limit * self.norm * moved / size).to(activation)


@torch.no_grad()
def median_norms(
    model: HookedModel, texts: Sequence[str], layers: Sequence[int]
) -> dict[int, float]:
    """Median norm of the stream over the tokens of some prompts, at some layers.

    Args:
        texts: Of many the first ``MEASURED``.
    """
    tokens, real = pad(model, model.tokenizer(list(texts[:MEASURED]))["input_ids"])
    norms: dict[int, float] = {}

    def keep(activation: Tensor, hook: object, layer: int) -> None:
        of_tokens = activation.float().norm(dim=-1)[real.to(activation.device)]
        norms[layer] = float(of_tokens.median())

    places = [(Perturbation(i, 1.0, 0).place, partial(keep, layer=i)) for i in layers]
    with model.hooks(fwd_hooks=places):
        forward_to(model, tokens, max(0, *layers))
    return norms


def train_shift(
    model: HookedModel,
    rows: Sequence[Row],
    variant: Perturbation,
    norm: float,
    config: LatentConfig,
) -> Shift:
    """AdamW on a vector or a map, from nothing; weights are not touched.

    Args:
        norm: The median of the stream there.
    """
    d, device = model.cfg.d_model, model.cfg.device
    generator = torch.Generator().manual_seed(config.seed)
    leaf = torch.nn.Parameter(torch.zeros(d, max(1, variant.rank), device=device))
    leaves, down = [leaf], None
    if variant.rank:
        start = torch.randn(variant.rank, d, generator=generator) / d**0.5
        leaves.append(down := torch.nn.Parameter(start.to(device)))
    shift = Shift(norm, variant.eps, leaf, down)
    batch = min(config.batch, len(rows))
    draws = Draws(len(rows), batch, config.steps, generator)

    def loss(step: int, share: Share) -> dict[str, Tensor]:
        if down is None:  # Beyond the limit only the direction would change, and slowly.
            with torch.no_grad():
                leaf.div_(leaf.norm().clamp_min(1.0))
        reads = sum(len(rows[i].reads) for i in draws[step])
        with model.hooks(fwd_hooks=[(variant.place, shift)]):
            values = log_likelihoods(model, [rows[i] for i in share(draws[step])])
        return {"answers": -values.sum() / reads}

    optimizer = Optimizer(config.steps, config.lr / d**0.5)
    fit(leaves, loss, optimizer, label="latent perturbation", model=model, seed=config.seed)
    return Shift(norm, variant.eps, leaf.detach(), None if down is None else down.detach())


@dataclass(frozen=True, slots=True)
class LatentSearch(Search[Perturbation]):
    """Perturbations of one model, trained when they are asked for."""

    model: HookedModel
    config: LatentConfig
    rows: Sequence[Row]
    texts: Sequence[str]
    """Prompts that sizes are measured on."""
    norms: Mapping[int, float]
    """By layer."""
    shifts: dict[Perturbation, Shift] = field(default_factory=dict)

    def variants(self) -> Generator[Sequence[Perturbation], Sequence[Scored], None]:
        """Every layer at the largest limit; then the smaller ones, and maps, at the best layer."""
        strongest = max(self.config.eps)
        layers = [Perturbation(layer, strongest, 0) for layer in self.norms]
        found = yield layers
        best = max(range(len(layers)), key=lambda i: found[i].forget)
        yield [v for v in self._at(layers[best].layer) if v not in layers]

    def _at(self, layer: int) -> list[Perturbation]:
        ranks = (0, self.config.rank) if self.config.rank else (0,)
        return [Perturbation(layer, eps, rank) for rank in ranks for eps in sorted(self.config.eps)]

    def change(self, variant: Perturbation) -> Change:
        """The trained shift, at every token."""
        if variant not in self.shifts:
            norm = self.norms[variant.layer]
            self.shifts[variant] = train_shift(self.model, self.rows, variant, norm, self.config)
        return _change(variant, self.shifts[variant])

    def sham(self, variant: Perturbation, seed: int) -> Change:
        """A random vector, or a random map, that moves states as far, measured."""
        generator = torch.Generator().manual_seed(seed)
        real = self.change(variant)
        d, rank = self.model.cfg.d_model, variant.rank
        up = torch.randn(d, max(1, rank), generator=generator) / d**0.5
        down = torch.randn(rank, d, generator=generator) / d**0.5 if rank else None
        random = _change(variant, Shift(self.norms[variant.layer], variant.eps, up, down))
        return of_equal_size(self.model, random, real, self.texts)

    def size(self, variant: Perturbation) -> int:
        """Thousandths of the limit; of two alike the vector."""
        return round(1000 * variant.eps) + variant.rank

    def view(self, variant: Perturbation) -> View:
        """Accuracy by norm limit, at the variant's layer."""
        same = [v for v in self._at(variant.layer) if v.rank == variant.rank]
        changes = {v.eps: (self.change(v), self.sham(v, self.config.seed)) for v in same}
        return partial(limit_trace, changes=changes, where=_name(variant))


def _name(variant: Perturbation) -> str:
    return f"{'map' if variant.rank else 'vector'} at {variant.where}"


def _change(variant: Perturbation, shift: Shift) -> Change:
    return Change(f"{_name(variant)}, limit {variant.eps:g}", (Hook(variant.place, shift),))


class LatentPerturbation(Attack[LatentConfig, None, Perturbation]):
    """Trained perturbations of the stream as a registered attack."""

    family: ClassVar[Family] = "direction"
    access: frozenset[Access] = frozenset({"activations", "weights"})
    needs: frozenset[Need] = frozenset({"other facts of the forget domain", "retain facts"})
    variant = Perturbation
    presets: Mapping[str, LatentConfig] = {
        "organism": LatentConfig(),
        "small": LatentConfig(steps=32, batch=8),
        "large": LatentConfig(eps=(0.3, 1.0), steps=32, batch=8),
    }
    sizes: ClassVar[Mapping[Size, str]] = {size: size for size in get_args(Size)}

    def splits(self, config: LatentConfig) -> frozenset[Role]:
        """It is trained on one half of the questions and chosen on the other."""
        return frozenset({"forget", "retain"} if config.retain_share else {"forget"})

    def check(self, config: LatentConfig, seen: Seen, layers: int) -> None:
        """Refuse questions that cannot be halved."""
        _ = seen.forget, seen.retain

    def search(
        self, model: HookedModel, seen: Seen, reference: None, config: LatentConfig
    ) -> LatentSearch:
        """Questions in tokens, and norms of the stream; nothing is trained yet.

        Raises:
            ValueError: If there are no questions, or they cannot be halved.
        """
        rng = random.Random(config.seed)
        asked = rng.sample(seen.forget, min(config.questions, len(seen.forget)))
        kept = round(len(asked) * config.retain_share / (1 - config.retain_share))
        benign = rng.sample(seen.retain, min(kept, len(seen.retain)))
        examples = [seen.example(q) for q in (*asked, *benign)]
        rows = example_rows(model, examples, "answer", model.cfg.n_ctx or 1024)
        texts = [e.prompt for e in examples]
        layers = (EMBEDDINGS, *inner_layers(model.cfg.n_layers, config.layers))
        return LatentSearch(model, config, rows, texts, median_norms(model, texts, layers))

    def cost(self, config: LatentConfig, job: Job) -> Cost:
        """Training at every limit on each model, and at every layer on the one under test."""
        training = PASSES * config.steps * config.batch
        limits = len(config.eps)
        layers = len(inner_layers(job.shape.layers, config.layers))
        count = layers + limits * (1 + bool(config.rank))
        tokens = config.batch * job.sizes.longest
        reads = config.batch * max(1, job.sizes.reads)
        activations = backward_bytes(job.shape, job.sizes, tokens)
        logits = logits_bytes(job.shape, job.sizes, reads, backward=True)
        return Cost(
            search=limits * (training + 2 * job.forget_confirm),
            variants=count + (count - limits) * training / max(1, job.forget_select),
            memory={"activations": activations + logits},
        )


def inner_layers(blocks: int, most: int) -> tuple[int, ...]:
    """Evenly spaced blocks; behind the last one a vector would only favour some answers."""
    inner = max(1, blocks - 1)
    few = min(inner, most)
    return tuple(inner * (k + 1) // few - 1 for k in range(few))
