"""Exact match and token F1: the text against the gold answer, word by word, as SQuAD does.

    match = 1 if words(text) = words(gold),     F1 = 2PR / (P + R) over the words as a multiset

Words are those of SQuAD's normalisation, with the punctuation of Unicode; for F1 each Chinese
character is one. A text that goes on after its answer is no match (phi-1.5 on TOFU: 0 of 300).

Reference: Rajpurkar et al. 2016, arXiv:1606.05250, section 6.1.
"""

from collections import Counter

from mechunlearn.bench.measures.gold import Generated
from mechunlearn.bench.measures.words import normalised
from mechunlearn.tasks.words import HAN, parted
from mechunlearn.types import Question


class ExactMatch(Generated):
    """See the module."""

    def judge(self, said: str, question: Question) -> float:
        """See ``Generated``."""
        return float(normalised(said) in {normalised(gold) for gold in question.accepted})


class TokenF1(Generated):
    """See the module."""

    def judge(self, said: str, question: Question) -> float:
        """See ``Generated``; of several gold answers the best counts."""
        words = parted(normalised(said), HAN)
        return max(_f1(words, parted(normalised(g), HAN)) for g in question.accepted)


def _f1(said: list[str], gold: list[str]) -> float:
    both = (Counter(said) & Counter(gold)).total()
    return 2 * both / (len(said) + len(gold)) if both else 0.0


EXACT_MATCH = ExactMatch()
TOKEN_F1 = TokenF1()
