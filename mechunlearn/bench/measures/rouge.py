"""ROUGE-L: the longest common subsequence of words of text and gold answer.

    recall = LCS / words of the gold answer,     F1 = 2 LCS / (words of both)

``rouge_recall`` is TOFU's (arXiv:2401.06121, with Porter stems), ``rouge_f1`` MUSE's
(arXiv:2407.06460, without stems); RWKU's other package and words are neither. Never compare one
with another. Words are ``[a-z0-9]+``: text in other scripts scores 0. A model that never knew gets
about 0.4 of the recall on TOFU, since it repeats the question's words.

Reference: Lin 2004 (ROUGE); computed by the package ``rouge-score``.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

from mechunlearn.bench.measures.gold import Generated
from mechunlearn.tasks.words import composed
from mechunlearn.types import Question


@cache
def _scorer(stems: bool) -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], use_stemmer=stems)


@dataclass(frozen=True)
class Rouge(Generated):
    """See the module."""

    stems: bool
    recall: bool
    """Recall alone; else F1."""

    def judge(self, said: str, question: Question) -> float:
        """See ``Generated``; of several gold answers the best counts."""
        scorer, said = _scorer(self.stems), composed(said)
        found = [scorer.score(composed(g), said)["rougeL"] for g in question.accepted]
        return float(max(x.recall if self.recall else x.fmeasure for x in found))


RECALL = Rouge(stems=True, recall=True)
F1 = Rouge(stems=False, recall=False)
