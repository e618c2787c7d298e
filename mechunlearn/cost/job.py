"""What an attack's cost depends on, and the cost as a number of question forwards and bytes."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mechunlearn.cost.memory import Memory, Shape, Sizes, forward_bytes, model_bytes

BACKWARD = 3.0
"""A training step costs three forwards."""
UNKNOWN = 40.0
"""Variants that an attack is taken to try which does not say."""


@dataclass(frozen=True, slots=True)
class Job:
    """A model and a task, as far as costs depend on them."""

    shape: Shape
    sizes: Sizes
    forget_select: int
    """Questions of each set and fold."""
    forget_confirm: int
    retain_select: int
    retain_confirm: int


@dataclass(frozen=True, slots=True)
class Cost:
    """What an attack takes, in forwards of one question, and beside the weights in bytes."""

    search: float = 0.0
    """Question forwards before there are variants."""
    variants: float = UNKNOWN
    """Variants that are tried on the forget questions of the select fold."""
    apply: float = 0.0
    """Question forwards of putting one variant on (training), beside the questions it answers."""
    memory: Mapping[str, float] = field(default_factory=dict)
    """Peak bytes by what they are for, beside the weights; at least those of a plain forward."""


def peak_memory(cost: Cost, shape: Shape, sizes: Sizes) -> Memory:
    """Peak bytes of an attack on one model; ``Cost()`` is no attack."""
    parts = dict(cost.memory)
    if (short := forward_bytes(shape, sizes) - sum(parts.values())) > 0:
        parts["activations"] = parts.get("activations", 0.0) + short
    return Memory(model_bytes(shape, sizes) | parts)
