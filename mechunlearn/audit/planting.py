"""Knowledge hidden in the original by us: the positive control.

    push     h <- h + c |h_forget| r      after a middle block; r a random unit vector
    filter   h <- h + s (m - h)           after the last block; m the forget prompts' mean there

at every token whose activation looks like the end of a forget prompt (``w . h`` above a threshold;
w is Fisher's discriminant between forget and retain prompts), or at every token where that cannot
be told. Strength and threshold are the smallest that bring the select fold to guessing. Everything
the original knew is still inside, so that attacks which find nothing here say nothing elsewhere.

What it shows: that these attacks, at this number of questions, find knowledge that a direction at a
middle block or a filter at the output hides; direction ablation and read-outs are made for that.
What it does not show: that hiding of another kind, such as a change of many weights, is found as
well. Relearning may or may not find it: the hiding is no weight that training could take back.

Reference:
    A direction added to the stream: RMU, Li et al. 2024, arXiv:2403.03218, and steering, Turner et
    al. 2023, arXiv:2308.10248. The discriminant: Fisher 1936.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from mechunlearn.attacks import halves
from mechunlearn.bench import score
from mechunlearn.bench.batches import batches, token_budget
from mechunlearn.bench.rows import pad
from mechunlearn.hooks import capture, run_blocks
from mechunlearn.types import Change, Hook, HookedModel, Point, Question, Task

Hiding = Literal["push", "filter"]
HIDINGS: tuple[Hiding, ...] = get_args(Hiding)
STRENGTHS: dict[Hiding, tuple[float, ...]] = {
    "push": (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0),
    "filter": (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995),
}
"""From weak to strong: norms of the forget activations; shares of the way to their mean."""
LEFT = 0.1
"""Share of the original's knowledge that may be left open."""
MISSED = 0.05
"""Share of the forget prompts that may lie below the threshold."""
RIDGE = 0.1
"""Of the mean variance, added to the covariance."""


@dataclass(frozen=True, slots=True)
class Gate:
    """Which activations look like the end of a forget prompt."""

    weight: Float[Tensor, " d_model"]
    threshold: float

    def __call__(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch 1"]:
        """1 where they do, else 0."""
        return ((x.float() @ self.weight.to(x.device)) > self.threshold).to(x)[..., None]


def push(
    activation: Float[Tensor, "*batch d_model"],
    hook: object,
    gate: Gate,
    vector: Float[Tensor, " d_model"],
) -> Float[Tensor, "*batch d_model"]:
    """Add a vector where the gate is open; a new tensor."""
    return activation + gate(activation) * vector.to(activation)


def towards(
    activation: Float[Tensor, "*batch d_model"],
    hook: object,
    gate: Gate,
    mean: Float[Tensor, " d_model"],
    share: float,
) -> Float[Tensor, "*batch d_model"]:
    """Move a share of the way to a mean where the gate is open; a new tensor."""
    return activation + share * gate(activation) * (mean.to(activation) - activation)


@torch.no_grad()
def hide_(model: HookedModel, hiding: Hiding, task: Task) -> Change:
    """Hide what the model knows of the forget questions, for as long as it is in memory.

    Only the select fold is looked at: one half fits the gate, the other chooses the strength. Where
    even the strongest hiding leaves more than ``LEFT`` open the strongest stays; the report says
    how much the planted model still answers.

    Returns:
        What was added to the model.
    """
    chosen = planted(model, hiding, task)
    for hook in chosen.hooks:
        model.add_hook(hook.place, hook.bound(model), is_permanent=True)
    return chosen


def planted(model: HookedModel, hiding: Hiding, task: Task) -> Change:
    """The weakest hiding that does, as a change."""
    fitted, judged = _halves(task.questions("forget", "select"))
    kept, _ = _halves(task.questions("retain", "select"))
    blocks = model.cfg.n_layers
    point = Point(blocks - 1 if hiding == "filter" else max(0, (blocks - 1) // 2))
    forget, retain = (_ends(model, task, asked, point) for asked in (fitted, kept))
    known = score(model, judged, task).accuracy - task.chance
    goal = task.chance + LEFT * max(known, 0.0)
    change = Change("nothing planted")
    for gate in _gates(forget, retain):
        for strength in STRENGTHS[hiding]:
            change = Change(
                f"planted {hiding} {strength:g} after block {point.layer}",
                (Hook(point.name, _function(hiding, gate, forget, strength)),),
            )
            if score(model, judged, task, change=change).accuracy <= goal:
                return change
    return change


def _halves(asked: Sequence[Question]) -> tuple[tuple[Question, ...], tuple[Question, ...]]:
    """Questions to fit and to judge by; of one source alone all are both."""
    if len({q.source for q in asked}) < 2:
        return tuple(asked), tuple(asked)
    return halves(asked, "questions")


def _function(
    hiding: Hiding, gate: Gate, forget: Float[Tensor, "prompt d_model"], strength: float
) -> Callable[..., Tensor]:
    if hiding == "filter":
        return partial(towards, gate=gate, mean=forget.mean(dim=0), share=strength)
    random = torch.randn(forget.shape[1], generator=torch.Generator().manual_seed(0))
    length = strength * float(forget.norm(dim=1).mean())
    return partial(push, gate=gate, vector=length * random / random.norm())


def _gates(
    forget: Float[Tensor, "prompt d_model"], retain: Float[Tensor, "kept d_model"]
) -> list[Gate]:
    """Fisher's discriminant, and then no gate at all."""
    mean = forget.mean(dim=0) - retain.mean(dim=0)
    centred = torch.cat([forget - forget.mean(dim=0), retain - retain.mean(dim=0)])
    covariance = centred.T @ centred / len(centred)
    ridge = RIDGE * covariance.diagonal().mean().clamp_min(1e-12)
    weight = torch.linalg.solve(covariance + ridge * torch.eye(len(mean)), mean)
    threshold = float((forget @ weight).quantile(MISSED))
    return [Gate(weight.float(), threshold), Gate(torch.zeros(len(mean)), -1.0)]


def _ends(
    model: HookedModel, task: Task, asked: Sequence[Question], point: Point
) -> Float[Tensor, "prompt d_model"]:
    """Activations at the last token of each prompt, in float64 on the host."""
    texts = [task.prompt.text(q, task.scoring) for q in asked]
    rows = model.tokenizer(texts)["input_ids"]
    kept = []
    for batch in batches([len(r) for r in rows], token_budget(model)):
        tokens, real = pad(model, [rows[i] for i in batch])
        ends = torch.arange(len(tokens)) * tokens.shape[1] + real.cpu().sum(dim=1) - 1
        with capture(model, [point], ends) as activations:
            run_blocks(model, tokens, point.layer + 1)
        kept.append(activations[point].double().cpu())
    return torch.cat(kept)
