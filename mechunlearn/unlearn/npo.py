"""NPO: lower the forget answers' likelihood relative to the original, less the lower it is already.

    L = (2 / beta) mean_f log(1 + (pi(y | x) / pi_0(y | x))^beta) + w * retain

``pi_0`` is the original; its log-likelihoods are computed once, before training. As beta goes to 0
this becomes gradient ascent.

Reference:
    Zhang et al. 2024, Negative Preference Optimization, arXiv:2404.05868, equation 3; span,
    retain term and preset ``paper`` as in Łucki et al. 2024, arXiv:2409.18025, whose code sums the
    log-probabilities of prompt *and* answer, and the retain loss too (``summed_cross_entropy``).
    Differs: forget and retain examples are drawn in shuffled passes of equal weight.
    Limits: it needs the right answers and the original's likelihoods of them. The forget term
    limits itself, but nothing in it protects other answers: only the retain term does.
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import logsigmoid

from mechunlearn.bench.likelihood import log_likelihoods
from mechunlearn.cost.memory import Shape
from mechunlearn.cost.training import Work
from mechunlearn.train import Optimizer, Share, TrainLog, Watch
from mechunlearn.types import HookedModel, Task
from mechunlearn.unlearn import train_
from mechunlearn.unlearn.sequences import AnswerSettings, prepared, recorded


@dataclass(frozen=True, slots=True, kw_only=True)
class NPOConfig(AnswerSettings):
    """Settings; the defaults are the original paper's."""

    beta: float = 0.1
    optimizer: Optimizer = Optimizer(steps=140, lr=1e-5, weight_decay=0.01)

    def __post_init__(self) -> None:
        AnswerSettings.__post_init__(self)
        self.refuse_below_zero("beta", zero=False)

    def work(self, shape: Shape) -> Work:
        """As of its kind; the original's likelihoods are recorded, not computed by a copy."""
        work = AnswerSettings.work(self, shape)
        return dataclasses.replace(work, recorded=work.recorded + 0.5)


class NPO:
    """Negative Preference Optimization; see the module's text."""

    presets: ClassVar[dict[str, NPOConfig]] = {
        # Łucki et al.: one of the tuples (beta, lr, lambda) their scripts try; batch 72.
        "paper": NPOConfig(
            beta=0.1,
            span="prompt_and_answer",
            retain="summed_cross_entropy",
            retain_span="prompt_and_answer",
            retain_weight=2.0,
            batch=72,
            max_tokens=1024,
            chat=0.5,
            optimizer=Optimizer(
                steps=400, lr=1e-5, warmup=150, accumulate=24, autocast=True, recompute=True
            ),
        ),
        # Cross-entropy on answers alone keeps the accuracy but multiplies perplexity by 20.
        "organism": NPOConfig(
            retain="kl",
            retain_span="prompt_and_answer",
            batch=64,
            optimizer=Optimizer(steps=200, lr=1.5e-3, decay=0.5, clip=1.0),
        ),
        # At twice the rate retain letters, which no text of it holds, fall to 44 %.
        "chat": NPOConfig(
            retain="kl",
            retain_span="prompt_and_answer",
            batch=32,
            optimizer=Optimizer(steps=200, lr=7e-4, decay=0.5, clip=1.0),
        ),
        # Found on SmolLM2-135M, whose facts of one form fall and rise together: with beta 0.1 the
        # loss is satisfied while the right capital still leads its choices (44 % after 140 steps).
        "small": NPOConfig(
            beta=0.03,
            retain_span="prompt_and_answer",
            retain_weight=6.0,
            batch=8,
            max_tokens=128,
            optimizer=Optimizer(steps=120, lr=4e-5, warmup=5, decay=0.5),
        ),
    }
    stronger = "optimizer.lr or optimizer.steps"
    gentler = "lower optimizer.lr or raise retain_weight"

    @staticmethod
    def apply_(
        model: HookedModel, task: Task, config: NPOConfig, watch: Watch | None = None
    ) -> TrainLog:
        """Train the model in place; see ``npo_``."""
        return npo_(model, task, config, watch)


def npo_loss(
    log_likelihood: Tensor, reference: Tensor, beta: float, count: int | None = None
) -> Tensor:
    """Equation 3 from summed log-likelihoods of the forget answers.

    Args:
        count: Divisor; default: the number of answers.
    """
    ratio = log_likelihood - reference
    return -(2 / beta) * logsigmoid(-beta * ratio).sum() / (count or len(ratio))


def npo_(model: HookedModel, task: Task, config: NPOConfig, watch: Watch | None = None) -> TrainLog:
    """Unlearn ``task.examples("forget")`` in place, keeping ``task.examples("retain")``.

    Raises:
        ValueError: If an example has no answer or does not fit, or training diverges.
    """
    forget, draws, retain = prepared(model, task, config)
    reference = recorded(model, forget, draws.all)[:, 0]

    def loss(step: int, share: Share) -> dict[str, Tensor]:
        picked = share(draws[step])
        likelihood = log_likelihoods(model, [forget[i] for i in picked])[:, 0]
        return {
            "forget": npo_loss(likelihood, reference[picked], config.beta, config.batch),
            "retain": config.retain_weight * retain(step, share),
        }

    return train_(model, loss, config, label="NPO", watch=watch)
