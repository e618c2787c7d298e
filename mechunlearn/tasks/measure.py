"""Which measure suits open questions, and why."""

import re
import unicodedata
from collections.abc import Sequence

from mechunlearn.progress import console
from mechunlearn.tasks.words import ABUGIDAS, HAN, KANA
from mechunlearn.types import OpenQuestion, Question, Scoring

SHORT = 5
"""Words of a gold answer up to which it is a name, a place or a number, and not a sentence."""


def length(text: str) -> float:
    """Words of a text; where none are written apart, two Chinese or six Thai letters are one.

    Example:
        >>> length("a town in Peru"), length("\u745e\u58eb\u9996\u90fd\u4f2f\u5c14")
        (4, 3.0)
    """
    letters = "".join(c for c in text if unicodedata.category(c) == "Lo")  # Neither sign nor dot.
    pairs, sixes = (len(re.findall(f"[{x}]", letters)) for x in (HAN + KANA, ABUGIDAS))
    return max(len(text.split()), pairs / 2 + sixes / 6)


def measure_for(questions: Sequence[Question]) -> tuple[Scoring, str]:
    """The measure that suits some questions, and the reason in words.

    On TOFU's own models, knowing against never having known, containment of marked spans and
    novel-word recall tell both apart (AUC 0.89 to 0.99) whether or not a model rambles; exact match
    does not, and truth ratio hardly.
    """
    if not any(isinstance(q, OpenQuestion) for q in questions):
        return "letter", "the questions have choices"
    if all(q.fact != q.accepted[0] for q in questions if isinstance(q, OpenQuestion)):
        return "containment", "the gold answers have spans that carry the fact"
    if all(length(q.fact) <= SHORT for q in questions):
        return "containment", f"no gold answer has more than {SHORT} words: it is said or it is not"
    return "novel_recall", "the gold answers are sentences, of which the new words count"


def suggested(questions: Sequence[Question]) -> Scoring:
    """The measure that suits some questions; says so where it is not the usual one."""
    name, reason = measure_for(questions)
    if any(isinstance(q, OpenQuestion) for q in questions):
        console.print(f"[dim]measure {name}: {reason} (another one: --set task.scoring=...)[/dim]")
    return name
