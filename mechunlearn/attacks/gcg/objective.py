"""What a candidate is judged by: likelihood of targets, distance to the original, fluency.

    loss = w_ce CE + w_static STATIC + w_dynamic DYNAMIC + w_fluency FLUENCY + w_repetition REP

    CE      = mean over forced tokens of max(-log p(t), clamp)
    STATIC  = mean over layers and places of dist(h(z, q, t), h_original(q, t))
    DYNAMIC = mean over layers and places of dist(h(z, q, t), h_original(z, q, t))
    FLUENCY = mean of -log p(z_i | z_<i),     REP = sum over tokens v of max(n_v - 1, 0)^1.5 / |z|

averaged over questions; ``z`` is the optimised text, ``q`` the question, ``t`` the target.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechunlearn.attacks.gcg.problem import Item, Problem
from mechunlearn.bench.cache import extend, new_cache
from mechunlearn.bench.rows import encode, placed
from mechunlearn.bench.vocabulary import over_rows
from mechunlearn.hooks import check_layers, unembed
from mechunlearn.types import HookedModel, Point

Measure = Literal["cosine", "l1", "l2"]
Span = Literal["answer", "question"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hidden:
    """Distance of hidden states to the original's."""

    weight: float = 0.0
    measure: Measure = "cosine"
    """``1 - cos``, or a norm of the difference."""
    relative: bool = False
    """Divide a norm of the difference by that of the original's state."""
    span: Span = "answer"
    """The last prompt token and the target, or the question's tokens as well."""

    def distance(
        self, h: Float[Tensor, "*place d_model"], reference: Float[Tensor, "*place d_model"]
    ) -> Float[Tensor, "*place"]:
        """Distance at every place."""
        h, reference = h.float(), reference.float()
        if self.measure == "cosine":
            return 1 - torch.cosine_similarity(h, reference, dim=-1)
        p = 1 if self.measure == "l1" else 2
        distance = (h - reference).norm(p=p, dim=-1)
        return distance / reference.norm(p=p, dim=-1) if self.relative else distance


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """Weights of the terms.

    Raises:
        ValueError: If nothing is to be minimised, or hidden states are compared at no layer.
    """

    cross_entropy: float = 1.0
    over: Literal["vocabulary", "choices"] = "vocabulary"
    """Whether a target competes with all tokens or, where answers are letters, with letters."""
    clamp: float = 0.0
    """Smallest cross-entropy of a token that is still rewarded."""
    static: Hidden = field(default_factory=Hidden)
    dynamic: Hidden = field(default_factory=Hidden)
    """Needs the original in memory beside the model under test."""
    layers: tuple[int, ...] = ()
    """Blocks whose outputs are compared."""
    fluency: float = 0.0
    repetition: float = 0.0

    def __post_init__(self) -> None:
        if not (self.cross_entropy or self.static.weight or self.dynamic.weight):
            raise ValueError("the objective needs cross_entropy, static.weight or dynamic.weight")
        if (self.static.weight or self.dynamic.weight) and not self.layers:
            raise ValueError("hidden states are compared at no layer: set objective.layers")

    @property
    def hidden(self) -> bool:
        """Whether hidden states are compared."""
        return bool(self.static.weight or self.dynamic.weight)

    def blocks(self, model: HookedModel) -> int:
        """How many blocks have to run.

        Raises:
            ValueError: If a layer does not exist.
        """
        if self.hidden:
            check_layers(model, self.layers)
        return model.cfg.n_layers if self.cross_entropy else max(self.layers) + 1

    def points(self, model: HookedModel) -> list[Point]:
        """What has to be read in each forward."""
        final = [Point(model.cfg.n_layers - 1)] if self.cross_entropy else []
        return list(dict.fromkeys([*final, *map(Point, self.layers if self.hidden else ())]))


def repetition(ids: Sequence[int]) -> float:
    """Penalty for repeated tokens."""
    return sum((n - 1) ** 1.5 for n in Counter(ids).values()) / max(1, len(ids))


def matched(item: Item, span: Span) -> range:
    """Places compared, counted from the first token after the slot (-1: the last one in it)."""
    first = len(item.after) - 1 if span == "answer" else 0
    return range(first, len(item.after) + len(item.target))


@dataclass(frozen=True, slots=True)
class Reference:
    """What the original computes; computed once where the optimised text does not matter."""

    static: tuple[Float[Tensor, "layer _ d_model"], ...] = ()
    """Hidden states of the clean prompts and targets, by item."""
    original: HookedModel | None = None
    """The model itself, where its states depend on the optimised text."""


def compared(item: Item, clean: Sequence[int], span: Span) -> int:
    """How many last places hold the same token as a clean prompt with its target.

    What separates the text from the question is in no clean prompt, and what stands before the
    text is not compared.
    """
    most = len(matched(item, span))
    if span == "answer":
        return min(most, len(clean))
    before = _alike(item.before, clean)
    return min(_alike((*item.after, *item.target)[::-1], clean[::-1]), len(clean) - before)


def _alike(a: Sequence[int], b: Sequence[int]) -> int:
    """Leading tokens in common."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))


@torch.no_grad()
def static_states(
    original: HookedModel, problem: Problem, objective: Objective
) -> tuple[Float[Tensor, "layer _ d_model"], ...]:
    """The original's states on clean prompts with their targets, at the places compared."""
    blocks = max(objective.layers) + 1
    check_layers(original, objective.layers)
    points = [Point(i) for i in objective.layers]
    states = []
    for i, item in enumerate(problem.items):
        row = encode(original.tokenizer, problem.prompts[i]) + list(item.target)
        n = compared(item, row, objective.static.span)
        tokens = torch.tensor([row], device=original.cfg.device)
        pick = torch.arange(len(row) - n, len(row), device=tokens.device)
        read = extend(original, new_cache(), tokens, points, pick, blocks)
        states.append(torch.stack([read[p] for p in points]))
    return tuple(states)


def likelihood_losses(
    model: HookedModel,
    states: Float[Tensor, "read d_model"],
    targets: Int[Tensor, " read"],
    objective: Objective,
    choices: Sequence[int],
) -> Float[Tensor, " read"]:
    """Cross-entropy of each target token, read from the last block's output."""
    ids = None
    if objective.over == "choices":
        ids = placed(torch.tensor(choices), states.device)
        targets = (targets[:, None] == ids).int().argmax(dim=1)

    def losses_of(part: slice) -> Tensor:
        logits = unembed(model, states[part], ids)
        return torch.nn.functional.cross_entropy(logits, targets[part], reduction="none")

    width = model.cfg.d_vocab if ids is None else len(ids)
    losses = torch.cat(over_rows(losses_of, len(states), width, states.device))
    return losses.clamp_min(objective.clamp) if objective.clamp else losses
