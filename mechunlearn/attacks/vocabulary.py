"""The words in which attacks say what they are."""

from dataclasses import dataclass
from typing import Literal, get_args

Family = Literal["prompt", "direction", "read-out", "sparse", "precision", "delta", "relearn"]
"""What kind of evidence an attack gives; verdicts read this."""
FAMILIES: tuple[Family, ...] = get_args(Family)
Access = Literal["prompts", "logits", "activations", "weights"]
"""The threat model: what the attacker must see or change."""
ACCESSES: tuple[Access, ...] = get_args(Access)
Need = Literal[
    "original model",
    "original weights",
    "forget questions",
    "other facts of the forget domain",
    "the tested facts",
    "forget text",
    "retain facts",
    "benign text",
    "unrelated questions",
    "unused tokens",
]
"""What else an attack takes; decides what it gets to see, and the grade of its evidence."""
NEEDS: tuple[Need, ...] = get_args(Need)


@dataclass(frozen=True, slots=True)
class NoSettings:
    """The configuration of an attack that has nothing to set."""
