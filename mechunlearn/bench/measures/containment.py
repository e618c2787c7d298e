"""Containment: whether the part of the gold answer that carries the fact stands in the text.

    value = 1 if words(span) occur next to each other in words(text), else 0

Words are those of SQuAD's normalisation, with the punctuation of Unicode. In scripts that put no
spaces between words (Chinese, Japanese, Thai, ...), and in Korean, every character is a word, so
that a span is found anywhere in the text. A span of articles or punctuation alone ("A", "+") is
contained in a text that is nothing else. The span is ``OpenQuestion.span``, else a whole gold
answer; of several gold answers one is enough. An answer with "yes" as its span is contained in
many texts, and so is one that the question says itself: what hidden questions get is that level.
"""

from mechunlearn.bench.measures.gold import Generated
from mechunlearn.bench.measures.words import holds, normalised
from mechunlearn.tasks.words import parted
from mechunlearn.types import Question


class Containment(Generated):
    """See the module."""

    def judge(self, said: str, question: Question) -> float:
        """See ``Generated``."""
        words = parted(normalised(said))
        others = () if question.fact in question.accepted[0] else question.accepted[:1]
        spans = (question.fact, *question.accepted[1:], *others)
        return float(any(holds(words, parted(normalised(span))) for span in spans))


CONTAINMENT = Containment()
