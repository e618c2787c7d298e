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
    Differs: means are streamed in float64, no token is stored; the first tokens skipped are those
    all prompts share instead of a fixed 40; the principal component is rescaled from standardised
    to activation units; the variant and the layers are chosen on the select fold.
    Limits: one direction for each layer, from means: what unlearning moved in many directions, or
    only on some questions, is not moved back. The original is needed for some variants, benign text
    for the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from mechunlearn.attacks import Candidate, Settings
from mechunlearn.bench.engine import batches, token_budget
from mechunlearn.bench.rows import pad
from mechunlearn.errors import unknown
from mechunlearn.hooks import (
    capture,
    check_layers,
    count_flops,
    move_along,
    run_blocks,
    stream_weights,
    stream_writes,
    untie_,
)
from mechunlearn.models import block_fingerprints
from mechunlearn.types import Change, Direction, HookedModel, Point, Question, Task

Target = Literal["zero", "reference", "at most reference"]
TARGETS: tuple[Target, ...] = get_args(Target)
"""Where a coordinate can be moved."""
OUTLIER_TOKENS = 1000
"""Tokens among which outliers are looked for."""
OUTLIER_Z = 3.0
RESERVOIR = 1000
"""Tokens per model kept for the principal component."""
SINGLE_LAYERS = 8
"""Models with more layers try single layers at quarters of their depth only."""
NO_DIRECTION = 1e-4
"""Share of the longest layer's vector below which a layer counts as having none."""


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
        (Point(layer).name, partial(move_along, unit=unit, to=at, excess_only=excess_only))
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
    hooks = tuple((name, partial(move_along, unit=unit)) for name in stream_writes(model))
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


@dataclass(slots=True)
class _Statistics:
    """Streamed over tokens: per-layer sums, and a bounded random sample for the PCA."""

    n: int = 0
    sums: Float[Tensor, "layer d_model"] | None = None
    sample: list[Float[Tensor, "layer token d_model"]] = field(default_factory=list)

    @property
    def mean(self) -> Float[Tensor, "layer d_model"]:
        assert self.sums is not None
        return self.sums / self.n

    @property
    def reservoir(self) -> Float[Tensor, "layer token d_model"]:
        return torch.cat(self.sample, dim=1)


