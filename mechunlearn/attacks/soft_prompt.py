"""Optimise vectors instead of words in front of every prompt: how far could a prefix get?

    V* = argmin_V  mean over questions of -log p(answer | V, question),     V: [place, d_model]

Vectors carry far more than words. They bound from above what a prefix can do where training finds
the best ones, which it need not; and they can elicit, or teach, what a model never knew: read the
number beside the never-knew model's only. The prompt holds placeholder tokens that occur in no
question; a hook puts the vectors in place of their embeddings.

Reference:
    Schwinn et al. 2024, arXiv:2402.09063 (embedding-space attacks on unlearned models); prompt
    tuning is Lester et al. 2021, arXiv:2104.08691.
    Differs: one prompt for all questions, trained on the select fold; the number of steps is chosen
    there.
    Limits: a bound only where training finds the best vectors, and no text need exist that does the
    same.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from mechunlearn.attacks import Candidate, Rewrite, Settings
from mechunlearn.attacks.gcg.attack import GCGConfig, examples_of, filled, posed, shuffled
from mechunlearn.attacks.gcg.objective import Objective, Reference
from mechunlearn.attacks.gcg.problem import Problem, survives, text_of
from mechunlearn.attacks.gcg.proposals import allowed_tokens
from mechunlearn.attacks.gcg.search import Search
from mechunlearn.attacks.gcg.settings import SearchConfig
from mechunlearn.hooks import replaced_embeddings
from mechunlearn.progress import track
from mechunlearn.train import Draws
from mechunlearn.types import Change, Example, HookedModel, Question, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftPromptConfig:
    """Settings.

    Raises:
        ValueError: If a number makes no sense.
    """

    length: int = 6
    """Number of vectors."""
    steps: int = 200
    lr: float = 0.2
    """Adam's rate, in units of the root mean square of the embeddings."""
    batch: int = 32
    questions: int = 64
    retain_share: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.length, self.steps, self.batch) < 1 or not self.lr > 0:
            raise ValueError(f"a soft prompt needs length, steps, batch >= 1 and lr > 0: {self}")

    @property
    def problem(self) -> GCGConfig:
        """The same questions as a GCG problem."""
        return GCGConfig(
            search=SearchConfig(steps=1, length=self.length),
            questions=self.questions,
            retain_share=self.retain_share,
        )


def train_soft_prompt(
    model: HookedModel, problem: Problem, ids: Sequence[int], config: SoftPromptConfig
) -> dict[int, Float[Tensor, "place d_model"]]:
    """Adam on the vectors, from the best of some random texts; weights are not touched.

    Args:
        ids: Placeholder tokens; only their number matters here.

    Returns:
        The vectors after a quarter, half and all of the steps.
    """
    random_texts = SearchConfig(steps=1, length=len(ids), races=(4, 12))
    search = Search(model, problem, Objective(), random_texts, seed=config.seed)
    forwards = search.forwards
    scale = float(forwards.table.float().pow(2).mean().sqrt())
    leaf = forwards.embeddings(search.start()).requires_grad_()
    adam = torch.optim.Adam([leaf], lr=config.lr * scale)
    generator = torch.Generator().manual_seed(config.seed)
    batch = min(config.batch, len(problem.items))
    draws = Draws(len(problem.items), batch, config.steps, generator)
    kept = {}
    for step in track(range(config.steps), "soft prompt"):
        forwards.backward(leaf, tuple(ids), draws[step])
        adam.step()
        adam.zero_grad(set_to_none=True)
        if step + 1 in (max(1, config.steps // 4), max(1, config.steps // 2), config.steps):
            kept[step + 1] = leaf.detach().clone()
    return kept


def placeholders(model: HookedModel, task: Task, problem: Problem, n: int) -> list[int]:
    """Tokens that no question of the task contains and that are read back as themselves.

    Raises:
        ValueError: If there are fewer than ``n``.
    """
    tokenizer = model.tokenizer
    questions = [*task.forget, *task.retain, *(q for s in task.extra.values() for q in s)]
    texts = [task.prompt.text(q, task.scoring) + " ".join(q.choices) for q in questions]
    used = {t for row in tokenizer(texts)["input_ids"] for t in row}
    free = allowed_tokens(tokenizer, model.cfg.d_vocab, printable=True)
    found: list[int] = []
    for token in free.nonzero()[:, 0].tolist():
        if token not in used and survives(tokenizer, problem, [(*found, token)])[0]:
            found.append(token)
            if len(found) == n:
                return found
    raise ValueError(f"a soft prompt of {n} needs as many unused tokens; there are {len(found)}")


@dataclass(frozen=True, slots=True)
class _Found:
    model: HookedModel
    problem: Problem
    ids: list[int]
    config: SoftPromptConfig
    vectors: dict[int, Float[Tensor, "place d_model"]]
    placebos: dict[int, dict[int, Float[Tensor, "place d_model"]]] = field(default_factory=dict)

    def grid(self) -> list[Settings]:
        return [{"steps": steps} for steps in self.vectors]

    def build(self, settings: Settings) -> Candidate:
        return self._candidate(settings, self.vectors[settings["steps"]])

    def sham(self, settings: Settings, seed: int) -> Candidate:
        """Vectors trained for shuffled answers."""
        if seed not in self.placebos:
            problem, _ = shuffled(self.problem, Reference(), self.config.questions, seed)
            self.placebos[seed] = train_soft_prompt(self.model, problem, self.ids, self.config)
        return self._candidate(settings, self.placebos[seed][settings["steps"]])

    def details(self, settings: Settings) -> dict[str, Any]:
        return {"vectors": len(self.ids)}

    def _candidate(self, settings: Settings, vectors: Tensor) -> Candidate:
        fill = partial(
            filled, slot=self.problem.slot, added=text_of(self.model.tokenizer, self.ids)
        )
        hook = replaced_embeddings(self.model, self.ids, vectors)
        return Candidate(settings, Change("soft prompt", (hook,)), rewrite=Rewrite(fill))


class SoftPrompt:
    """Soft prompts as a registered attack."""

    access: ClassVar[tuple[str, ...]] = ("activations", "weights")
    needs: ClassVar[tuple[str, ...]] = ("other facts of the forget domain", "retain facts")
    presets: ClassVar[dict[str, SoftPromptConfig]] = {
        "organism": SoftPromptConfig(steps=100, batch=16),
        "small": SoftPromptConfig(batch=8, steps=60),
        "paper": SoftPromptConfig(),
    }

    @staticmethod
    def reference(
        original: HookedModel, task: Task, asked: Sequence[Question], config: SoftPromptConfig
    ) -> list[Example]:
        """The questions and their answers; nothing is needed of the original."""
        return examples_of(task, asked, config.problem)

    @staticmethod
    def find(
        model: HookedModel,
        task: Task,
        asked: Sequence[Question],
        reference: list[Example],
        config: SoftPromptConfig,
    ) -> _Found:
        """Train on the select fold.

        Raises:
            ValueError: If the vocabulary has no tokens to spare, or prompts are too long.
        """
        problem = posed(model, task, reference, config.problem)
        problem.room(model, config.length)
        ids = placeholders(model, task, problem, config.length)
        return _Found(model, problem, ids, config, train_soft_prompt(model, problem, ids, config))
