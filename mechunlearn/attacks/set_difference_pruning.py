"""Find what keeps the forgotten answers down, but nothing else needs, and take it out.

    prune = top-q share of S_forget  minus  top-p share of S_utility

``S_forget`` is the attribution of what the unlearned model does on the forget domain, ``S_utility``
of what it does elsewhere. The grain is single weights (set to zero, thresholds per matrix), MLP
neurons or attention heads (set to zero or to their mean on benign text, thresholds over the whole
model). Forget behaviour is read off the forget corpus, which suits methods that disturb
representations, or off the unlearned model's own answers, which suits those that refuse: both are
tried, and the select fold decides.

Reference:
    Łucki et al. 2024, arXiv:2409.18025 (set difference pruning), after Wei et al. 2024,
    arXiv:2402.05162.
    Differs: neurons and heads beside weights; scores in float32 of all blocks in one pass; shares
    are ranks kept as one byte per weight, so that every (p, q) is a comparison; weights without any
    score belong to no share; data and (p, q) are chosen on the select fold.
    Limits: scores are first-order and of each part by itself: parts that keep answers down only
    together are missed, and taking things out cannot restore what was overwritten.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from mechunlearn.attacks import Candidate, Settings
from mechunlearn.attacks.attribution import Kind, unit_means, unit_scores, weight_scores
from mechunlearn.bench.generation import generate
from mechunlearn.bench.likelihood import example_rows, text_rows
from mechunlearn.bench.rows import Row
from mechunlearn.hooks import Unit, linear_maps, replace_units, unit_name
from mechunlearn.types import Change, Example, HookedModel, Question, Task

Matrix = tuple[int, str]
"""Layer and TransformerLens' name of a weight matrix."""
Masks = Callable[[], Iterable[tuple[Matrix, Bool[Tensor, "..."]]]]
Grain = Literal["weight", "neuron", "head"]
PAPER_LEVELS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.125, 0.15, 0.2)
CORPUS, OWN = "forget corpus", "own answers"
LAST_TOKENS = 50
"""Tokens of a text whose likelihood counts, and length of own answers."""


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
    blocks_at_once: int = 0
    """0: all; fewer need less memory and as many more passes (weights only)."""

    def __post_init__(self) -> None:
        if not self.levels or not all(0 < x <= 1 for x in self.levels):
            raise ValueError(f"levels are shares p and q in (0, 1], not {self.levels}")
        if list(self.levels) != sorted(set(self.levels)):
            raise ValueError(f"levels have to rise, not {self.levels}")
        if self.examples < 1 or self.blocks_at_once < 0:
            raise ValueError(f"examples and blocks_at_once must be positive, not {self}")


def ranks(
    scores: Sequence[Float[Tensor, "..."]], levels: Sequence[float]
) -> list[UInt8[Tensor, "..."]]:
    """The smallest of the top shares that each entry belongs to, over all tensors together.

    Returns:
        Index into ``levels``; ``len(levels)`` where an entry belongs to none, or its score is 0.

    Raises:
        ValueError: If a level is not in (0, 1].
    """
    if not all(0 < x <= 1 for x in levels):
        raise ValueError(f"levels are shares p and q in (0, 1], not {tuple(levels)}")
    flat = torch.cat([s.flatten() for s in scores]) if len(scores) > 1 else scores[0].flatten()
    counts = [math.ceil(level * flat.numel()) for level in levels]
    top = flat.topk(counts[-1]).values
    tiny = torch.finfo(top.dtype).tiny
    thresholds = top[torch.tensor(counts, device=top.device) - 1].clamp_min(tiny).flip(0)
    return [
        (len(levels) - torch.bucketize(s.contiguous(), thresholds, right=True)).to(torch.uint8)
        for s in scores
    ]


def set_difference(
    forget: UInt8[Tensor, "..."], utility: UInt8[Tensor, "..."], p: int, q: int
) -> Bool[Tensor, "..."]:
    """In the ``q``-th share of the forget ranks and not in the ``p``-th of the utility ranks."""
    return (forget <= q) & (utility > p)


def prune_weights(
    masks: Mapping[Matrix, Bool[Tensor, "_ _"]], name: str = "pruned weights"
) -> Change:
    """Set the marked weights to zero; ``masks`` are shaped as the matrices are stored.

    Raises:
        ValueError: If nothing is marked.
    """
    if not any(mask.any() for mask in masks.values()):
        raise ValueError("the pruning masks are empty: raise q, or lower p")
    return _pruned(lambda: masks.items(), name)


