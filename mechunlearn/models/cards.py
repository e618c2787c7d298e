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
    letters: float | None = None
    """From here on scores beside plain forwards, as shares of the spread of the logits."""
    cloze: float | None = None
    left_padded: float | None = None
    generated: float | None = None
    switched_off: tuple[str, ...] = ()
    """Ways to save arithmetic that would change this model's numbers."""


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
    renamed: tuple[str, ...] = ()
    """Prefixes that were taken off the names of its tensors."""
    left_out: int = 0
    """Tensors of a vision or audio part, which were not loaded."""
    trust_remote_code: bool = False
    """Whether code that came with it was allowed to run."""
