"""What RunCards say about a loaded model."""

from mechunlearn.records import Record


class SelfTestCard(Record, frozen=True):
    """How far the hooked model's logits lie from the plain model's, relative to these."""

    alone: float
    padded: float
    readout: float
    tolerance: float
    cached: float | None = None
    """Not compared by the first versions."""


class ModelCard(Record, frozen=True):
    """A model that was loaded."""

    name: str
    """What was asked for."""
    architecture: str
    dtype: str
    device: str
    fingerprint: str
    """SHA-256 of the weights."""
    self_test: SelfTestCard
