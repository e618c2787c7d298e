"""Gradient difference: ascend the loss on the forget answers, descend it on the retain answers.

    L = -w_f CE(forget) + w_r CE(retain)        or, with ``retain="kl"``,  + w_r KL(pi_0 || pi)

``CE`` is the mean cross-entropy per token.

Reference:
    Maini et al. 2024, TOFU, arXiv:2401.06121, section 4 (Gradient Difference, KL Minimization).
    ``paper`` has the settings for Zephyr and WMDP in the configuration files of Fan et al. 2024,
    arXiv:2410.07163.
    Differs: KL is taken over the chosen tokens, not over padding too; examples are drawn in
    shuffled passes of equal weight.
    Limits: the forget term has no lower bound, so training for longer always damages more; the
    steps are part of the method. It needs the right answers.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from mechunlearn.bench.likelihood import log_likelihoods
from mechunlearn.train import Optimizer, Share, TrainLog, Watch
from mechunlearn.types import HookedModel, Task
from mechunlearn.unlearn import train_
from mechunlearn.unlearn.sequences import AnswerSettings, prepared


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientDifferenceConfig(AnswerSettings):
    """Settings; the defaults are TOFU's."""

    forget_weight: float = 1.0
    optimizer: Optimizer = Optimizer(steps=60, lr=1e-5, weight_decay=0.01)

    def __post_init__(self) -> None:
        AnswerSettings.__post_init__(self)
        self.refuse_below_zero("forget_weight")


class GradientDifference:
    """Gradient ascent on forget and descent on retain; see the module's text."""

    presets: ClassVar[dict[str, GradientDifferenceConfig]] = {
        "paper": GradientDifferenceConfig(
            span="prompt_and_answer",
            retain_span="prompt_and_answer",
            optimizer=Optimizer(
                steps=500, lr=5e-6, warmup=50, decay=0.9, autocast=True, recompute=True
            ),
        ),
        # Ascent knows no end: with cross-entropy on the retain answers, perplexity reached millions
        # on seed 1; with a weight of 5 or a rate of 3e-4 the retain set collapsed on either seed.
        "organism": GradientDifferenceConfig(
            retain="kl",
            retain_span="prompt_and_answer",
            retain_weight=10.0,
            batch=64,
            optimizer=Optimizer(steps=300, lr=2e-4, decay=0.5, clip=1.0),
        ),
        # Cloze 20 %, open and chat answers 1 %; of the retain answers 100, 99 and 96 % stay.
        "chat": GradientDifferenceConfig(
            retain="kl",
            retain_span="prompt_and_answer",
            retain_weight=10.0,
            batch=32,
            optimizer=Optimizer(steps=150, lr=1e-3, decay=0.5, clip=1.0),
        ),
        # Not yet run on a model of this size: a starting point.
        "small": GradientDifferenceConfig(
            batch=16, max_tokens=128, optimizer=Optimizer(steps=60, lr=5e-5)
        ),
    }
    stronger = "optimizer.lr, optimizer.steps or forget_weight"
    gentler = "lower optimizer.lr or optimizer.steps, or raise retain_weight"

    @staticmethod
    def apply_(
        model: HookedModel,
        task: Task,
        config: GradientDifferenceConfig,
        watch: Watch | None = None,
    ) -> TrainLog:
        """Train the model in place; see ``gradient_difference_``."""
        return gradient_difference_(model, task, config, watch)


def gradient_difference_(
    model: HookedModel,
    task: Task,
    config: GradientDifferenceConfig,
    watch: Watch | None = None,
) -> TrainLog:
    """Unlearn ``task.examples("forget")`` in place, keeping ``task.examples("retain")``.

    Raises:
        ValueError: If an example has no answer or does not fit, or training diverges.
    """
    forget, draws, retain = prepared(model, task, config)

    def loss(step: int, share: Share) -> dict[str, Tensor]:
        picked = draws[step]
        reads = sum(len(forget[i].reads) for i in picked)
        likelihood = log_likelihoods(model, [forget[i] for i in share(picked)]).sum()
        return {
            "forget": config.forget_weight * likelihood / reads,
            "retain": config.retain_weight * retain(step, share),
        }

    return train_(model, loss, config, label="gradient difference", watch=watch)
