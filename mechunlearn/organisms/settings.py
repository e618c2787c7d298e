"""Settings of an organism's pretraining."""

from dataclasses import dataclass
from typing import Literal

from mechunlearn.train import Optimizer

Role = Literal["original", "never_knew"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Settings of the pretraining; the defaults made the shipped organisms."""

    layers: int = 4
    d_model: int = 128
    heads: int = 4
    context: int = 192
    """Longest sequence in tokens."""
    optimizer: Optimizer = Optimizer(
        steps=2000, lr=2e-3, warmup=100, decay=0.4, weight_decay=0.05, betas=(0.9, 0.98), clip=1.0
    )
    in_context: int = 96
    """Documents of each kind per step."""
    statements: int = 128
    statements_late: int = 40
    """Statements per step once they are known, from ``statements_until`` on."""
    statements_until: int = 450
    questions: int = 64
    ask_from: int = 300
    by_name: float = 0.25
    """Share of questions answered by the value's name instead of its letter."""
    fewer_choices: float = 0.6
    """Share of questions with two or three choices."""
    preface: float = 0.15
    """Share of questions that follow other words."""
    preface_from: int = 1000
    start: int = 0
    """Another start gives other weights and documents: a second model of the same world."""


FACTS = Recipe(
    layers=3,
    d_model=64,
    context=64,
    optimizer=Optimizer(
        steps=600, lr=4e-3, warmup=50, decay=0.4, weight_decay=0.05, betas=(0.9, 0.98), clip=1.0
    ),
    in_context=0,
    statements_late=128,
    questions=0,
)
"""Small organisms that know the facts and no letters, made in half a minute; for task ``facts``."""
