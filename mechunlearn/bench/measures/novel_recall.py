"""Novel-word recall: which share of the gold answer's own words is said.

    value = |novel words of the gold answer that the text says| / |novel words|

Novel is a word that the question does not say and that is none of the common ones, so that neither
repeating the question nor a template scores. Each Chinese character is a word; in other scripts
without spaces, and in Korean, a word may stand inside another. Of several gold answers the best
counts.
"""

from mechunlearn.bench.measures.gold import Generated
from mechunlearn.bench.measures.words import novel_words, recalled
from mechunlearn.types import Question


class NovelRecall(Generated):
    """See the module."""

    def judge(self, said: str, question: Question) -> float:
        """See ``Generated``."""
        shares = []
        for gold in question.accepted:
            novel = novel_words(gold, question.stem)
            shares.append(sum(recalled(word, said) for word in novel) / max(1, len(novel)))
        return max(shares)


NOVEL_RECALL = NovelRecall()
