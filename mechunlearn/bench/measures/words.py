"""Words of answers: normalised for comparing, and which of them a question does not give away."""

import re
import string
from collections.abc import Sequence

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)
COMMON = frozenset(
    re.findall(
        r"\w+",
        """
        a about after all also an and are as at be because been being both but by can could did do
        does each for from had has have he her hers him his how i if in into is it its may me more
        most my no nor not of on one or other our out over own she should so some such than that
        the their them then there these they this those through to too under up us very was we
        were what when where which while who whom whose why will with would you your
        """,
    )
)
"""Words that say nothing about a fact; our own list."""


def normalised(text: str) -> str:
    """A text as SQuAD compares it: lower case, no punctuation, no articles, single spaces.

    Reference: Rajpurkar et al. 2016, arXiv:1606.05250, section 6.1.

    Example:
        >>> normalised("The  Eiffel Tower!")
        'eiffel tower'
    """
    text = text.lower().replace("\u2019", "'").translate(PUNCTUATION)
    return " ".join(ARTICLES.sub(" ", text).split())


def novel_words(gold: str, question: str) -> list[str]:
    """Words of an answer that its question does not say, without common ones; else all of them.

    Example:
        >>> novel_words("Her father is a baker.", "What is the job of her father?")
        ['baker']
    """
    words = re.findall(r"\w+", gold.lower())
    asked = set(re.findall(r"\w+", question.lower()))
    new = [word for word in words if word not in asked and word not in COMMON]
    return new or words


def holds(words: Sequence[str], part: Sequence[str]) -> bool:
    """Whether some words stand in others, in their order and next to each other."""
    n = len(part)
    return bool(n) and any(words[i : i + n] == part for i in range(len(words) - n + 1))
