"""What attacks leave to be drawn; light, so that a report opens without the attacks."""

from typing import ClassVar

from mechunlearn.attacks.protocol import Trace
from mechunlearn.records import Interval, Record
from mechunlearn.types.points import Stream


class LensPlace(Record):
    """The forget questions of the confirm fold, read at one place."""

    layer: int
    stream: Stream
    value: float
    value_ci: Interval


class LensTrace(Trace):
    """What a read-out reads at every layer and stream."""

    kind: ClassVar[str] = "lens"
    places: tuple[LensPlace, ...]


class ProjectionTrace(Trace):
    """Where questions lie along a direction: coordinates at the last token of the prompt."""

    kind: ClassVar[str] = "projection"
    layer: int
    direction: str
    """What the direction is the difference to."""
    forget: tuple[float, ...]
    retain: tuple[float, ...]


class PrunedTrace(Trace):
    """How much is taken out of each layer."""

    kind: ClassVar[str] = "pruned"
    pruned: tuple[int, ...]
    """A number for each layer."""
    of: int
    """How many the model has."""
    grain: str
    """``weight``, ``neuron`` or ``head``."""


class PrefixTrace(Trace):
    """A search for a text, and what each of its tokens does inside the model."""

    kind: ClassVar[str] = "prefix"
    text: str
    tokens: tuple[str, ...]
    place: str
    """Where it stands: ``prefix`` or ``suffix``."""
    losses: tuple[float, ...]
    """Of the best texts, in nats."""
    curve: tuple[float, ...]
    """Best loss so far after each step; it rises where a new start begins."""
    steps: int
    candidates: int
    effects: tuple[tuple[float, ...], ...]
    """By token and layer: how far the state at the end of the prompt moves without the token, as a
    share of its length."""
