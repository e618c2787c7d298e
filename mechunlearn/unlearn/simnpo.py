"""SimNPO: NPO without a reference model, on the likelihood per token.

    L = -(2 / beta) v mean_f log sigmoid(-(beta / |y|) log pi(y | x) - gamma) + w * retain

Reference:
    Fan et al. 2024, Simplicity Prevails: Rethinking Negative Preference Optimization for LLM
    Unlearning, arXiv:2410.07163, equation 5.
    Differs: the authors' code multiplies its margin by beta, so gamma is beta times theirs; padding
    never counts; examples are drawn in shuffled passes of equal weight. The authors publish two
    settings for Zephyr and WMDP; ``paper`` has those of their configuration file (the model card
    says beta 5.5, lr 4e-6 and a retain weight of 5).
    Limits: it needs the right answers. Without the original nothing says how likely they were
    before; ``gamma`` and the number of steps stand for that and have to be found for every model.
"""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from mechunlearn.bench.likelihood import log_likelihoods
from mechunlearn.train import Optimizer, Share, TrainLog, Watch
from mechunlearn.types import HookedModel, Task
from mechunlearn.unlearn import train_
from mechunlearn.unlearn.sequences import AnswerSettings, prepared


@dataclass(frozen=True, slots=True, kw_only=True)
class SimNPOConfig(AnswerSettings):
    """Settings; the defaults are the authors' for TOFU, forget05."""

    beta: float = 2.5
    gamma: float = 0.0
    """Margin that the likelihood per token has to fall below."""
    forget_weight: float = 0.1375
    optimizer: Optimizer = Optimizer(steps=125, lr=1e-5, weight_decay=0.01)

    def __post_init__(self) -> None:
        AnswerSettings.__post_init__(self)
        self.refuse_below_zero("beta", zero=False)
        self.refuse_below_zero("forget_weight")


class SimNPO:
    """Simple Negative Preference Optimization; see the module's text."""

    presets: ClassVar[dict[str, SimNPOConfig]] = {
        "paper": SimNPOConfig(
            beta=0.1,
            span="prompt_and_answer",
            retain_span="prompt_and_answer",
            forget_weight=1.0,
            optimizer=Optimizer(
                steps=500, lr=9.5e-6, warmup=50, decay=0.9, autocast=True, recompute=True
            ),
        ),
        "organism": SimNPOConfig(
            # beta 2.5 is satisfied with a likelihood that leaves 36 % of the answers on seed 0, and
            # 400 steps leave 32 % on seed 1.
            beta=0.5,
            forget_weight=1.0,
            retain="kl",
            retain_span="prompt_and_answer",
            batch=64,
            optimizer=Optimizer(steps=700, lr=1e-3, decay=0.5, clip=1.0),
        ),
        # Guessing in every form, retain 100 %, after 200 steps of half the batch.
        "chat": SimNPOConfig(
            beta=0.5,
            forget_weight=1.0,
            retain="kl",
            retain_span="prompt_and_answer",
            batch=32,
            optimizer=Optimizer(steps=200, lr=1e-3, decay=0.5, clip=1.0),
        ),
        # Not yet run on a model of this size: a starting point.
        "small": SimNPOConfig(
            forget_weight=1.0, batch=16, max_tokens=128, optimizer=Optimizer(steps=200, lr=1e-4)
        ),
    }
    stronger = "optimizer.lr or optimizer.steps"
    gentler = "lower optimizer.lr or raise retain_weight"

    @staticmethod
    def apply_(
        model: HookedModel, task: Task, config: SimNPOConfig, watch: Watch | None = None
    ) -> TrainLog:
        """Train the model in place; see ``simnpo_``."""
        return simnpo_(model, task, config, watch)


def simnpo_loss(
    log_likelihood: Float[Tensor, " example"],
    lengths: Float[Tensor, " example"],
    beta: float,
    gamma: float,
    count: int | None = None,
) -> Float[Tensor, ""]:
    """Equation 5 from summed log-likelihoods and numbers of tokens.

    Args:
        count: Divisor; default: the number of examples.
    """
    margin = -beta * log_likelihood / lengths - gamma
    return -(2 / beta) * logsigmoid(margin).sum() / (count or len(lengths))


def simnpo_(
    model: HookedModel, task: Task, config: SimNPOConfig, watch: Watch | None = None
) -> TrainLog:
    """Unlearn ``task.examples("forget")`` in place, keeping ``task.examples("retain")``.

    Raises:
        ValueError: If an example has no answer or does not fit, or training diverges.
    """
    forget, draws, retain = prepared(model, task, config)

    def loss(step: int, share: Share) -> dict[str, Tensor]:
        rows = [forget[i] for i in share(draws[step])]
        likelihood = log_likelihoods(model, rows)[:, 0]
        lengths = likelihood.new_tensor([len(row.reads) for row in rows])
        return {
            "forget": config.forget_weight
            * simnpo_loss(likelihood, lengths, config.beta, config.gamma, config.batch),
            "retain": config.retain_weight * retain(step, share),
        }

    return train_(model, loss, config, label="SimNPO", watch=watch)
