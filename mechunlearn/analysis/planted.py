"""Hiding that an audit planted, as the report has it; part of the report's records."""

from mechunlearn.records import Interval, Record


class PositiveControl(Record, frozen=True):
    """The original with hiding that the audit planted, under the same attacks."""

    label: str
    hiding: str
    """``push`` or ``filter``; see ``mechunlearn.audit.planting``."""
    value: float
    """What the planted model answers without any attack."""
    gap: float
    gap_ci: Interval
    attack: str
    """The one that brings most back."""
    difference: float
    difference_ci: Interval
    found: tuple[str, ...]
    """Attacks that bring back more than everything they are compared with."""
    questions: int | None = None
    """Where none does: about how many questions it would take; ``None``: no number would do."""
