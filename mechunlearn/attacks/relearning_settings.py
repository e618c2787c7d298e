"""Settings of relearning, and those that suit a size of model."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal

from msgspec import UNSET, UnsetType

from mechunlearn.bench.likelihood import Span
from mechunlearn.models.lora import LoRA
from mechunlearn.train import Fall, Optimizer, Rule

Data = Literal["disjoint", "tested", "retain", "text", "questions"]
INFORMATIVE: tuple[Data, ...] = ("disjoint", "tested")
"""Data that states facts of the forget domain."""
Schedule = Literal["constant", "line", "cosine"]
"""How a rate falls over a whole run."""
LORA_RATE = 10.0
"""Times the rate of all weights, in a sweep, for adapters: they move less at the same rate."""


@dataclass(frozen=True, slots=True)
class Run:
    """A training run up to a number of steps."""

    rate: float
    """Learning rate."""
    seed: int
    steps: int
    schedule: Schedule | UnsetType = UNSET
    """This and what follows is set in a sweep only; else the settings say it."""
    rank: int | UnsetType = UNSET
    """Of adapters; 0 trains the weights themselves."""
    rule: Rule | UnsetType = UNSET
    total: int | UnsetType = UNSET
    """Steps of its schedule."""

    @property
    def name(self) -> str:
        """In words, without its steps."""
        what = [f"lr {self.rate:g}, seed {self.seed}"]
        if self.rank is not UNSET:
            rank = f"LoRA {self.rank}" if self.rank else "all weights"
            what += [str(self.rule), str(self.schedule), rank]
        return ", ".join(what)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """Settings to race beside the rates, each with each; without schedules there is no sweep.

    Raises:
        ValueError: If there are no ranks, or a number is negative.
    """

    schedules: tuple[Schedule, ...] = ()
    ranks: tuple[int, ...] = (0, 8)
    """Of adapters, at ``LORA_RATE`` times the rates; 0: the weights themselves."""
    sgd_rates: tuple[float, ...] = (0.01, 0.1)
    """Of SGD on the weights themselves, with gradients cut to norm 1."""
    halvings: int = 4
    """The first round trains 2 to the power of this times shorter than the last."""

    def __post_init__(self) -> None:
        if not self.ranks or min(*self.ranks, self.halvings) < 0:
            raise ValueError(f"a sweep needs ranks and halvings >= 0, not {self}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RelearningConfig:
    """Settings.

    Raises:
        ValueError: If there is nothing to train, or no rate or seed.
    """

    rates: tuple[float, ...]
    """Learning rates, each a run of its own."""
    steps: int
    batch: int = 16
    keep: int = 0
    """Retain examples that each step trains on beside its batch, of half the select fold's."""
    samples: int = 0
    """Distinct examples; 0: all there are."""
    span: Span = "answer"
    """``prompt_and_answer`` is the paper's whole-chat loss."""
    lora: LoRA = LoRA()
    """Rank 0 trains the weights themselves."""
    seeds: tuple[int, ...] = (0, 1)
    warmup: float = 0.0
    """Share of the steps."""
    decay: float = 0.0
    """Share of the steps."""
    weight_decay: float = 0.0
    max_tokens: int = 1024
    fall: Fall = "line"
    rule: Rule = "adamw"
    sweep: Sweep = Sweep()

    def __post_init__(self) -> None:
        if not self.rates or not self.seeds or min(self.steps, self.batch) < 1:
            raise ValueError(f"relearning needs rates, seeds, steps and a batch, not {self}")
        if min(self.keep, self.samples) < 0:
            raise ValueError(f"keep and samples are numbers of examples, not {self}")

    def optimizer(self, rate: float, *, recompute: bool = False) -> Optimizer:
        """What trains at one learning rate."""
        warmup = math.ceil(self.warmup * self.steps)
        plain = Optimizer(self.steps, rate, warmup, self.decay, self.weight_decay)
        clip = 1.0 if self.rule == "sgd" else 0.0
        return dataclasses.replace(
            plain, recompute=recompute, fall=self.fall, rule=self.rule, clip=clip
        )

    def of(self, run: Run) -> "RelearningConfig":
        """The settings of one run of a sweep; of another run these."""
        if run.schedule is UNSET or run.rank is UNSET or run.rule is UNSET or run.total is UNSET:
            return self
        return dataclasses.replace(
            self,
            steps=run.total,
            decay=0.0 if run.schedule == "constant" else 1.0,
            fall="cosine" if run.schedule == "cosine" else "line",
            lora=dataclasses.replace(self.lora, rank=run.rank),
            rule=run.rule,
        )

    @property
    def checkpoints(self) -> tuple[int, ...]:
        """Numbers of steps after which is measured: powers of two, and the last."""
        return (*(2**i for i in range(self.steps.bit_length()) if 2**i < self.steps), self.steps)


def presets_of(data: Data) -> dict[str, RelearningConfig]:
    """Named settings for one kind of data; ``paper`` holds the published ones."""
    presets = {
        "paper": RelearningConfig(
            rates=(5e-5, 2e-4),
            steps=300,
            batch=1,
            span="prompt_and_answer",
            lora=LoRA(rank=128, alpha=16.0),
            warmup=0.05,
            decay=0.95,
        ),
        "small": RelearningConfig(rates=(1e-5, 5e-5), steps=32, batch=8, max_tokens=128),
        "organism": RelearningConfig(rates=(1e-3,), steps=128, batch=4, seeds=(0,), warmup=0.125),
    }
    if data in INFORMATIVE:
        # Kept facts, and a warm-up, leave more of the rest, of NPO's models most of all.
        presets["organism"] = RelearningConfig(
            rates=(7e-4,), steps=64, keep=16, seeds=(0,), warmup=0.125
        )
    presets["sweep"] = dataclasses.replace(
        presets["organism"],
        rates=(3e-5, 1e-4, 3e-4, 1e-3, 3e-3),
        warmup=0.05,
        sweep=Sweep(schedules=("constant", "line", "cosine")),
    )
    return presets
