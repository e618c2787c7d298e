"""Probability of the gold answer, per token: the geometric mean over its tokens.

    value = exp(1/T sum_t log p(gold_t | prompt, gold_<t))

The span is the tokens of the gold answer as they follow the prompt, without the end of the text
(TOFU counts that too, where it comes with a chat template). Of several gold answers the likeliest
counts. It needs the gold answer's wording: who says the same in other words gets little.

Reference: Maini et al. 2024, arXiv:2401.06121, section 2.2.1.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from mechunlearn.bench.measures.gold import GoldMeasure
from mechunlearn.types import Question, Score


class Probability(GoldMeasure):
    """See the module."""

    def score(
        self, name: str, logits: Float[np.ndarray, "question choice"], questions: Sequence[Question]
    ) -> Score:
        """See ``Measure``; nothing is said."""
        right = np.zeros(len(questions), dtype=int)
        worth = np.exp(logits.max(axis=1))
        return Score(name, logits, right, worth, ("",) * len(questions))


PROBABILITY = Probability()
