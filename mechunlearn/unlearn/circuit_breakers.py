"""Circuit breakers: turn the forget set's hidden states away from what they were.

    L = a (1 - t/T) mean_{l in layers, t} ReLU(cos(h_l(x_f; theta), h_l(x_f; theta_0)))
      + a (t/T)     mean_{l, t} ||h_l(x_r; theta) - h_l(x_r; theta_0)||_2

with ``theta`` the model with LoRA adapters, ``theta_0`` the same model with them switched off, the
first mean over the tokens of some layers and the second over those of all layers.

The authors' code (``counts="published"``) ends the model one block after the last rerouted one: its
adapters go up to and into that block, and the retain term's mean is over what such a model calls
its hidden states, the embedding (which no adapter moves), the blocks, and the last one normed.

Reference:
    Zou et al. 2024, Improving Alignment and Robustness with Circuit Breakers, arXiv:2406.04313,
    algorithm 1 (representation rerouting); layers, schedule and LoRA settings of the authors' code.
    Differs: their layers 10 and 20 count the embedding, so they are blocks 9 and 19 here; padding
    does not count, where their retain mean has zeros for it; the retain norm can be taken in units
    of the layer's median norm, because the published weights suit 7B models; the adapters are
    merged at the end (and saved beside the checkpoint); forget and retain sets are a task's texts
    in shuffled passes in place of chats, whose requests and answers they cut at 512 tokens each,
    and refusals are not added to the retain set. All of this holds for ``paper`` too.
    Limits: the forget states have to turn away, but not to any given place, and the loss ends at a
    right angle; ``T`` sets both weights, so a run that is cut short is another method.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cosine_similarity

from mechunlearn.bench.rows import pad, placed, real_places
from mechunlearn.cost.memory import Shape
from mechunlearn.cost.training import Work
from mechunlearn.hooks import capture, check_blocks, run_blocks
from mechunlearn.models.lora import Adapter, LoRA
from mechunlearn.train import Draws, Optimizer, Share, TrainLog, Watch, fit, trained
from mechunlearn.types import HookedModel, Point, Task
from mechunlearn.unlearn import Settings
from mechunlearn.unlearn.sequences import token_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitBreakersConfig(Settings):
    """Settings; the defaults are those published for Mistral-7B-Instruct, but for ``counts``."""

    layers: tuple[int, ...] = (9, 19)
    """Blocks whose output is rerouted."""
    counts: Literal["all blocks", "published"] = "all blocks"
    """What the retain term's mean is over, and where adapters are: all blocks, with adapters up to
    the last rerouted one; or the hidden states of a model that ends one block after that, with
    adapters in all its blocks."""
    weight: float = 5.0
    """The factor a of both terms."""
    horizon: int = 300
    """The T of the schedule: at step t the terms weigh a (1 - t/T) and a t/T."""
    units: Literal["absolute", "relative"] = "absolute"
    """Whether the retain distance counts in activations or in their median norms."""
    batch: int = 16
    max_tokens: int = 1024
    lora: LoRA = LoRA(rank=16, alpha=16.0, dropout=0.05)
    optimizer: Optimizer = Optimizer(steps=150, lr=1e-4)

    def __post_init__(self) -> None:
        Settings.__post_init__(self)
        self.refuse_below_zero("weight")
        self.refuse_below_zero("horizon", zero=False)

    def check(self, layers: int) -> None:
        """Refuse blocks that do not exist, and a run without adapters."""
        check_blocks(layers, self.layers)
        if self.counts == "published" and max(self.layers) + 1 >= layers:
            raise ValueError(
                f"counts='published' needs a block after layers {self.layers}, but the last is "
                f"{layers - 1}; name earlier layers, or set counts='all blocks'"
            )
        if not self.lora.rank:
            raise ValueError("circuit breakers need adapters: set lora.rank to 1 or more")
        if self.optimizer.steps > self.horizon:
            raise ValueError(
                f"after step {self.horizon} (horizon) the forget term would pull the states back; "
                f"raise horizon, or lower optimizer.steps (now {self.optimizer.steps})"
            )

    def work(self, shape: Shape) -> Work:
        """Adapters of the first blocks; all states with them and without stay for the loss."""
        adapted = max(self.layers) + (2 if self.counts == "published" else 1)
        through = adapted if self.counts == "published" else shape.layers
        work = Settings.work(self, shape)
        return dataclasses.replace(
            work,
            weights=work.weights * adapted / shape.layers,
            read=(),
            forward=through,
            backward=through,
            again=1.0,
            padded=True,
            states=2.5 * through,
        )


class CircuitBreakers:
    """Representation rerouting; see the module's text."""

    presets: ClassVar[dict[str, CircuitBreakersConfig]] = {
        "paper": CircuitBreakersConfig(
            counts="published",
            optimizer=Optimizer(steps=150, lr=1e-4, autocast=True, recompute=True),
        ),
        "organism": CircuitBreakersConfig(
            layers=(1, 2),
            units="relative",
            batch=32,
            lora=LoRA(rank=16, alpha=16.0),
            optimizer=Optimizer(steps=300, lr=3e-3),
        ),
        # Not yet run on a model of this size: a starting point.
        "small": CircuitBreakersConfig(
            layers=(10, 20),
            units="relative",
            batch=8,
            max_tokens=128,
            optimizer=Optimizer(steps=150, lr=1e-3),
        ),
    }
    stronger = "optimizer.lr, optimizer.steps or weight"
    gentler = "lower optimizer.lr or horizon"

    @staticmethod
    def apply_(
        model: HookedModel,
        task: Task,
        config: CircuitBreakersConfig,
        watch: Watch | None = None,
    ) -> TrainLog:
        """Train the model in place; see ``circuit_breakers_``."""
        return circuit_breakers_(model, task, config, watch)


