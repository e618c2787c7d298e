"""What a search of many trials leaves: each of them, and those that no other beats."""

from collections.abc import Sequence
from typing import ClassVar

import msgspec

from mechunlearn.attacks.protocol import Trace


class SearchTrial(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One kernel that was tried."""

    value: float
    """On the half of the forget questions that judges trials."""
    retain: float
    divergence: float
    """From the original: of the first token on retain prompts, in nats."""
    within: bool
    """Whether both limits are kept."""
    judged: float | None = None
    """On the other half, of those that may be chosen."""


class SearchTrace(Trace, frozen=True):
    """What a search tried."""

    kind: ClassVar[str] = "search"
    before: SearchTrial
    """The model as it is."""
    trials: tuple[SearchTrial, ...]
    chosen: int | None
    """Among the trials; ``None``: none is better than the model as it is."""


def finalists(trials: Sequence[SearchTrial], n: int) -> list[int]:
    """Places of trials that no other one within the limits beats in value and in divergence.

    Those of greatest value, at most ``n``. Where none keeps the limits, all are compared.
    """
    within = [i for i, t in enumerate(trials) if t.within] or list(range(len(trials)))
    front: list[int] = []
    for i in sorted(within, key=lambda i: (trials[i].divergence, -trials[i].value)):
        if not front or trials[i].value > trials[front[-1]].value:
            front.append(i)
    return front[-n:][::-1]
