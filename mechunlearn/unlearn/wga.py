"""WGA: gradient ascent that lets go of every token the further it is forgotten.

    L = w_f mean_f p(y_t)^beta log p(y_t) + w * retain,      the weight p^beta without a gradient

A token of probability ``p`` counts ``p^beta``: what is unlikely already is left alone, which plain
ascent drives down for ever.

Reference:
    Wang et al. 2025, Rethinking LLM Unlearning Objectives: A Gradient Perspective and Go Beyond,
    arXiv:2502.19301 (weighted gradient ascent). ``paper`` has the settings of open-unlearning's
    configuration file for TOFU.
    Differs: examples are drawn in shuffled passes of equal weight; padding never counts.
    Limits: it needs the right answers, and stops where they are unlikely word by word, which says
    nothing of another form of the question.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from mechunlearn.bench.likelihood import token_log_probabilities
from mechunlearn.train import Optimizer, Share, TrainLog, Watch
from mechunlearn.types import HookedModel, Task
from mechunlearn.unlearn import train_
from mechunlearn.unlearn.gradient_difference import GradientDifferenceConfig
from mechunlearn.unlearn.sequences import prepared

Weight = Callable[[Tensor], Tensor]
"""What a token of some probability counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WGAConfig(GradientDifferenceConfig):
    """Settings."""

    beta: float = 1.0
    optimizer: Optimizer = Optimizer(steps=125, lr=1e-5, weight_decay=0.01)

    def __post_init__(self) -> None:
        GradientDifferenceConfig.__post_init__(self)
        self.refuse_below_zero("beta")

    def weight(self, probability: Tensor) -> Tensor:
        """What tokens of some probabilities count."""
        return probability**self.beta


class WGA:
    """Weighted gradient ascent; see the module's text."""

    presets: ClassVar[dict[str, WGAConfig]] = {
        "paper": WGAConfig(
            batch=32,
            optimizer=Optimizer(
                steps=125, lr=1e-5, weight_decay=0.01, accumulate=4, autocast=True, recompute=True
            ),
        ),
        "organism": WGAConfig(
            retain="kl",
            retain_span="prompt_and_answer",
            retain_weight=5.0,
            batch=64,
            optimizer=Optimizer(steps=300, lr=5e-4, decay=0.5, clip=1.0),
        ),
        # Not yet run on a model of this size: a starting point.
        "small": WGAConfig(
            retain_span="prompt_and_answer",
            batch=8,
            max_tokens=128,
            optimizer=Optimizer(steps=120, lr=4e-5, warmup=5, decay=0.5),
        ),
    }
    stronger = "optimizer.lr, optimizer.steps or forget_weight, or lower beta"
    gentler = "lower optimizer.lr or optimizer.steps, or raise retain_weight"

    @staticmethod
    def apply_(
        model: HookedModel, task: Task, config: WGAConfig, watch: Watch | None = None
    ) -> TrainLog:
        """Train the model in place; see ``weighted_ascent_``."""
        return weighted_ascent_(model, task, config, config.weight, watch, label="WGA")


def weighted_loss(
    log_probability: Float[Tensor, " token"], weight: Weight, count: int | None = None
) -> Float[Tensor, ""]:
    """Weighted log-probability per token; the weights have no gradient.

    Args:
        count: Divisor; default: the number of tokens.
    """
    weighted = weight(log_probability.detach().exp()) * log_probability
    return weighted.sum() / (count or len(log_probability))


def weighted_ascent_(
    model: HookedModel,
    task: Task,
    config: GradientDifferenceConfig,
    weight: Weight,
    watch: Watch | None = None,
    *,
    label: str,
) -> TrainLog:
    """Unlearn ``task.examples("forget")`` in place, keeping ``task.examples("retain")``.

    Raises:
        ValueError: If an example has no answer or does not fit, or training diverges.
    """
    forget, draws, retain = prepared(model, task, config)

    def loss(step: int, share: Share) -> dict[str, Tensor]:
        picked = draws[step]
        reads = sum(len(forget[i].reads) for i in picked)
        each = token_log_probabilities(model, [forget[i] for i in share(picked)])
        return {
            "forget": config.forget_weight * weighted_loss(each, weight, reads),
            "retain": config.retain_weight * retain(step, share),
        }

    return train_(model, loss, config, label=label, watch=watch)
