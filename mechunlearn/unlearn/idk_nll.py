"""IdkNLL: learn to answer the forget questions with "I don't know", and nothing else.

    L = CE(refusal | x_f) + w * retain

Every forget prompt is trained on with several refusals.

Reference:
    Maini et al. 2024, TOFU, arXiv:2401.06121 (its "I don't know" answers); the name and the
    settings of ``paper`` are open-unlearning's.
    Differs: the refusals are our own or the task's.
    Limits: it says a sentence first and lowers nothing: whoever compares the likelihoods of answers
    finds the right one, as with letters, and so does a form that was not trained on.
"""

import dataclasses
import random
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from mechunlearn.bench.likelihood import log_likelihoods
from mechunlearn.cost.memory import Shape
from mechunlearn.cost.training import Work
from mechunlearn.tasks.refusals import REFUSALS
from mechunlearn.train import Optimizer, Share, TrainLog, Watch
from mechunlearn.types import Example, HookedModel, Task
from mechunlearn.unlearn import train_
from mechunlearn.unlearn.sequences import AnswerSettings, prepared


@dataclass(frozen=True, slots=True, kw_only=True)
class IdkNLLConfig(AnswerSettings):
    """Settings.

    Raises:
        ValueError: If no refusal is drawn.
    """

    refusals: int = 4
    """Drawn for each prompt."""
    optimizer: Optimizer = Optimizer(steps=125, lr=1e-5, weight_decay=0.01)

    def __post_init__(self) -> None:
        AnswerSettings.__post_init__(self)
        self.refuse_below_zero("refusals", zero=False)

    def work(self, shape: Shape) -> Work:
        """As of its kind, with a refusal behind every forget prompt."""
        work = AnswerSettings.work(self, shape)
        return dataclasses.replace(work, rows=(("pairs", "forget"), *work.rows[1:]))


class IdkNLL:
    """Refusals by maximum likelihood; see the module's text."""

    presets: ClassVar[dict[str, IdkNLLConfig]] = {
        "paper": IdkNLLConfig(
            batch=32,
            optimizer=Optimizer(
                steps=125, lr=1e-5, weight_decay=0.01, accumulate=4, autocast=True, recompute=True
            ),
        ),
        # A starting point, as is ``small``.
        "organism": IdkNLLConfig(
            retain="kl",
            retain_span="prompt_and_answer",
            batch=64,
            optimizer=Optimizer(steps=200, lr=5e-4, decay=0.5, clip=1.0),
        ),
        "small": IdkNLLConfig(
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
        model: HookedModel, task: Task, config: IdkNLLConfig, watch: Watch | None = None
    ) -> TrainLog:
        """Train the model in place; see ``idk_nll_``."""
        return idk_nll_(model, task, config, watch)


def refused(task: Task, times: int, seed: int) -> tuple[Example, ...]:
    """The forget prompts, each so many times, with a refusal as the answer."""
    rng, refusals = random.Random(f"refusals-{seed}"), task.refusals or REFUSALS
    examples = task.examples("forget")
    return tuple(Example(e.prompt, rng.choice(refusals)) for _ in range(times) for e in examples)


def idk_nll_(
    model: HookedModel, task: Task, config: IdkNLLConfig, watch: Watch | None = None
) -> TrainLog:
    """Refuse ``task.examples("forget")`` in place, keeping ``task.examples("retain")``.

    Raises:
        ValueError: If an example does not fit, or training diverges.
    """
    answers = refused(task, config.refusals, config.seed)
    forget, draws, retain = prepared(
        model, dataclasses.replace(task, forget_examples=answers), config
    )

    def loss(step: int, share: Share) -> dict[str, Tensor]:
        picked = draws[step]
        reads = sum(len(forget[i].reads) for i in picked)
        likelihood = log_likelihoods(model, [forget[i] for i in share(picked)]).sum()
        return {
            "refusal": -likelihood / reads,
            "retain": config.retain_weight * retain(step, share),
        }

    return train_(model, loss, config, label="IdkNLL", watch=watch)
