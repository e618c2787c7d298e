"""Read the answer at inner layers, where it may still stand before the output hides it.

    logits_l = W_U ln_final(x_l)    at the last prompt token, letters only

for four streams ``x_l`` of every layer: block output, attention output, residual between attention
and MLP, MLP output.

Reference:
    nostalgebraist 2020, Interpreting GPT: the logit lens; as an attack on unlearned models by
    Łucki et al. 2024, arXiv:2409.18025, section 4.3.
    Differs: logits are compared, not probabilities rounded to six decimals, and exact ties count
    as no answer (in the paper's code they become "A"); layer and stream are chosen on the select
    fold; all streams and layers come from one forward.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from mechunlearn.attacks import Candidate, Settings
from mechunlearn.bench import score_points
from mechunlearn.hooks import STREAMS, Point
from mechunlearn.types import NO_CHANGE, HookedModel, Intervention, Question, Score, Task


def lens_points(model: HookedModel) -> list[Point]:
    """Every stream of every layer."""
    return [Point(i, stream) for i in range(model.cfg.n_layers) for stream in STREAMS]


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


@dataclass(frozen=True, slots=True)
class _Found:
    model: HookedModel

    def grid(self) -> list[Settings]:
        return [{"layer": p.layer, "stream": p.stream} for p in lens_points(self.model)]

    def build(self, settings: Settings) -> Candidate:
        return Candidate(settings, point=Point(settings["layer"], settings["stream"]))

    def sham(self, settings: Settings, seed: int) -> None:
        return None


class LogitLens:
    """The logit lens as a registered attack."""

    access: ClassVar[tuple[str, ...]] = ("activations",)
    needs: ClassVar[tuple[str, ...]] = ()

    @staticmethod
    def reference(original: HookedModel, task: Task, asked: Sequence[Question]) -> None:
        """Nothing is needed of the original."""

    @staticmethod
    def find(model: HookedModel, task: Task, asked: Sequence[Question], reference: Any) -> _Found:
        """The lens has nothing to look for; its variants are the places to read."""
        return _Found(model)
