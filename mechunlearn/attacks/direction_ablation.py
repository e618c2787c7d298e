"""Find the direction in which unlearning pushed the forget questions, and undo the push.

    d_l = mean_t h_l(forget; unlearned) - mean_t h_l(other),      u_l = d_l / |d_l|
    h_l <- h_l - (h_l . u_l - m_l) u_l                            at every token and chosen layers

What ``other`` is gives the variants: the original model on the same questions (``original``), or
the unlearned model on benign questions (``benign``) or plain text (``text``); ``pca`` takes the
first principal component of the original's and the unlearned model's activations together. Where
the coordinate is moved to gives three more: ``zero`` (the paper's projection, m = 0), ``reference``
(m is the mean coordinate of ``other``) and ``at most reference`` (only what lies beyond m is taken
away). A projection also takes away what every activation had along ``u`` before unlearning, which
can cost more than it brings back; the other two spare that.

Reference:
    Łucki et al. 2024, arXiv:2409.18025 (orthogonalization). Moving to a mean instead of
    zero is affine concept editing, Marshall et al. 2024, arXiv:2411.09003. The form that ablates
    one direction from every write to the residual stream is Arditi et al. 2024, arXiv:2406.11717.
    Differs: means are streamed in float64, no token is stored; of benign texts too the first tokens
    are skipped that all share, where theirs count whole; outliers are those of the forget
    questions, where theirs are of the benign ones too; the principal component is rescaled from
    standardised to activation units; the variant and the layers are chosen on the select fold.
    ``paper`` has their tokens, outliers, layers and targets, but skips the first tokens that all
    forget prompts share instead of a fixed 40, drops outliers by token instead of by string, finds
    those of both sets in the original, rescales the component, which is of 1,000 tokens a model
    and not 2,500, and asks all benign questions as the task does, without the forget domain's
    header.
    Limits: one direction for each layer, from means: what unlearning moved in many directions, or
    only on some questions, is not moved back. The original is needed for some variants, benign text
    for the others.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal, get_args

import torch

from mechunlearn.attacks.activations import statistics_bytes
from mechunlearn.attacks.equal_size import of_equal_size
from mechunlearn.attacks.mean_directions import (
    NO_DIRECTION,
    RESERVOIR,
    Original,
    measured_directions,
    original_means,
)
from mechunlearn.attacks.projection import projections
from mechunlearn.attacks.protocol import Attack, Search, View
from mechunlearn.attacks.seen import Scored, Seen
from mechunlearn.attacks.vocabulary import Access, Family, Need
from mechunlearn.cost.job import Cost, Job
from mechunlearn.errors import unknown
from mechunlearn.hooks import (
    check_layers,
    move_along,
    stream_weights,
    stream_writes,
    untie_,
)
from mechunlearn.models import block_fingerprints
from mechunlearn.presets import Size
from mechunlearn.types import Change, Direction, Hook, HookedModel, Point

Target = Literal["zero", "reference", "at most reference"]
TARGETS: tuple[Target, ...] = get_args(Target)
"""Where a coordinate can be moved."""
Form = Literal["each layer", "every write"]
"""Each layer's own direction after its block, or one layer's out of everything written."""
SINGLE_LAYERS = 8
"""Models with more layers try single layers at quarters of their depth only."""


def ablate_direction(
    model: HookedModel,
    direction: Direction,
    *,
    layers: Sequence[int] | None = None,
    to: Target = "zero",
) -> Change:
    """Undo the push along the direction after each of some blocks.

    Args:
        layers: Blocks, each with its own row of the direction; default: all the direction has.
        to: Where the coordinate is moved; see the module's text.

    Raises:
        ValueError: If a layer does not exist, the direction has no length there, or ``to`` needs a
            reference and the direction has none.
    """
    layers = direction.layers if layers is None else tuple(layers)
    check_layers(model, layers)
    if to not in TARGETS:
        raise unknown("target", to, TARGETS)
    here = direction.restricted(layers)
    units = here.unit()
    coordinates = [0.0] * len(layers)
    if to != "zero":
        if here.reference is None:
            raise ValueError(f"direction {direction.name!r} has no reference to move to")
        coordinates = (here.reference * units).sum(dim=-1).tolist()
    excess_only = to == "at most reference"
    hooks = tuple(
        Hook(Point(layer).name, partial(move_along, unit=unit, to=at, excess_only=excess_only))
        for layer, unit, at in zip(layers, units, coordinates, strict=True)
    )
    return Change(f"{direction.name} to {to} at {_span(layers)}", hooks)


def ablate_everywhere(model: HookedModel, direction: Direction, *, layer: int) -> Change:
    """Project one layer's vector out of everything written to the stream (Arditi et al.).

    Raises:
        ValueError: If the layer does not exist or the direction has no length there.
    """
    check_layers(model, [layer])
    (unit,) = direction.restricted([layer]).unit()
    hooks = tuple(Hook(name, partial(move_along, unit=unit)) for name in stream_writes(model))
    return Change(f"ablate {direction.name} of layer {layer} everywhere", hooks)


@torch.no_grad()
def orthogonalize_(model: HookedModel, direction: Direction, *, layer: int) -> None:
    """Bake ``ablate_everywhere`` into the weights: ``W <- W - (W u) u^T`` for every write.

    Gives the hooked ablation's logits without hooks; a tied embedding is untied first. (Ablation
    with one direction per layer has no such form: it also changes what earlier blocks wrote.)

    Raises:
        ValueError: If the layer does not exist, the direction has no length there, or the model
            norms what its blocks write.
    """
    check_layers(model, [layer])
    (unit,) = direction.restricted([layer]).unit()
    stream_weights(model)  # Refuses before anything is changed.
    untie_(model)
    for weight, axis in stream_weights(model):
        rows = weight.movedim(axis, -1)
        rows -= (rows @ unit.to(rows))[..., None] * unit.to(rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectionConfig:
    """Settings."""

    published: bool = False
    """Whether the tokens that count, the outliers, the layers and the target are the paper's."""


