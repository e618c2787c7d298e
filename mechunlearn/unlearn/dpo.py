"""DPO as refusal training: prefer a refusal to the right answer on the forget set.

    L = -mean log sigmoid(beta [log pi(y_w)/pi_0(y_w) - log pi(y_l)/pi_0(y_l)])

Each step mixes three kinds of preferences: on forget prompts a refusal over the right answer; on
retain prompts the right answer over a refusal; and, so that answers stay right, the right answer
over another retain prompt's (a sentence gets the name of whom this prompt is about). The original's
log-likelihoods are computed once, before training; both answers share one pass over their prompt.

Reference:
    Rafailov et al. 2023, Direct Preference Optimization, arXiv:2305.18290, equation 7; used as the
    safety-training baseline by Łucki et al. 2024, arXiv:2409.18025, whose mix is 50:25:25.
    Differs: the third quarter of the mix holds right-over-wrong preferences on the retain prompts
    in place of OpenAssistant's; the refusals are our own or the task's; ``retain_weight`` can add
    cross-entropy on the retain answers.
    Limits: a model that refuses one form of a question may answer another, and letters compared
    among themselves may stay right behind a refusal: the share of refusals is reported beside
    accuracy.
"""

import dataclasses
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from mechunlearn.bench.likelihood import Span, example_rows, log_likelihoods
from mechunlearn.bench.rows import branching_rows
from mechunlearn.cost.memory import Shape
from mechunlearn.cost.training import Work
from mechunlearn.tasks.exchange import Answers
from mechunlearn.tasks.refusals import REFUSALS
from mechunlearn.train import Draws, Optimizer, Share, TrainLog, Watch, shuffled_passes
from mechunlearn.types import Example, HookedModel, Task
from mechunlearn.unlearn import Settings, train_
from mechunlearn.unlearn.sequences import (
    Retain,
    RetainLoss,
    check_share,
    partly_in_chat,
    recorded,
)