def rerouting(
    now: Float[Tensor, "*batch d_model"], before: Float[Tensor, "*batch d_model"]
) -> Float[Tensor, " *batch"]:
    """Per token ``ReLU(cos)``: 0 once the state is orthogonal to, or points away from, the old."""
    return cosine_similarity(now.float(), before.float(), dim=-1).relu()


def circuit_breakers_(
    model: HookedModel, task: Task, config: CircuitBreakersConfig, watch: Watch | None = None
) -> TrainLog:
    """Reroute ``task.forget_text`` in place, keeping ``task.retain_text``.

    Where a task has no such texts, its questions with their answers stand in.

    The original's hidden states come from the same model with the adapters switched off, since
    those of all layers would be too many to store.

    Raises:
        ValueError: If a layer does not exist, a corpus is empty, there is no LoRA, or training
            diverges.
    """
    config.check(model.cfg.n_layers)
    generator = torch.Generator().manual_seed(config.seed)
    forget, keep = (
        token_rows(model, task, role, config.max_tokens) for role in ("forget", "retain")
    )
    steps = config.optimizer.steps
    forget_draws = Draws(len(forget), config.batch, steps, generator)
    keep_draws = Draws(len(keep), config.batch, steps, generator)
    reached = [Point(i) for i in config.layers]
    published = config.counts == "published"
    adapted = max(config.layers) + (2 if published else 1)
    everywhere = [Point(i) for i in range(adapted if published else model.cfg.n_layers)]

    with trained(model, config.lora, range(adapted), config.seed) as (parameters, adapter):
        assert adapter is not None
        states = partial(_with_and_without, model, adapter)

        def loss(step: int, share: Share) -> dict[str, Tensor]:
            part = step / config.horizon
            picked, retain_rows = forget_draws[step], keep_draws[step]
            turned = rerouting(*states([forget[i] for i in share(picked)], reached))
            retained = states([keep[i] for i in share(retain_rows)], everywhere)
            moved = _distance(model, *retained, config)
            n_forget = len(reached) * sum(len(forget[i]) for i in picked)
            # The embedding counts too, with a distance of 0.
            n_keep = (len(everywhere) + published) * sum(len(keep[i]) for i in retain_rows)
            return {
                "forget": config.weight * (1 - part) * turned.sum() / n_forget,
                "retain": config.weight * part * moved.sum() / n_keep,
            }

        log = fit(
            parameters,
            loss,
            config.optimizer,
            label="circuit breakers",
            watch=watch,
            model=model,
            seed=config.seed,
        )
    return log.having(adapter)


def _with_and_without(
    model: HookedModel, adapter: Adapter, rows: list[list[int]], points: Sequence[Point]
) -> tuple[Tensor, Tensor]:
    """``[layer, token, d_model]`` with the adapters and, without gradients, without them."""
    tokens, _ = pad(model, rows)
    pick = placed(real_places(rows), tokens.device)
    with torch.no_grad(), adapter.off():
        before = _states(model, tokens, pick, points)
    return _states(model, tokens, pick, points), before


def _distance(
    model: HookedModel,
    now: Float[Tensor, "layer token d_model"],
    before: Float[Tensor, "layer token d_model"],
    config: CircuitBreakersConfig,
) -> Float[Tensor, "layer token"]:
    """How far the retain set's states have moved."""
    if config.counts == "published":
        now, before = _last_normed(model, now), _last_normed(model, before)
    moved = (now - before).float().norm(dim=-1)
    if config.units == "relative":
        moved = moved / before.float().norm(dim=-1).median(dim=1, keepdim=True).values
    return moved


def _last_normed(
    model: HookedModel, states: Float[Tensor, "layer token d_model"]
) -> Float[Tensor, "layer token d_model"]:
    """The last layer's states after the final norm, as the last of a model's hidden states are."""
    return torch.cat([states[:-1], model.ln_final(states[-1:])])


def _states(
    model: HookedModel,
    tokens: Tensor,
    pick: Int[Tensor, " token"],
    points: Sequence[Point],
) -> Float[Tensor, "layer token d_model"]:
    with capture(model, points, pick) as activations:
        run_blocks(model, tokens, 1 + max(point.layer for point in points))
    return torch.stack([activations[p] for p in points])