@dataclass(frozen=True, slots=True)
class Ablation:
    """One way to ablate."""

    against: str
    """What gave the direction: ``original``, ``benign``, ``text`` or ``pca``."""
    layers: tuple[int, ...]
    form: Form
    to: Target


@dataclass(frozen=True, slots=True)
class DirectionSearch(Search[Ablation]):
    """The directions found in one model."""

    model: HookedModel
    directions: dict[str, Direction]
    """By what the forget activations were compared with."""
    edited: tuple[int, ...]
    """Blocks that unlearning edited."""
    texts: tuple[str, ...]
    """Prompts that the sham's size is measured on."""
    published: bool = False

    def variants(self) -> Generator[list[Ablation], Sequence[Scored], None]:
        """Every direction to every target at all layers, at the edited ones and at single ones."""
        n = self.model.cfg.n_layers
        everything = tuple(range(n))
        singles = everything if n <= SINGLE_LAYERS else tuple(n * k // 4 for k in range(4))
        singles = tuple(sorted({*singles, *self.edited[:3], *self.edited[-1:], n - 1}))
        targets = TARGETS
        if self.published:  # Of 32 layers: 0, 7, 15, 23 and 31.
            singles = tuple(sorted({0, *(max(0, n * k // 4 - 1) for k in range(1, 5))}))
            targets = ("zero",)
        spans = [everything, self.edited, *((i,) for i in singles)]
        grid: list[Ablation] = []
        for source, direction in self.directions.items():
            # Blocks before the first edited one compute what the original's do: no direction.
            norms = direction.vectors.norm(dim=-1)
            alive = {i for i in everything if norms[i] > NO_DIRECTION * norms.max()}
            shorter = [tuple(i for i in span if i in alive) for span in spans]
            places = [span for span in dict.fromkeys(shorter) if span]
            grid += [Ablation(source, p, "each layer", to) for to in targets for p in places]
            if source in ("original", "benign") and not self.published:
                single = [p for p in places if len(p) == 1]
                grid += [Ablation(source, p, "every write", "zero") for p in single]
        yield grid

    def change(self, variant: Ablation) -> Change:
        """See ``Search``."""
        return self._ablate(self.directions[variant.against], variant)

    def sham(self, variant: Ablation, seed: int) -> Change:
        """As far as the attack moves activations, measured, but along random directions."""
        real, generator = self.directions[variant.against], torch.Generator().manual_seed(seed)
        random = torch.randn(real.vectors.shape, generator=generator)
        placebo = Direction("random direction", real.layers, random, real.reference)
        moved = self._ablate(placebo, variant)
        return of_equal_size(self.model, moved, self.change(variant), self.texts)

    def _ablate(self, direction: Direction, variant: Ablation) -> Change:
        if variant.form == "every write":
            return ablate_everywhere(self.model, direction, layer=variant.layers[0])
        return ablate_direction(self.model, direction, layers=variant.layers, to=variant.to)

    def size(self, variant: Ablation) -> int:
        """Number of layers."""
        return len(variant.layers)

    def view(self, variant: Ablation) -> View:
        """Where questions lie along the direction, at the last edited layer of the variant."""
        edited = [i for i in self.edited if i in variant.layers]
        layer = (edited or variant.layers)[-1]
        direction = self.directions[variant.against].restricted([layer])
        return partial(projections, direction=direction, layer=layer)


class DirectionAblation(Attack[DirectionConfig, Original, Ablation]):
    """Direction ablation as a registered attack."""

    family: ClassVar[Family] = "direction"
    access: frozenset[Access] = frozenset({"activations"})
    needs: frozenset[Need] = frozenset(
        {"original model", "forget questions", "retain facts", "benign text"}
    )
    variant = Ablation
    sizes: ClassVar[Mapping[Size, str]] = dict.fromkeys(get_args(Size), "organism")
    presets: Mapping[str, DirectionConfig] = {
        "organism": DirectionConfig(),
        "paper": DirectionConfig(published=True),
    }

    def learn(self, original: HookedModel, seen: Seen, config: DirectionConfig) -> Original:
        """Mean activations of the original, and a digest of each block to see what was edited."""
        return original_means(original, seen, published=config.published)

    def search(
        self, model: HookedModel, seen: Seen, reference: Original, config: DirectionConfig
    ) -> DirectionSearch:
        """Directions from four comparisons, at every layer."""
        texts = [seen.text(q) for q in seen.asked]
        directions = measured_directions(model, seen, reference, published=config.published)
        blocks = block_fingerprints(model)
        changed = [i for i in range(len(blocks)) if blocks[i] != reference.blocks[i]]
        places = tuple(changed or range(len(blocks)))
        return DirectionSearch(model, directions, places, tuple(texts), config.published)

    def cost(self, config: DirectionConfig, job: Job) -> Cost:
        """Statistics of four sets of texts; four directions to three targets, two at all writes."""
        return Cost(
            search=4.0 * job.forget_select,
            variants=14.0 * (2 + min(job.shape.layers, SINGLE_LAYERS)),
            memory={"activations": statistics_bytes(job.shape, job.sizes, RESERVOIR)},
        )


def _span(layers: Sequence[int]) -> str:
    if len(layers) > 2 and list(layers) == list(range(layers[0], layers[-1] + 1)):
        return f"layers {layers[0]}-{layers[-1]}"
    return f"layer{'s' * (len(layers) > 1)} {', '.join(map(str, layers))}"
