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

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from mechunlearn.attacks.gcg.examples import problem_of, shuffled
from mechunlearn.attacks.gcg.objective import Objective, Reference
from mechunlearn.attacks.gcg.prefixes import fill_slot
from mechunlearn.attacks.gcg.problem import Problem, survives, survives_everywhere, text_of
from mechunlearn.attacks.gcg.proposals import allowed_tokens
from mechunlearn.attacks.gcg.search import TextSearch
from mechunlearn.attacks.gcg.settings import GCGConfig, SearchConfig
from mechunlearn.attacks.protocol import Attack, Search
from mechunlearn.attacks.seen import Scored, Seen
from mechunlearn.attacks.vocabulary import Access, Family, Need
from mechunlearn.cost.job import BACKWARD, Cost, Job
from mechunlearn.cost.memory import gradient_bytes
from mechunlearn.hooks import EMBED, replaced_embeddings
from mechunlearn.progress import track
from mechunlearn.train import Draws
from mechunlearn.types import Change, ForModel, Hook, HookedModel, Rewrite

AT_ONCE = 64
"""Tokens that are tried at once as a placeholder."""
Vectors = Float[Tensor, "place d_model"]


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


PRESETS = {
    "organism": SoftPromptConfig(steps=100, batch=16),
    "small": SoftPromptConfig(batch=8, steps=60),
    "paper": SoftPromptConfig(),
}


def train_soft_prompt(
    model: HookedModel, problem: Problem, ids: Sequence[int], config: SoftPromptConfig
) -> dict[int, Vectors]:
    """Adam on the vectors, from the best of some random texts; weights are not touched.

    Args:
        ids: Placeholder tokens; only their number matters here.

    Returns:
        The vectors after a quarter, half and all of the steps.
    """
    random_texts = SearchConfig(steps=1, length=len(ids), races=(4, 12))
    search = TextSearch(model, problem, Objective(), random_texts, seed=config.seed)
    forwards = search.forwards
    scale = float(forwards.table.float().pow(2).mean().sqrt())
    leaf = forwards.embeddings(search.start()).float().requires_grad_()
    adam = torch.optim.Adam([leaf], lr=config.lr * scale)
    generator = torch.Generator().manual_seed(config.seed)
    batch = min(config.batch, len(problem.items))
    draws = Draws(len(problem.items), batch, config.steps, generator)
    vectors = {}
    for step in track(range(config.steps), "soft prompt"):
        forwards.backward(leaf, tuple(ids), draws[step])
        adam.step()
        adam.zero_grad(set_to_none=True)
        if step + 1 in (max(1, config.steps // 4), max(1, config.steps // 2), config.steps):
            vectors[step + 1] = leaf.detach().clone()
    return vectors


def placeholders(model: HookedModel, problem: Problem, used: Collection[int], n: int) -> list[int]:
    """Tokens outside ``used`` that are read back as themselves in a prompt.

    Raises:
        ValueError: If there are fewer than ``n``.
    """
    free = allowed_tokens(model.tokenizer, model.cfg.d_vocab, printable=True)
    unused = [token for token in free.nonzero()[:, 0].tolist() if token not in used]
    ids: list[int] = []
    while unused:
        some = unused[:AT_ONCE]
        fine = survives(model.tokenizer, problem, [(*ids, token) for token in some])
        next_one = fine.index(True) if any(fine) else len(some)
        unused = unused[next_one + 1 :]
        if next_one < len(some) and survives_everywhere(
            model.tokenizer, problem, (*ids, some[next_one])
        ):
            ids.append(some[next_one])
            if len(ids) == n:
                return ids
    raise ValueError(f"a soft prompt of {n} needs as many unused tokens; there are {len(ids)}")


@dataclass(frozen=True, slots=True)
class Training:
    """Vectors after a number of steps."""

    steps: int


@dataclass(frozen=True, slots=True)
class SoftPromptSearch(Search[Training]):
    """Vectors that were trained on one model."""

    model: HookedModel
    config: SoftPromptConfig
    problem: Problem
    ids: Sequence[int]
    """Placeholder tokens."""
    vectors: dict[int, Vectors]
    """By number of steps."""
    placebos: dict[int, dict[int, Vectors]] = field(default_factory=dict)
    """The same of the shams, by seed."""

    def variants(self) -> Generator[Sequence[Training], Sequence[Scored], None]:
        """After a quarter, half and all of the steps."""
        yield [Training(steps) for steps in self.vectors]

    def change(self, variant: Training) -> Change:
        """Placeholders in every prompt, and the vectors in the place of their embeddings."""
        return self._change(self.vectors[variant.steps])

    def sham(self, variant: Training, seed: int) -> Change:
        """Vectors trained for shuffled answers."""
        if seed not in self.placebos:
            problem, _ = shuffled(self.problem, Reference(), self.config.questions, seed)
            self.placebos[seed] = train_soft_prompt(self.model, problem, self.ids, self.config)
        return self._change(self.placebos[seed][variant.steps])

    def _change(self, vectors: Vectors) -> Change:
        text = text_of(self.model.tokenizer, self.ids)
        rewrite = Rewrite(partial(fill_slot, slot=self.problem.slot, text=text))
        hook = Hook(EMBED, ForModel(partial(_replacing, ids=self.ids, vectors=vectors)))
        return Change("soft prompt", hooks=(hook,), rewrite=rewrite)


def _replacing(model: HookedModel, ids: Sequence[int], vectors: Vectors) -> Callable[..., Tensor]:
    return replaced_embeddings(model, ids, vectors)[1]


class SoftPrompt(Attack[SoftPromptConfig, None, Training]):
    """Vectors in front of every prompt."""

    family: ClassVar[Family] = "prompt"
    access: frozenset[Access] = frozenset({"activations", "weights"})
    needs: frozenset[Need] = frozenset(
        {"other facts of the forget domain", "retain facts", "unused tokens"}
    )
    variant = Training
    presets: Mapping[str, SoftPromptConfig] = PRESETS

    def search(
        self, model: HookedModel, seen: Seen, reference: None, config: SoftPromptConfig
    ) -> SoftPromptSearch:
        """Train on the select fold.

        Raises:
            ValueError: If the vocabulary has no tokens to spare, or prompts are too long.
        """
        problem = problem_of(model, seen, config.problem)
        problem.room(model, config.length)
        ids = placeholders(model, problem, seen.used_tokens, config.length)
        vectors = train_soft_prompt(model, problem, ids, config)
        return SoftPromptSearch(model, config, problem, ids, vectors)

    def cost(self, config: SoftPromptConfig, job: Job) -> Cost:
        """Training; one backward pass over a batch."""
        rows = min(config.batch, job.sizes.questions)
        length = job.sizes.longest + config.length
        return Cost(
            search=float(BACKWARD * config.steps * config.batch),
            variants=3.0,
            memory={"activations": gradient_bytes(job.shape, job.sizes, rows, length)},
        )
