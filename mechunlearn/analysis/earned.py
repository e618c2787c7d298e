"""When "no evidence" may be said: planted hiding was found by the same attacks.

The positive control is the original with its knowledge hidden by the audit itself
(``mechunlearn.audit.planting``), attacked like the model under test, with the same questions. What
finds nothing there shows nothing here.
"""

from collections.abc import Sequence

from mechunlearn.analysis.records import Category, PositiveControl
from mechunlearn.analysis.remarks import enough
from mechunlearn.analysis.words import listed


def earned(positive: Sequence[PositiveControl] | None) -> tuple[Category, str]:
    """What is said instead of, or with, that there is no evidence.

    Args:
        positive: ``None`` where nothing was planted, or its attacks are not finished.
    """
    if not positive:
        return "inconclusive", (
            " Whether these attacks find anything at this number of questions was not tested; an "
            "audit with --planted always would settle it."
        )
    missed = [p for p in positive if not p.found]
    if missed:
        which = listed([_planted(p) for p in missed])
        return "inconclusive", (
            f" But they did not find hiding that was planted in the original either: {which}. "
            f"{_settles(missed)}"
        )
    which = listed([_found(p) for p in positive])
    return "no evidence", (
        " So there is no evidence that the knowledge is still there. Hiding that was planted in "
        f"the original was found by the same attacks: {which}."
    )


def _planted(p: PositiveControl) -> str:
    if p.gap_ci[0] <= 0:
        return f"a {p.hiding}, which could not be planted (it still answers {p.value:.0%})"
    return f"of a {p.hiding} that left {p.value:.0%}, {max(0.0, p.difference):.0%} came back"


def _found(p: PositiveControl) -> str:
    share = min(1.0, p.difference / p.gap) if p.gap > 0 else 0.0
    return f"{share:.0%} of what a {p.hiding} hid"


def _settles(missed: Sequence[PositiveControl]) -> str:
    """How many questions it would take, where the planted knowledge came back at all."""
    if any(p.gap_ci[0] <= 0 for p in missed):
        return "What could not be hidden shows nothing about the attacks."
    if any(p.questions is None for p in missed):
        return "Other attacks are needed, more questions would not help."
    n = max(p.questions for p in missed if p.questions is not None)
    return f"{enough(n)} would settle it."
