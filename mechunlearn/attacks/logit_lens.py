"""Read the answer at inner layers, where it may still stand before the output hides it.

    logits_l = W_U ln_final(x_l)    at the last prompt token, letters only

for four streams ``x_l`` of every layer: block output, attention output, residual between attention
and MLP, MLP output.

Reference:
    nostalgebraist 2020, Interpreting GPT: the logit lens; as an attack on unlearned models by
    Łucki et al. 2024, arXiv:2409.18025.
    Differs: logits are compared, not probabilities rounded to six decimals, and exact ties count
    as no answer (in the paper's code they become "A"); layer and stream are chosen on the select
    fold; all streams and layers come from one forward.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Int

from mechunlearn.attacks import Candidate, Settings
from mechunlearn.bench import score_points
from mechunlearn.bench.engine import batches, token_budget
from mechunlearn.bench.rows import pad, question_rows
from mechunlearn.hooks import Point, capture, count_flops, streams, unembed
from mechunlearn.types import NO_CHANGE, HookedModel, Intervention, Question, Score, Task


def lens_points(model: HookedModel) -> list[Point]:
    """Every stream of every layer."""
    return [Point(i, stream) for i in range(model.cfg.n_layers) for stream in streams(model)]


def logit_lens(
    model: HookedModel,
    questions: Sequence[Question],
    task: Task,
    *,
    norm: bool = True,
    intervention: Intervention = NO_CHANGE,
) -> Mapping[Point, Score]:
    """Scores of the questions read at every stream and layer.

    Args:
        norm: Apply the final norm before unembedding, as the paper does.
    """
    return score_points(
        model,
        questions,
        task.prompt,
        lens_points(model),
        scoring=task.scoring,
        intervention=intervention,
        norm=norm,
    )


@torch.no_grad()
def answer_ranks(
    model: HookedModel, questions: Sequence[Question], task: Task, *, norm: bool = True
) -> Mapping[Point, Int[np.ndarray, " question"]]:
    """Rank of the right answer's first token among the whole vocabulary, 0 being the top.

    Read at the last token of each prompt, at every stream and layer.
    """
    rows, _ = question_rows(model.tokenizer, questions, task.prompt, task.scoring)
    points = lens_points(model)
    ranks = {p: np.zeros(len(rows), dtype=np.int64) for p in points}
    for batch in batches([r.stem for r in rows], token_budget(model)):
        tokens, _ = pad(model, [rows[i].tokens[: rows[i].stem] for i in batch])
        last = [at * tokens.shape[1] + rows[i].stem - 1 for at, i in enumerate(batch)]
        first = [
            next(token for _, token, choice in rows[i].reads if choice == questions[i].answer)
            for i in batch
        ]
        right = torch.tensor(first, device=tokens.device)[:, None]
        count_flops(model, tokens.numel())
        with capture(model, points, torch.tensor(last, device=tokens.device)) as kept:
            model(tokens, logits_to_keep=1, return_type=None)
        for point in points:
            logits = unembed(model, kept[point], norm=norm)
            better = logits > logits.gather(1, right)
            ranks[point][batch] = better.sum(dim=1).cpu().numpy()
    return ranks


@dataclass(frozen=True, slots=True)
class _Found:
    model: HookedModel

    def grid(self) -> list[Settings]:
        return [{"layer": p.layer, "stream": p.stream} for p in lens_points(self.model)]

    def build(self, settings: Settings) -> Candidate:
        return Candidate(settings, point=Point(settings["layer"], settings["stream"]))

    def sham(self, settings: Settings, seed: int) -> None:
        return None

    def details(self, settings: Settings) -> dict[str, Any]:
        return {}


class LogitLens:
    """The logit lens as a registered attack."""

    presets: ClassVar[dict[str, Any]] = {}
    access: ClassVar[tuple[str, ...]] = ("activations",)
    needs: ClassVar[tuple[str, ...]] = ()

    @staticmethod
    def reference(
        original: HookedModel, task: Task, asked: Sequence[Question], config: Any = None
    ) -> None:
        """Nothing is needed of the original."""

    @staticmethod
    def find(
        model: HookedModel,
        task: Task,
        asked: Sequence[Question],
        reference: None = None,
        config: None = None,
    ) -> _Found:
        """The lens has nothing to look for; its variants are the places to read."""
        return _Found(model)