def _pruned(masks: Masks, name: str) -> Change:
    """As ``prune_weights``, with masks that are made one by one, each time they are needed."""

    @contextmanager
    def edit(model: HookedModel) -> Iterator[None]:
        before: list[Tensor] = []
        with torch.no_grad():
            for key, mask in masks():
                weight = _matrix(model, key)
                chosen = mask.to(weight.device)
                before.append(weight[chosen])
                weight[chosen] = 0.0
        try:
            yield
        finally:
            with torch.no_grad():
                for (key, mask), values in zip(masks(), before, strict=True):
                    weight = _matrix(model, key)
                    weight[mask.to(weight.device)] = values

    return Change(name, edits=(edit,))


def _matrix(model: HookedModel, key: Matrix) -> Tensor:
    layer, name = key
    weight = linear_maps(model, layer, [name])[name].original_component.weight  # type: ignore
    assert isinstance(weight, Tensor)
    return weight.detach()


def prune_units(
    mask: Bool[Tensor, "layer unit"],
    unit: Unit,
    means: Mapping[int, Float[Tensor, "unit *d_head"]] | None = None,
    name: str = "pruned units",
) -> Change:
    """Hold the marked neurons or heads at zero, or at their ``means`` by layer.

    Raises:
        ValueError: If nothing is marked.
    """
    if not mask.any():
        raise ValueError("the pruning mask is empty: raise q, or lower p")
    hooks = []
    for layer, row in enumerate(mask):
        if (chosen := row.nonzero()[:, 0]).numel():
            values: Tensor | float = 0.0 if means is None else means[layer][chosen]
            hook = partial(replace_units, units=chosen, values=values)
            hooks.append((unit_name(layer, unit), hook))
    return Change(name, tuple(hooks))


@dataclass(frozen=True, slots=True)
class _Found:
    grain: Grain
    levels: tuple[float, ...]
    forget: dict[str, dict[Matrix, Tensor]]
    """Kind of forget data -> ranks, by matrix, or by ``(-1, unit)`` for all layers' units."""
    utility: dict[Matrix, Tensor]
    means: dict[int, Tensor]

    def grid(self) -> list[Settings]:
        targets = ("zero",) if self.grain == "weight" else ("zero", "mean")
        cells = [(p, q) for i, p in enumerate(self.levels) for q in self.levels[: i + 1]]
        grid: list[Settings] = [
            {"data": data, "p": p, "q": q, "to": to}
            for data in self.forget
            for p, q in cells
            for to in targets
        ]
        return [s for s in grid if any(m.any() for _, m in self._masks(s))]

    def build(self, settings: Settings) -> Candidate:
        return self._candidate(settings, partial(self._masks, settings))

    def sham(self, settings: Settings, seed: int) -> Candidate:
        """As many random weights of each matrix, neurons or heads of each layer."""
        return self._candidate(settings, partial(self._drawn, settings, seed))

    def details(self, settings: Settings) -> dict[str, Any]:
        """How many were taken out of each layer."""
        found: dict[int, int] = {}
        for (layer, _), mask in self._masks(settings):
            rows = {layer: mask} if self.grain == "weight" else dict(enumerate(mask))
            for i, row in rows.items():
                found[i] = found.get(i, 0) + int(row.sum())
        total = sum(rank.numel() for rank in self.utility.values())
        return {"pruned": [found[i] for i in sorted(found)], "of": total, "grain": self.grain}

    def _masks(self, settings: Settings) -> Iterator[tuple[Matrix, Tensor]]:
        """One matrix' mask at a time: of a large model they are large together."""
        p, q = (self.levels.index(settings[x]) for x in "pq")
        for key, forget in self.forget[settings["data"]].items():
            yield key, set_difference(forget, self.utility[key], p, q)

    def _drawn(self, settings: Settings, seed: int) -> Iterator[tuple[Matrix, Tensor]]:
        generator = torch.Generator().manual_seed(seed)

        def random(mask: Tensor) -> Tensor:
            order = torch.randperm(mask.numel(), generator=generator)[: int(mask.sum())]
            flat = torch.zeros(mask.numel(), dtype=torch.bool)
            flat[order] = True
            return flat.view(mask.shape).to(mask.device)

        for key, mask in self._masks(settings):
            if self.grain == "weight":
                yield key, random(mask)
            else:
                yield key, torch.stack([random(layer) for layer in mask])

    def _candidate(self, settings: Settings, masks: Masks) -> Candidate:
        name = f"{self.grain}s, p = {settings['p']:g}, q = {settings['q']:g}"
        if not any(mask.any() for _, mask in masks()):
            # Shares chosen on another model may leave nothing in this one, such as the control.
            return Candidate(settings, Change(f"{name}: nothing"))
        if self.grain == "weight":
            return Candidate(settings, _pruned(masks, name))
        means = self.means if settings["to"] == "mean" else None
        ((_, mask),) = masks()
        return Candidate(settings, prune_units(mask, self.grain, means, name))