def check_mix(mix: Sequence[float]) -> None:
    """Refuse what is not three shares.

    Raises:
        ValueError: If one is negative or not finite, or all are 0.
    """
    shares = all(isinstance(x, (int, float)) and math.isfinite(x) and x >= 0 for x in mix)
    if len(mix) != 3 or not shares or not sum(mix) > 0:
        raise ValueError(
            "mix is three shares of a batch, each 0 or more and not all 0, such as "
            f"(0.5, 0.25, 0.25), not {tuple(mix)}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceSettings(Settings):
    """Settings of the methods that prefer one answer to another."""

    beta: float = 0.1
    retain: RetainLoss = "cross_entropy"
    retain_span: Span = "answer"
    """Tokens that the retain term counts; prompts too keep more of the language."""
    retain_weight: float = 0.0
    """Of a further term on the retain answers; 0 leaves it out."""
    chat: float = 0.0
    """Share of the examples that are asked and answered in a chat template, the task's or else the
    model's, the rest in plain text; with 0, or without a template, all are as the task has them."""
    optimizer: Optimizer = Optimizer(steps=900, lr=5e-6, warmup=150)

    def __post_init__(self) -> None:
        Settings.__post_init__(self)
        self.refuse_below_zero("beta", zero=False)
        self.refuse_below_zero("retain_weight")
        check_share("chat", self.chat)

    def work(self, shape: Shape) -> Work:
        """Examples with two answers, whose likelihoods are recorded, and perhaps retain answers."""
        retain = self.retain_weight > 0
        divergence = retain and self.retain == "kl"
        return dataclasses.replace(
            Settings.work(self, shape),
            rows=(("pairs", "forget"), *([("examples", "retain")] if retain else ())),
            read=(False, self.retain_span != "answer"),
            recorded=1.0,
            divergence=divergence,
            kept=1.0 if divergence else 0.0,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DPOConfig(PreferenceSettings):
    """Settings; the defaults are those of Łucki et al."""

    mix: tuple[float, float, float] = (0.5, 0.25, 0.25)
    """Shares of refusal, answer-over-refusal and right-over-wrong preferences in a batch."""

    def __post_init__(self) -> None:
        PreferenceSettings.__post_init__(self)
        check_mix(self.mix)


class DPO:
    """Direct Preference Optimization towards refusals; see the module's text."""

    presets: ClassVar[dict[str, DPOConfig]] = {
        "paper": DPOConfig(
            batch=32,
            max_tokens=1024,
            chat=0.5,
            optimizer=Optimizer(
                steps=900, lr=5e-6, warmup=150, accumulate=8, autocast=True, recompute=True
            ),
        ),
        # beta 0.1 is satisfied by refusing: among the letters the right one still leads (87 % on
        # seed 1), as it does with 0.05 (60 %) and 0.02 (32 %), all after 400 steps.
        "organism": DPOConfig(
            beta=0.01,
            retain="kl",
            retain_span="prompt_and_answer",
            retain_weight=1.0,
            batch=64,
            optimizer=Optimizer(steps=300, lr=1e-3, decay=0.5, clip=1.0),
        ),
        # Three times the retain weight keeps 97 to 100 % of the retain answers in every form, not
        # 91 to 97, and leaves 61 % of the statements to complete, though nothing is said of them.
        "chat": DPOConfig(
            beta=0.01,
            retain="kl",
            retain_span="prompt_and_answer",
            retain_weight=1.0,
            batch=32,
            optimizer=Optimizer(steps=250, lr=5e-4, decay=0.5, clip=1.0),
        ),
        # Found on SmolLM2-135M; beta 0.05 at half the rate left 69 % of the forget answers. The
        # retain answers stay, the language does not: perplexity of retain text 5,453.
        "small": DPOConfig(
            beta=0.01,
            batch=8,
            max_tokens=128,
            optimizer=Optimizer(steps=120, lr=1e-4, warmup=5, decay=0.5),
        ),
    }
    stronger = "optimizer.lr or optimizer.steps"
    gentler = "lower optimizer.lr, or raise retain_weight or the second and third share of mix"

    @staticmethod
    def apply_(
        model: HookedModel, task: Task, config: DPOConfig, watch: Watch | None = None
    ) -> TrainLog:
        """Train the model in place; see ``dpo_``."""
        return dpo_(model, task, config, watch)


def dpo_loss(
    log_likelihood: Float[Tensor, "pair 2"],
    reference: Float[Tensor, "pair 2"],
    beta: float,
    count: int | None = None,
) -> Float[Tensor, ""]:
    """Equation 7 from summed log-likelihoods; the preferred answer comes first.

    Args:
        count: Divisor; default: the number of pairs.
    """
    ratio = log_likelihood - reference
    return -logsigmoid(beta * (ratio[:, 0] - ratio[:, 1])).sum() / (count or len(ratio))


def preferences(
    task: Task, mix: Sequence[float], batch: int, steps: int, seed: int
) -> list[tuple[Example, str]]:
    """``batch * steps`` examples whose answer is preferred to the string beside it, in order."""
    rng = random.Random(f"preferences-{seed}")
    refusals = task.refusals or REFUSALS
    keep = task.examples("retain")
    kept = Answers(keep if mix[2] else ())
    generator = torch.Generator().manual_seed(seed)
    sizes = kinds_of_steps(mix, batch, steps)
    pools = (task.examples("forget"), keep, keep)
    drawn = [
        iter(shuffled_passes(len(pool), sum(counts), generator))
        for pool, counts in zip(pools, zip(*sizes, strict=True), strict=True)
    ]
    pairs = []
    for counts in sizes:
        for kind, count in enumerate(counts):
            for i in islice(drawn[kind], count):
                example, refusal = pools[kind][i], rng.choice(refusals)
                if kind == 0:
                    pairs.append((Example(example.prompt, refusal), example.answer))
                elif kind == 1:
                    pairs.append((example, refusal))
                else:
                    pairs.append((example, _another(i, kept, rng)))
    return pairs


def kinds_of_steps(mix: Sequence[float], batch: int, steps: int) -> list[tuple[int, ...]]:
    """How many pairs of each kind every step has, so that the shares hold over the whole run.

    A batch that the shares do not divide has them in turn: of batches of 2 with shares of .5, .25
    and .25, the first has the first two kinds and the second the first and the third.

    Raises:
        ValueError: If the mix is not three shares.
    """
    check_mix(mix)
    total = sum(mix)
    owed = [0.0] * len(mix)
    sizes = []
    for _ in range(steps):
        counts = [0] * len(mix)
        for _ in range(batch):
            owed = [left + share / total for left, share in zip(owed, mix, strict=True)]
            # Rounding errors must not decide between kinds that are owed the same.
            kind = max(range(len(mix)), key=lambda k: round(owed[k], 6))
            owed[kind] -= 1
            counts[kind] += 1
        sizes.append(tuple(counts))
    return sizes


def _another(i: int, answers: Answers, rng: random.Random) -> str:
    """An answer of another example, in the same form where there is one.

    Raises:
        ValueError: If all answers are alike.
    """
    own, different = answers.examples[i].answer, ""
    for _ in range(100):
        j = rng.randrange(len(answers.examples))
        other = answers.to(i, j)
        if other is not None and other != own:
            return other
        if answers.examples[j].answer != own:
            different = answers.examples[j].answer
    if not different:
        raise ValueError(f"all retain answers seem to be {own!r}; DPO needs different ones")
    return different


def dpo_(model: HookedModel, task: Task, config: DPOConfig, watch: Watch | None = None) -> TrainLog:
    """Train the model to refuse ``task.examples("forget")`` in place.

    Raises:
        ValueError: If an example has no answer or does not fit, or training diverges.
    """
    pairs = preferences(task, config.mix, config.batch, config.optimizer.steps, config.seed)
    return prefer_(model, task, config, pairs, watch, label="DPO")


def prefer_(
    model: HookedModel,
    task: Task,
    config: PreferenceSettings,
    pairs: Sequence[tuple[Example, str]],
    watch: Watch | None,
    *,
    label: str,
    weight: float = 1.0,
) -> TrainLog:
    """Train the model to prefer the answers of some examples to the strings beside them, in place.

    Args:
        pairs: Of all steps, in order.
        weight: Of the preference term.

    Raises:
        ValueError: If an example does not fit, ``config.chat`` wants a chat template that refuses
            or changes the prompt, or training diverges.
    """
    steps, batch = config.optimizer.steps, config.batch
    pairs = _asked(model, task, config, pairs)
    numbers = {pair: i for i, pair in enumerate(dict.fromkeys(pairs))}
    order = [numbers[pair] for pair in pairs]
    prompts, answers = [e.prompt for e, _ in numbers], [[e.answer, other] for e, other in numbers]
    rows = branching_rows(model.tokenizer, prompts, answers, config.max_tokens)
    reference = recorded(model, rows, order)
    retain = None
    if config.retain_weight:
        kept = partly_in_chat(
            model, task.examples("retain"), task.prompt.turn, config.chat, config.seed
        )
        keep = example_rows(model, kept, config.retain_span, config.max_tokens)
        generator = torch.Generator().manual_seed(config.seed + 1)
        retain = Retain(model, keep, Draws(len(keep), batch, steps, generator), config.retain)

    def loss(step: int, share: Share) -> dict[str, Tensor]:
        picked = share(order[step * batch : (step + 1) * batch])
        likelihood = log_likelihoods(model, [rows[i] for i in picked])
        preference = dpo_loss(likelihood, reference[picked], config.beta, batch)
        terms = {"preference": weight * preference}
        if retain is not None:
            terms["retain"] = config.retain_weight * retain(step, share)
        return terms

    return train_(model, loss, config, label=label, watch=watch)


def _asked(
    model: HookedModel, task: Task, config: PreferenceSettings, pairs: Sequence[tuple[Example, str]]
) -> list[tuple[Example, str]]:
    """The pairs, a share of them with both answers in a chat template; see ``partly_in_chat``."""
    preferred, others = (
        partly_in_chat(model, examples, task.prompt.turn, config.chat, config.seed)
        for examples in ([e for e, _ in pairs], [Example(e.prompt, x) for e, x in pairs])
    )
    return [(e, other.answer) for e, other in zip(preferred, others, strict=True)]
