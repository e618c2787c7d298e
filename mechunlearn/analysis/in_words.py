"""What an attack brings back in words, beside the task's own measure."""

from msgspec import UNSET, UnsetType

from mechunlearn.analysis.answers import questions_of, sources_of, values
from mechunlearn.analysis.records import InWords, Said
from mechunlearn.analysis.rounding import short, short_interval
from mechunlearn.audit.evidence import Evidence
from mechunlearn.stats import mean_interval

SHOWN = 6
"""Answers that a report keeps."""


def in_words_of(evidence: Evidence, model: str, attack: str) -> InWords | None:
    """Answers in words under a finished attack; ``None`` where there are none."""
    under = evidence.attack(model, attack).in_words
    original = evidence.ceiling(model, attack).in_words
    before = evidence.baseline(model).in_words
    if any(isinstance(x, UnsetType) for x in (under, original, before)):
        return None
    twin = evidence.control(model, attack)
    knew_not = UNSET if twin is None else twin.in_words
    asked = questions_of(evidence.setup.task, "in_words")
    return InWords(
        n=len(asked),
        value=short(under.mean),
        value_ci=short_interval(mean_interval(values(under), sources_of(asked))),
        control=None if isinstance(knew_not, UnsetType) else short(knew_not.mean),
        original=short(original.mean),
        said=tuple(
            Said(asked[i].stem, asked[i].fact, str(before.said[i]), str(under.said[i]))
            for i in range(0, len(asked), max(1, len(asked) // SHOWN))
        )[:SHOWN],
    )
