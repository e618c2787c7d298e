"""Unlearning and safety-training methods: what the attacks are tried on."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from mechunlearn.cost.memory import Shape
from mechunlearn.cost.training import Work
from mechunlearn.models.lora import LoRA
from mechunlearn.train import Loss, Optimizer, TrainLog, Watch, fit, trained
from mechunlearn.types import HookedModel, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What every method has to be told.

    Raises:
        ValueError: If a count is not positive.
    """

    optimizer: Optimizer
    batch: int = 4
    """Forget examples, and retain examples, per step."""
    max_tokens: int = 512
    """Longest example."""
    lora: LoRA = LoRA()
    """Rank 0 trains the weights themselves."""
    seed: int = 42

    def __post_init__(self) -> None:
        if self.batch < 1 or self.max_tokens < 2:
            raise ValueError(f"batch and max_tokens must be at least 1 and 2, not {self}")

    def refuse_below_zero(self, *names: str, zero: bool = True) -> None:
        """Refuse settings that are negative, not finite, or 0 where that would mean nothing.

        Args:
            zero: Whether 0 is allowed.

        Raises:
            ValueError: With the setting and what is allowed.
        """
        for name in names:
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0 or (value == 0 and not zero):
                least = "0 or more" if zero else "more than 0"
                raise ValueError(f"{name} must be {least}, not {value:g}")

    def check(self, layers: int) -> None:
        """Refuse what a model of so many blocks does not allow; called before one is loaded.

        Raises:
            ValueError: With what is allowed.
        """

    def work(self, shape: Shape) -> Work:
        """What a step computes, which cost and memory follow from.

        Here: all weights, or adapters at all matrices, trained on whole forget and retain texts.
        """
        rank, n = self.lora.rank, shape.layers
        return Work(
            weights=float(rank * shape.ends if rank else shape.parameters),
            adapters=rank > 0,
            rows=(("texts", "forget"), ("texts", "retain")),
            read=(True, True),
            forward=n,
            backward=n,
        )


@runtime_checkable
class Method(Protocol):
    """An unlearning method: one file, one paper."""

    presets: Mapping[str, Any]
    """Named settings, each with its source."""
    stronger: str
    """Settings that make it forget more, for the message when nothing was forgotten."""
    gentler: str
    """Settings that keep more, for the message when the retain set collapses."""

    @staticmethod
    def apply_(model: HookedModel, task: Task, config: Any, watch: Watch | None = None) -> TrainLog:
        """Unlearn the task's forget set in place."""
        ...


def train_(
    model: HookedModel,
    loss: Loss,
    config: Settings,
    *,
    label: str,
    watch: Watch | None,
) -> TrainLog:
    """Minimise ``loss`` over the weights, or over adapters that are merged at the end."""
    with trained(model, config.lora, seed=config.seed) as (parameters, adapter):
        log = fit(
            parameters,
            loss,
            config.optimizer,
            label=label,
            watch=watch,
            model=model,
            seed=config.seed,
        )
    return log.having(adapter)
