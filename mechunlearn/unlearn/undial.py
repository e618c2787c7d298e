"""UNDIAL: teach the model what the original says with the right answer's logit lowered.

    L = mean_f KL(softmax(z_0(x) - beta onehot(y)) || pi(. | x)) + w * retain

``z_0`` are the original's logits at each token ``y`` of a forget answer. The target is fixed, so
that, unlike gradient ascent, training ends where it is reached.

Reference:
    Dong et al. 2024, UNDIAL: Self-Distillation with Adjusted Logits for Robust Unlearning in Large
    Language Models, arXiv:2402.10052. ``paper`` has the settings of
    open-unlearning's configuration file, with the authors' rank and rate for adapters.
    Differs: KL is their cross-entropy less its smallest value, so that 0 is the target reached;
    they use no retain term (``retain_weight=0``); padding never counts.
    Limits: the other answers keep their order, so what was second becomes the answer; it needs the
    right ones, and a form of the question that was not trained on may still be answered.
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from mechunlearn.cost.memory import Shape
from mechunlearn.cost.training import Work
from mechunlearn.models.lora import LoRA
from mechunlearn.train import Optimizer, Share, TrainLog, Watch
from mechunlearn.types import HookedModel, Task
from mechunlearn.unlearn import train_
from mechunlearn.unlearn.sequences import AnswerSettings, Before, prepared


@dataclass(frozen=True, slots=True, kw_only=True)
class UNDIALConfig(AnswerSettings):
    """Settings."""

    beta: float = 10.0
    """Taken from the logit of the right token; the authors search 3, 10 and 30."""
    optimizer: Optimizer = Optimizer(steps=250, lr=1e-4)

    def __post_init__(self) -> None:
        AnswerSettings.__post_init__(self)
        self.refuse_below_zero("beta", zero=False)

    def work(self, shape: Shape) -> Work:
        """As of its kind; the forget answers too are compared with what the original says."""
        work = AnswerSettings.work(self, shape)
        rows, read = (
            (work.rows, work.read) if self.retain_weight else (work.rows[:1], work.read[:1])
        )
        return dataclasses.replace(
            work, rows=rows, read=read, divergence=True, kept=1.0, recorded=work.recorded + 0.5
        )


class UNDIAL:
    """Self-distillation with adjusted logits; see the module's text."""

    presets: ClassVar[dict[str, UNDIALConfig]] = {
        "paper": UNDIALConfig(
            batch=16,
            retain_weight=0.0,
            lora=LoRA(rank=8, alpha=16.0),
            optimizer=Optimizer(steps=250, lr=1e-4, accumulate=8, autocast=True, recompute=True),
        ),
        "organism": UNDIALConfig(
            retain="kl",
            retain_span="prompt_and_answer",
            batch=64,
            optimizer=Optimizer(steps=200, lr=1e-3, decay=0.5, clip=1.0),
        ),
        # Not yet run on a model of this size: a starting point.
        "small": UNDIALConfig(
            retain_span="prompt_and_answer",
            batch=8,
            max_tokens=128,
            optimizer=Optimizer(steps=120, lr=5e-5, warmup=5, decay=0.5),
        ),
    }
    stronger = "optimizer.lr, optimizer.steps or beta"
    gentler = "lower optimizer.lr or raise retain_weight"

    @staticmethod
    def apply_(
        model: HookedModel, task: Task, config: UNDIALConfig, watch: Watch | None = None
    ) -> TrainLog:
        """Train the model in place; see ``undial_``."""
        return undial_(model, task, config, watch)


def undial_(
    model: HookedModel, task: Task, config: UNDIALConfig, watch: Watch | None = None
) -> TrainLog:
    """Unlearn ``task.examples("forget")`` in place, keeping ``task.examples("retain")``.

    Raises:
        ValueError: If an example has no answer or does not fit, or training diverges.
    """
    forget, draws, retain = prepared(model, task, config)
    before = Before(model, forget, draws.all)

    def loss(step: int, share: Share) -> dict[str, Tensor]:
        picked = draws[step]
        reads = sum(len(forget[i].reads) for i in picked)
        terms = {"forget": before.divergence(share(picked), config.beta) / reads}
        if config.retain_weight:
            terms["retain"] = config.retain_weight * retain(step, share)
        return terms

    return train_(model, loss, config, label="UNDIAL", watch=watch)
