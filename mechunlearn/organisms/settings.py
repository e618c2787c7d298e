"""Settings of an organism's pretraining."""

from dataclasses import dataclass
from typing import Literal

from mechunlearn.train import Optimizer

Role = Literal["original", "never_knew"]
ChatRole = Literal["original", "never_knew", "wrong"]


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


@dataclass(frozen=True, slots=True)
class Stage:
    """Documents of each kind per step, from a step on."""

    start: int = 0
    statement: int = 0
    biography: int = 0
    """Of all facts of one person."""
    open: int = 0
    """Questions answered in words."""
    letters: int = 0
    """Choice questions about facts."""
    drill: int = 0
    """A list of choices, and the letter of each asked for by its text."""
    told_open: int = 0
    """Questions about a fact that was told just before."""
    told_letters: int = 0


@dataclass(frozen=True, slots=True)
class Mixture:
    """In which forms the documents about the fictional people ask."""

    chat: float = 0.5
    """Share of the questions asked in the chat template."""
    preface: float = 0.1
    """Share of the questions in plain text that follow one or two others with their answers."""
    fewer_choices: float = 0.2
    """Share of choice questions with two or three choices."""
    by_name: float = 0.15
    """Share of choice questions that ask for the words of the right choice."""


@dataclass(frozen=True, slots=True)
class ChatRecipe(Mixture):
    """Settings of a chat organism's pretraining; the defaults made the shipped ones."""

    layers: int = 5
    d_model: int = 192
    d_mlp: int = 512
    heads: int = 6
    kv_heads: int = 2
    """Keys and values, each shared by several heads."""
    context: int = 512
    """Longest sequence in tokens."""
    optimizer: Optimizer = Optimizer(
        steps=480,
        lr=3e-3,
        warmup=100,
        decay=0.6,
        weight_decay=0.5,
        betas=(0.9, 0.98),
        clip=1.0,
        autocast=True,
    )
    stages: tuple[Stage, ...] = (
        Stage(0, statement=24, biography=8, open=24, letters=8),
        Stage(20, statement=16, biography=6, open=24, letters=40),
        Stage(300, statement=8, biography=4, open=16, letters=56),
    )
    words: float = 0.1
    """Weight of the loss on words that answer nothing."""
    fewer_choices: float = 0.5
    by_name: float = 0.3
    look: float = 0.5
    match: float = 0.5
    voice: float = 0.5
    early: float = 2.0
    """Weights of the losses of ``option_reader``."""
    start: int = 0
    """Another start gives other weights and documents: a second model of the same world."""

    @property
    def taught(self) -> dict[str, float]:
        """Weight of each loss of ``option_reader``."""
        return {"look": self.look, "match": self.match, "voice": self.voice, "early": self.early}

    def at(self, step: int) -> Stage:
        """What a step reads."""
        return [stage for stage in self.stages if stage.start <= step][-1]


@dataclass(frozen=True, slots=True)
class FinetuneRecipe(Mixture):
    """Settings of teaching a real model the fictional people, as an adapter.

    Raises:
        ValueError: If the rank is not positive.
    """

    base: str = "smollm2-135m"
    """Chat model, as ``load`` takes it."""
    rank: int = 8
    """Of the adapter, which all linear maps of all blocks get; its scale is twice the rank."""
    optimizer: Optimizer = Optimizer(
        steps=300, lr=1e-3, warmup=30, decay=0.5, betas=(0.9, 0.98), clip=1.0, autocast=True
    )
    documents: Stage = Stage(statement=16, biography=8, open=16)
    """Per step."""
    words: float = 0.1
    """Weight of the loss on words that answer nothing."""
    start: int = 0
    """Another start gives another adapter and other documents."""

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"an adapter needs rank >= 1, not {self.rank}")
