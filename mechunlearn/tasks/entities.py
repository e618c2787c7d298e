"""What questions are about: the name that all questions of a source share."""

import re
from collections import Counter
from collections.abc import Sequence

from mechunlearn.types import Question

WORD = re.compile(r"\w+(?:['’.-]\w+)*")
COMMON = 0.25
"""A word in the questions of more than this share of the sources belongs to their wording."""


def names_of(questions: Sequence[Question]) -> dict[str, str]:
    """The name in all questions of a source, by source.

    It is the longest run of words that stands in every stem and statement of the source and in no
    other source's, and whose words are not everybody's. Sources with a single question, or without
    such a run, have no name.

    Example:
        >>> def about(name, what):
        ...     return Question(f"Where does {name} {what}?", ("a", "b"), 0, source=name)
        >>> people = "Ann Lee", "Bo Ray", "Di Fox", "Al Orr"
        >>> names_of([about(name, what) for name in people for what in ("live", "work")])["Bo Ray"]
        'Bo Ray'
    """
    texts: dict[str, list[str]] = {}
    for question in questions:
        own = texts.setdefault(question.source, []) if question.source else []
        own += [text for text in (question.stem, question.statement) if text]
    counts = Counter(q.source for q in questions)
    words = {
        source: {w for text in own for w in WORD.findall(text)} for source, own in texts.items()
    }
    owners = Counter(word for own in words.values() for word in own)
    most = max(1.0, COMMON * len(texts))
    names = {}
    for source, own in texts.items():
        if counts[source] < 2:
            continue
        rare = set.intersection(*(set(WORD.findall(text)) for text in own))
        rare = {word for word in rare if owners[word] <= most}
        runs = [run for run in _runs(own[0], rare) if all(run in text for text in own)]
        others = [text for other, all_ in texts.items() if other != source for text in all_]
        runs = [run for run in runs if not any(run in text for text in others)]
        if runs:
            names[source] = max(runs, key=len)
    return names


def _runs(text: str, words: set[str]) -> list[str]:
    """Longest stretches of a text that consist of these words."""
    runs: list[tuple[int, int]] = []
    for match in WORD.finditer(text):
        if match[0] not in words:
            continue
        start, end = match.span()
        joined = runs and not WORD.search(text[runs[-1][1] : start])
        runs[-1:] = [(runs[-1][0], end)] if joined else [*runs[-1:], (start, end)]
    return [text[start:end] for start, end in runs]


def wordings_of(questions: Sequence[Question], names: dict[str, str]) -> int:
    """How many different statements the named sources' questions are, but for the names."""
    return len(
        {
            (q.statement or q.stem).replace(names[q.source], "\0")
            for q in questions
            if q.source in names
        }
    )