class SetDifferencePruning:
    """Set-difference pruning at one grain as a registered attack."""

    access: ClassVar[tuple[str, ...]] = ("weights",)
    needs: ClassVar[tuple[str, ...]] = ("forget text", "benign text")

    def __init__(self, grain: Grain, levels: tuple[float, ...]) -> None:
        self.grain: Grain = grain
        self.presets = {
            "paper": PruningConfig(
                levels=PAPER_LEVELS if grain == "weight" else levels, examples=512
            ),
            "small": PruningConfig(levels=levels, max_tokens=128),
            "organism": PruningConfig(levels=levels),
        }

    def reference(
        self, original: HookedModel, task: Task, asked: Sequence[Question], config: Any = None
    ) -> None:
        """Nothing is needed of the original."""

    def find(
        self,
        model: HookedModel,
        task: Task,
        asked: Sequence[Question],
        reference: None,
        config: PruningConfig,
    ) -> _Found:
        """Ranks by forget attribution (for each kind of data) and by utility attribution.

        Raises:
            ValueError: If no p and q leave anything to take out.
        """
        limit = min(config.max_tokens, model.cfg.n_ctx or config.max_tokens)
        forget = forget_rows(model, task, asked, config.examples, limit)
        utility = utility_rows(model, task, config.examples, limit)
        found = _Found(
            self.grain,
            config.levels,
            {data: self._ranks(model, rows, config) for data, rows in forget.items()},
            self._ranks(model, utility, config),
            {} if self.grain == "weight" else unit_means(model, utility, self.grain),
        )
        if not found.grid():
            raise ValueError(
                f"pruning {self.grain}s: no p and q among {config.levels} leave anything to take "
                "out; give other levels"
            )
        return found

    def _ranks(
        self, model: HookedModel, rows: Sequence[Row], config: PruningConfig
    ) -> dict[Matrix, Tensor]:
        if self.grain != "weight":
            scores = unit_scores(model, rows, self.grain)
            return {(-1, self.grain): ranks([scores], config.levels)[0].cpu()}
        n = model.cfg.n_layers
        size = config.blocks_at_once or n
        found = {}
        for start in range(0, n, size):
            layers = range(start, min(start + size, n))
            for key, score in weight_scores(model, rows, kind=config.kind, layers=layers).items():
                found[key] = ranks([score], config.levels)[0].cpu()
        return found


def forget_rows(
    model: HookedModel, task: Task, asked: Sequence[Question], examples: int, limit: int
) -> dict[str, list[Row]]:
    """What the model does on the forget domain: on its corpus, and in its own greedy answers."""
    found = {}
    if task.forget_text:
        texts = _spread(task.forget_text, examples)
        found[CORPUS] = text_rows(model, texts, limit, LAST_TOKENS)
    prompts = [task.prompt.text(q, task.scoring) for q in _spread(asked, examples)]
    length = LAST_TOKENS if task.scoring == "letter" and limit > 4 * LAST_TOKENS else 8
    answers = generate(model, prompts, length)
    own = [Example(p, a) for p, a in zip(prompts, map(_spaced, answers), strict=True) if a.strip()]
    if own:
        found[OWN] = example_rows(model, own, "answer", limit)
    return found


def _spaced(text: str) -> str:
    return text if text[:1].isspace() else f" {text}"


def utility_rows(model: HookedModel, task: Task, examples: int, limit: int) -> list[Row]:
    """What must survive: benign text, and the retain questions of the select fold, answered."""
    keep = [task.example(q) for q in task.questions("retain", "select")]
    rows = example_rows(model, _spread(keep, examples), "answer", limit)
    if task.plain_text:
        rows += text_rows(model, _spread(task.plain_text, examples), limit, LAST_TOKENS)
    return rows


def _spread(items: Sequence[Any], n: int) -> list[Any]:
    """At most ``n`` items, evenly spaced."""
    return [items[i * len(items) // n] for i in range(n)] if len(items) > n else list(items)


WEIGHTS = SetDifferencePruning("weight", (0.005, 0.01, 0.025, 0.05, 0.1, 0.2))
NEURONS = SetDifferencePruning("neuron", (0.01, 0.025, 0.05, 0.1, 0.2))
HEADS = SetDifferencePruning("head", (0.05, 0.1, 0.2, 0.4))
