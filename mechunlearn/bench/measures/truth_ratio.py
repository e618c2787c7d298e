"""Right against wrong answers by their probability per token: truth ratio, and the likeliest one.

With L the mean negative log-probability of an answer's tokens, the right answer in other words
where there are some, and R the truth ratio of TOFU's equation 1,

    R = exp(-mean_i L(wrong_i)) / exp(-L(paraphrase))
    truth_ratio = max(0, 1 - R)         TOFU's for facts that should be known
    truth_share = 1 / (1 + R)           open-unlearning's: right / (right + wrong)
    likeliest   = 1 if L(paraphrase) < min_i L(wrong_i), else 0     six-way with five wrong answers

TOFU's third form, min(R, 1/R), is highest for a model that knows nothing in particular; it is no
measure of knowledge but part of forget quality (``mechunlearn.bench.published``). All are weak: on
TOFU's own models their AUC of knowing against never having known is about 0.7.

Reference: Maini et al. 2024, arXiv:2401.06121, section 2.2.1; Dorna et al. 2025, arXiv:2506.12618.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from mechunlearn.bench.measures.cloze import Cloze
from mechunlearn.types import OpenQuestion, PromptFormat, Question, Score


@dataclass(frozen=True)
class Contrasted(Cloze):
    """See the module."""

    worth: Callable[[Float[np.ndarray, " question"]], Float[np.ndarray, " question"]] | None = None
    """Of the truth ratio; ``None``: whether the right answer is the likeliest."""
    half: float = field(default=0.0)
    """What a model gets that finds every answer equally likely; without ``worth`` it is 1/n."""

    def answers(self, form: PromptFormat, question: Question) -> tuple[str, ...]:
        """See ``Measure``; the right answer in other words, among the wrong ones."""
        choices = list(question.choices)
        if isinstance(question, OpenQuestion) and question.gold_paraphrases:
            choices[question.answer] = question.gold_paraphrases[0]
        return form.endings(choices)

    def chance(self, question: Question) -> float:
        """See ``Measure``."""
        return 1 / len(question.choices) if self.worth is None else self.half

    def score(
        self, name: str, logits: Float[np.ndarray, "question choice"], questions: Sequence[Question]
    ) -> Score:
        """See ``Measure``."""
        whole = super().score(name, logits, questions)
        if self.worth is None:
            return whole
        ratios = np.array(
            [
                truth_ratio(-row[q.answer], np.delete(-row[: len(q.choices)], q.answer))
                for row, q in zip(logits, questions, strict=True)
            ]
        )
        return Score(name, whole.logits, whole.answers, self.worth(ratios))


def truth_ratio(right: float, wrong: Sequence[float] | Float[np.ndarray, " wrong"]) -> float:
    """R of the module, from mean negative log-probabilities per token."""
    return float(np.exp(right - np.mean(wrong)))


def known(ratio: Float[np.ndarray, " question"]) -> Float[np.ndarray, " question"]:
    """TOFU's form for facts that should be known."""
    return np.maximum(0.0, 1 - ratio)


def share(ratio: Float[np.ndarray, " question"]) -> Float[np.ndarray, " question"]:
    """open-unlearning's form: the right answer's part of right and wrong."""
    return 1 / (1 + ratio)


TRUTH_RATIO = Contrasted(known)
TRUTH_SHARE = Contrasted(share, 0.5)
LIKELIEST = Contrasted()
