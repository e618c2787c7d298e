"""Settings of relearning, and those that suit a size of model."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal

from mechunlearn.bench.likelihood import Span
from mechunlearn.models.lora import LoRA
from mechunlearn.train import Optimizer

Data = Literal["disjoint", "tested", "retain", "text", "questions"]
INFORMATIVE: tuple[Data, ...] = ("disjoint", "tested")
"""Data that states facts of the forget domain."""


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

    def __post_init__(self) -> None:
        if not self.rates or not self.seeds or min(self.steps, self.batch) < 1:
            raise ValueError(f"relearning needs rates, seeds, steps and a batch, not {self}")
        if min(self.keep, self.samples) < 0:
            raise ValueError(f"keep and samples are numbers of examples, not {self}")

    def optimizer(self, rate: float, *, recompute: bool = False) -> Optimizer:
        """AdamW at one learning rate."""
        warmup = math.ceil(self.warmup * self.steps)
        plain = Optimizer(self.steps, rate, warmup, self.decay, self.weight_decay)
        return dataclasses.replace(plain, recompute=recompute)

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
    return presets
