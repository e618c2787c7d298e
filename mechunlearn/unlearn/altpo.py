"""AltPO and IdkDPO: prefer another answer to the right one: a plausible wrong one, or a refusal.

    L = -(2 / beta) mean_f log sigmoid(beta [log r(other) - log r(right)]) + w * retain

``r`` is the ratio of an answer's likelihood to the original's. For ``altpo`` the other answers are
those of the forget set that the original finds likeliest after this prompt, the right one apart,
sentences with the name of whom this prompt is about; for ``idk_dpo`` they are refusals.

Reference:
    Mekala et al. 2024, Alternate Preference Optimization for Unlearning Factual Knowledge in LLMs,
    arXiv:2409.13474; IdkDPO is TOFU's, arXiv:2401.06121, under open-unlearning's name, whose
    settings ``paper`` follows.
    Differs: the model is not asked to write wrong answers, it chooses among those of other
    questions, which also works where an answer is a letter.
    Limits: the model says something false with confidence, and a wrong answer that is always the
    same one marks what was unlearned; of refusals see ``dpo``.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from mechunlearn.bench.rows import branching_rows
from mechunlearn.tasks.exchange import Answers
from mechunlearn.train import Optimizer, TrainLog, Watch, shuffled_passes
from mechunlearn.types import Example, HookedModel, Task
from mechunlearn.unlearn.dpo import PreferenceSettings, prefer_, preferences
from mechunlearn.unlearn.sequences import recorded

CANDIDATES = 24
"""Other answers among which the likeliest are looked for."""
_PAPER = Optimizer(
    steps=125, lr=1e-5, weight_decay=0.01, accumulate=4, autocast=True, recompute=True
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AltPOConfig(PreferenceSettings):
    """Settings.

    Raises:
        ValueError: If there are no alternates.
    """

    alternates: int = 5
    """Answers that may be preferred, of each prompt; one is drawn each time."""
    retain_weight: float = 1.0
    optimizer: Optimizer = Optimizer(steps=125, lr=1e-5, weight_decay=0.01)

    def __post_init__(self) -> None:
        PreferenceSettings.__post_init__(self)
        self.refuse_below_zero("alternates", zero=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdkDPOConfig(PreferenceSettings):
    """Settings."""

    retain_weight: float = 1.0
    optimizer: Optimizer = Optimizer(steps=125, lr=1e-5, weight_decay=0.01)


class AltPO:
    """Alternate preference optimization; see the module's text."""

    presets: ClassVar[dict[str, AltPOConfig]] = {
        "paper": AltPOConfig(batch=32, optimizer=_PAPER),
        # Starting points.
        "organism": AltPOConfig(
            retain="kl",
            retain_span="prompt_and_answer",
            retain_weight=20.0,
            batch=64,
            optimizer=Optimizer(steps=200, lr=1e-3, decay=0.5, clip=1.0),
        ),
        "small": AltPOConfig(
            retain_span="prompt_and_answer",
            batch=8,
            max_tokens=128,
            optimizer=Optimizer(steps=120, lr=4e-5, warmup=5, decay=0.5),
        ),
    }
    stronger = "optimizer.lr or optimizer.steps"
    gentler = "lower optimizer.lr or raise retain_weight"

    @staticmethod
    def apply_(
        model: HookedModel, task: Task, config: AltPOConfig, watch: Watch | None = None
    ) -> TrainLog:
        """Train the model in place, preferring its likeliest wrong answers.

        Raises:
            ValueError: If all answers are alike, an example does not fit, or training diverges.
        """
        pairs = _drawn(alternates(model, task, config), config)
        return prefer_(model, task, config, pairs, watch, label="AltPO", weight=2 / config.beta)


class IdkDPO:
    """Refusals preferred to right answers; see the module's text."""

    presets: ClassVar[dict[str, IdkDPOConfig]] = {
        "paper": IdkDPOConfig(batch=32, optimizer=_PAPER),
        # Starting points; see ``dpo`` about beta.
        "organism": IdkDPOConfig(
            beta=0.01,
            retain="kl",
            retain_span="prompt_and_answer",
            retain_weight=200.0,
            batch=64,
            optimizer=Optimizer(steps=300, lr=1e-3, decay=0.5, clip=1.0),
        ),
        "small": IdkDPOConfig(
            beta=0.01,
            retain_span="prompt_and_answer",
            retain_weight=200.0,
            batch=8,
            max_tokens=128,
            optimizer=Optimizer(steps=120, lr=1e-4, warmup=5, decay=0.5),
        ),
    }
    stronger = "optimizer.lr or optimizer.steps"
    gentler = "lower optimizer.lr or raise retain_weight"

    @staticmethod
    def apply_(
        model: HookedModel, task: Task, config: IdkDPOConfig, watch: Watch | None = None
    ) -> TrainLog:
        """Train the model in place, preferring refusals.

        Raises:
            ValueError: If an example does not fit, or training diverges.
        """
        steps = config.optimizer.steps
        pairs = preferences(task, (1.0, 0.0, 0.0), config.batch, steps, config.seed)
        return prefer_(model, task, config, pairs, watch, label="IdkDPO", weight=2 / config.beta)


def alternates(
    model: HookedModel, task: Task, config: AltPOConfig
) -> list[tuple[Example, tuple[str, ...]]]:
    """The forget examples, each with the likeliest wrong answers, the likeliest first.

    Raises:
        ValueError: If all answers are alike.
    """
    examples = task.examples("forget")
    known, rng = sorted({e.answer for e in examples}), random.Random(f"alternates-{config.seed}")
    if len(known) < 2:
        raise ValueError(f"all forget answers are {known[0]!r}; AltPO needs different ones")
    wrong = [[answer for answer in known if answer != e.answer] for e in examples]
    answers, first = Answers(examples), {e.answer: i for i, e in enumerate(examples)}
    drawn = []
    for i, some in enumerate(wrong):
        told = rng.sample(some, min(CANDIDATES, len(some)))
        said = [answers.to(i, first[answer]) for answer in told]
        drawn.append([answer for answer in said if answer is not None] or told)
    prompts = [e.prompt for e in examples]
    rows = branching_rows(model.tokenizer, prompts, drawn, config.max_tokens)
    likelihood = recorded(model, rows, range(len(rows)))
    found = []
    for example, some, values in zip(examples, drawn, likelihood, strict=True):
        order = values[: len(some)].argsort(descending=True)[: config.alternates].tolist()
        found.append((example, tuple(some[i] for i in order)))
    return found


def _drawn(
    found: Sequence[tuple[Example, tuple[str, ...]]], config: AltPOConfig
) -> list[tuple[Example, str]]:
    """A wrong answer over the right one, for every place of every step."""
    rng, generator = random.Random(f"altpo-{config.seed}"), torch.Generator()
    generator.manual_seed(config.seed)
    order = shuffled_passes(len(found), config.batch * config.optimizer.steps, generator)
    return [
        (Example(found[i][0].prompt, rng.choice(found[i][1])), found[i][0].answer) for i in order
    ]