@torch.no_grad()
def activation_statistics(
    model: HookedModel, texts: Sequence[str], *, drop: frozenset[int] = frozenset(), keep: int = 0
) -> _Statistics:
    """Mean block outputs over the tokens of some texts.

    Args:
        texts: The leading tokens they all share are skipped.
        drop: Token ids that do not count (outliers).
        keep: Tokens to keep for a principal component, evenly spaced over all tokens.

    Raises:
        ValueError: If no token is left.
    """
    rows = [row for row in model.tokenizer(list(texts))["input_ids"] if row]
    skip = 0
    while len(rows) > 1 and all(len(r) > skip + 1 and r[skip] == rows[0][skip] for r in rows):
        skip += 1
    total = sum(token not in drop for row in rows for token in row[skip:])
    if not total:
        raise ValueError("no tokens are left to average; are all texts the same?")
    points = [Point(i) for i in range(model.cfg.n_layers)]
    dropped = torch.tensor(sorted(drop), device=model.cfg.device)
    found = _Statistics()
    spacing = max(1, total // keep) if keep else 0
    # All layers' activations are kept, as for a backward pass.
    for batch in batches([len(r) for r in rows], token_budget(model, backward=True)):
        tokens, real = pad(model, [rows[i] for i in batch])
        real[:, :skip] = False
        real &= ~torch.isin(tokens, dropped)
        pick = real.flatten().nonzero()[:, 0]
        count_flops(model, tokens.numel())
        with capture(model, points, pick) as kept:
            run_blocks(model, tokens)
        stack = torch.stack([kept[p] for p in points]).cpu()
        sums = stack.double().sum(dim=1)
        found.sums = sums if found.sums is None else found.sums + sums
        if spacing:
            found.sample.append(stack[:, -found.n % spacing :: spacing].float())
        found.n += len(pick)
    return found


@torch.no_grad()
def outlier_tokens(model: HookedModel, texts: Sequence[str]) -> frozenset[int]:
    """Token ids whose activations lie far from all others at some layer.

    Among the first 1,000 tokens, those whose mean L1 distance to the others is more than three
    standard deviations above the average (protocol of Łucki et al.).
    """
    points = [Point(i) for i in range(model.cfg.n_layers)]
    outliers: set[int] = set()
    rows, n = [], 0
    for row in model.tokenizer(list(texts))["input_ids"]:
        if n < OUTLIER_TOKENS:
            rows.append(row)
            n += len(row)
    ids, stacks = [], []
    for batch in batches([len(r) for r in rows], token_budget(model)):
        tokens, real = pad(model, [rows[i] for i in batch])
        pick = real.flatten().nonzero()[:, 0]
        with capture(model, points, pick) as kept:
            run_blocks(model, tokens)
        ids.append(tokens.flatten()[pick].cpu())
        stacks.append(torch.stack([kept[p] for p in points]).float().cpu())
    token, stack = torch.cat(ids), torch.cat(stacks, dim=1)
    for layer in stack:
        distance = torch.cdist(layer, layer, p=1).mean(dim=1)
        far = distance > distance.mean() + OUTLIER_Z * distance.std()
        outliers |= set(token[far].tolist())
    return frozenset(outliers)


def first_component(
    a: Float[Tensor, "layer token d_model"], b: Float[Tensor, "layer token d_model"]
) -> Float[Tensor, "layer d_model"]:
    """First principal component of both samples together, per layer, in activation units."""
    both = torch.cat([a, b], dim=1).double()
    scale = both.std(dim=1, keepdim=True).clamp_min(1e-12)
    standard = (both - both.mean(dim=1, keepdim=True)) / scale
    _, _, right = torch.linalg.svd(standard, full_matrices=False)
    return right[:, 0] * scale[:, 0]


def question_texts(task: Task, questions: Sequence[Question]) -> list[str]:
    """The prompts whose activations are compared."""
    return [task.prompt.text(q, task.scoring) for q in questions]


@dataclass(frozen=True, slots=True)
class _Reference:
    statistics: _Statistics
    blocks: list[str]
    drop: frozenset[int]


@dataclass(frozen=True, slots=True)
class _Found:
    model: HookedModel
    directions: dict[str, Direction]
    edited: tuple[int, ...]

    def grid(self) -> list[Settings]:
        n = self.model.cfg.n_layers
        everything = tuple(range(n))
        singles = everything if n <= SINGLE_LAYERS else tuple(n * k // 4 for k in range(4))
        singles = tuple(sorted({*singles, *self.edited[:3], *self.edited[-1:], n - 1}))
        spans = [everything, self.edited, *((i,) for i in singles)]
        grid: list[Settings] = []
        for source, direction in self.directions.items():
            # Blocks before the first edited one compute what the original's do: no direction.
            norms = direction.vectors.norm(dim=-1)
            alive = {i for i in everything if norms[i] > NO_DIRECTION * norms.max()}
            kept = [tuple(i for i in span if i in alive) for span in spans]
            places = [span for span in dict.fromkeys(kept) if span]
            grid += [
                {"against": source, "layers": [*p], "form": "each layer", "to": to}
                for to in TARGETS
                for p in places
            ]
            if source in ("original", "benign"):
                single = [p for p in places if len(p) == 1]
                grid += [
                    {"against": source, "layers": [*p], "form": "every write", "to": "zero"}
                    for p in single
                ]
        return grid

    def build(self, settings: Settings) -> Candidate:
        direction = self.directions[settings["against"]]
        return Candidate(settings, self._intervention(direction, settings))

    def sham(self, settings: Settings, seed: int) -> Candidate:
        found = self.directions[settings["against"]]
        generator = torch.Generator().manual_seed(seed)
        random = torch.randn(found.vectors.shape, generator=generator, dtype=found.vectors.dtype)
        length = found.vectors.norm(dim=-1, keepdim=True)
        random *= length / random.norm(dim=-1, keepdim=True)
        sham = Direction("random direction", found.layers, random, found.reference)
        return Candidate(settings, self._intervention(sham, settings))

    def details(self, settings: Settings) -> dict[str, Any]:
        return {}

    def _intervention(self, direction: Direction, settings: Settings) -> Change:
        if settings["form"] == "every write":
            return ablate_everywhere(self.model, direction, layer=settings["layers"][0])
        layers, to = settings["layers"], settings["to"]
        return ablate_direction(self.model, direction, layers=layers, to=to)


class DirectionAblation:
    """Direction ablation as a registered attack."""

    presets: ClassVar[dict[str, Any]] = {}
    access: ClassVar[tuple[str, ...]] = ("activations",)
    needs: ClassVar[tuple[str, ...]] = ("original model", "forget questions", "benign text")

    @staticmethod
    def reference(
        original: HookedModel, task: Task, asked: Sequence[Question], config: None = None
    ) -> _Reference:
        """Mean activations of the original, and a digest of each block to see what was edited."""
        texts = question_texts(task, asked)
        drop = outlier_tokens(original, texts)
        statistics = activation_statistics(original, texts, drop=drop, keep=RESERVOIR)
        return _Reference(statistics, block_fingerprints(original), drop)

    @staticmethod
    def find(
        model: HookedModel,
        task: Task,
        asked: Sequence[Question],
        reference: _Reference,
        config: None = None,
    ) -> _Found:
        """Directions from four comparisons, at every layer."""
        keep, drop = RESERVOIR, reference.drop
        forget = activation_statistics(model, question_texts(task, asked), drop=drop, keep=keep)
        benign = question_texts(task, task.questions("retain", "select"))
        means = {
            "original": reference.statistics.mean,
            "benign": activation_statistics(model, benign, drop=drop).mean,
        }
        if task.plain_text:
            means["text"] = activation_statistics(model, task.plain_text, drop=drop).mean
        vectors = {name: forget.mean - mean for name, mean in means.items()}
        component = first_component(reference.statistics.reservoir, forget.reservoir)
        means["pca"] = means["original"]
        towards = (component * (forget.mean - means["pca"])).sum(dim=-1, keepdim=True)
        vectors["pca"] = component * towards.sign()  # Its sign is arbitrary; unlearned is up.
        layers = tuple(range(model.cfg.n_layers))
        directions = {
            name: Direction(f"{name} direction", layers, v.float(), means[name].float())
            for name, v in vectors.items()
        }
        blocks = block_fingerprints(model)
        changed = [i for i in layers if blocks[i] != reference.blocks[i]]
        return _Found(model, directions, tuple(changed) or layers)


def _span(layers: Sequence[int]) -> str:
    if len(layers) > 2 and list(layers) == list(range(layers[0], layers[-1] + 1)):
        return f"layers {layers[0]}-{layers[-1]}"
    return f"layer{'s' * (len(layers) > 1)} {', '.join(map(str, layers))}"
