"""SatImp: gradient ascent on the tokens that are neither forgotten already nor certain anyway.

    L = w_f mean_f p(y_t)^beta_1 (1 - p(y_t))^beta_2 log p(y_t) + w * retain

Weights have no gradient. ``p^beta_1`` stops where a token is forgotten (saturation);
``(1 - p)^beta_2`` passes over tokens that follow from those before them (importance). With
``beta_2 = 0`` it is WGA.

Reference:
    Yang et al. 2025, Exploring Criteria of Loss Reweighting to Enhance LLM Unlearning,
    arXiv:2505.11953 (SatImp). ``paper`` has the settings of open-unlearning's configuration file.
    Differs: examples are drawn in shuffled passes of equal weight; padding never counts.
    Limits: an answer that the original gives with certainty hardly counts at first, so that facts
    learnt by heart take longest; otherwise as WGA.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from mechunlearn.train import Optimizer, TrainLog, Watch
from mechunlearn.types import HookedModel, Task
from mechunlearn.unlearn.gradient_difference import GradientDifferenceConfig
from mechunlearn.unlearn.wga import weighted_ascent_


@dataclass(frozen=True, slots=True, kw_only=True)
class SatImpConfig(GradientDifferenceConfig):
    """Settings."""

    beta_1: float = 5.0
    beta_2: float = 1.0
    optimizer: Optimizer = Optimizer(steps=125, lr=1e-5, weight_decay=0.01)

    def __post_init__(self) -> None:
        GradientDifferenceConfig.__post_init__(self)
        self.refuse_below_zero("beta_1", "beta_2")

    def weight(self, probability: Tensor) -> Tensor:
        """What tokens of some probabilities count."""
        return probability**self.beta_1 * (1 - probability) ** self.beta_2


class SatImp:
    """Ascent weighted by saturation and importance; see the module's text."""

    presets: ClassVar[dict[str, SatImpConfig]] = {
        "paper": SatImpConfig(
            forget_weight=0.1,
            batch=32,
            optimizer=Optimizer(
                steps=125, lr=1e-5, weight_decay=0.01, accumulate=4, autocast=True, recompute=True
            ),
        ),
        # beta_1 of 5 stops at a probability that leaves the right letter first.
        "organism": SatImpConfig(
            beta_1=1.0,
            beta_2=0.2,
            retain="kl",
            retain_span="prompt_and_answer",
            retain_weight=5.0,
            batch=64,
            optimizer=Optimizer(steps=300, lr=5e-4, decay=0.5, clip=1.0),
        ),
        # Not yet run on a model of this size: a starting point.
        "small": SatImpConfig(
            beta_1=1.0,
            beta_2=0.2,
            retain_span="prompt_and_answer",
            batch=8,
            max_tokens=128,
            optimizer=Optimizer(steps=120, lr=4e-5, warmup=5, decay=0.5),
        ),
    }
    stronger = "optimizer.lr, optimizer.steps or forget_weight, or lower beta_1 and beta_2"
    gentler = "lower optimizer.lr or optimizer.steps, or raise retain_weight"

    @staticmethod
    def apply_(
        model: HookedModel, task: Task, config: SatImpConfig, watch: Watch | None = None
    ) -> TrainLog:
        """Train the model in place, as ``weighted_ascent_`` does."""
        return weighted_ascent_(model, task, config, config.weight, watch, label="SatImp")
