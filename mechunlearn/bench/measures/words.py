"""Words of answers: normalised for comparing, and which of them a question does not give away."""

import re
import unicodedata
from collections.abc import Sequence

from mechunlearn.tasks.words import HAN, UNSPACED, composed

ARTICLES = re.compile(r"\b(a|an|the)\b")
SEPARATORS = (
    "\u2014\u2015\u2e3a\u2e3b\u2025\u2026\u22ef\u2022\u2192"
    "\u3001\u3002\uff0c\uff01\uff1a\uff1b\uff1f"
)
"""Punctuation with words on both sides and no space: long dashes, ellipses, full-width marks."""


class _Punctuation(dict[int, str]):
    """What ``str.translate`` makes of a character, looked up when it is first met.

    Punctuation and symbols of Unicode vanish, which in ASCII are those of ``string.punctuation``.
    """

    def __missing__(self, code: int) -> str:
        character = chr(code)
        kept = "" if unicodedata.category(character)[0] in "PS" else character
        self[code] = " " if character in SEPARATORS else kept
        return self[code]


PUNCTUATION = _Punctuation()
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

    Beyond SQuAD, whose punctuation is ASCII, that of Unicode goes too; dashes and ellipses that
    stand between words without spaces separate them. A text of nothing but articles or punctuation,
    such as the grade "A", stays as it is in lower case: it equals the same text only.

    Reference: Rajpurkar et al. 2016, arXiv:1606.05250, section 6.1.

    Example:
        >>> normalised("The  Eiffel Tower!")
        'eiffel tower'
    """
    text = composed(text).lower()
    bare = text.translate(PUNCTUATION)
    words = ARTICLES.sub(" ", bare).split() or bare.split() or text.split()
    return " ".join(words)


def recalled(word: str, text: str) -> bool:
    """Whether a text says a word of ``novel_words``; in unspaced scripts, as a part of another."""
    word, text = composed(word), composed(text).lower()
    if re.search(f"[{UNSPACED}]", word):
        return word in text
    return word in {*_words(text), *text.split()}


def _words(text: str) -> list[str]:
    """Words of a text in lower case, each Chinese character one; of symbols alone, all of it."""
    text = composed(text).lower()
    return re.findall(rf"[{HAN}]|[^\W{HAN}]+", text) or text.split()


def novel_words(gold: str, question: str) -> list[str]:
    """Words of an answer that its question does not say, without common ones; else all of them.

    Example:
        >>> novel_words("Her father is a baker.", "What is the job of her father?")
        ['baker']
    """
    words = _words(gold)
    asked = set(_words(question))
    new = [word for word in words if word not in asked and word not in COMMON]
    return new or words


def holds(words: Sequence[str], part: Sequence[str]) -> bool:
    """Whether some words stand in others, in their order and next to each other."""
    n = len(part)
    return bool(n) and any(words[i : i + n] == part for i in range(len(words) - n + 1))
