"""What models say to questions with choices, and whether it is right under other letters."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int
from scipy.optimize import linear_sum_assignment

from mechunlearn.analysis.records import Renamed
from mechunlearn.analysis.tests import mcnemar
from mechunlearn.audit.records import Answers
from mechunlearn.stats import binomial_p
from mechunlearn.types import Question


@dataclass(frozen=True, slots=True)
class Choices:
    """Choices that a model made in one question set."""

    said: Int[np.ndarray, " question"]
    """Index of the choice, ``TIE`` for a tie."""
    right: Int[np.ndarray, " question"]
    n: int
    """Choices of the question that has most of them."""

    @classmethod
    def of(cls, answers: Answers, questions: Sequence[Question]) -> "Choices":
        """A model's answers beside the right ones."""
        most = max(len(q.choices) for q in questions)
        return cls(np.array(answers.said), np.array([q.answer for q in questions]), most)

    def table(self) -> tuple[tuple[int, ...], ...]:
        """Questions by right letter (row) and letter said (column); exact ties stand last."""
        counts = np.zeros((self.n, self.n + 1), dtype=int)
        np.add.at(counts, (self.right, np.where(self.said < 0, self.n, self.said)), 1)
        return tuple(tuple(row) for row in counts.tolist())

    def shuffled(self, seed: int) -> Bool[np.ndarray, " question"]:
        """The placebo of a read-out: whether answers are right held against other questions'."""
        return self.said == self.right[np.random.default_rng(seed).permutation(len(self.right))]


def renamed(select: Choices, confirm: Choices, control: tuple[Choices, Choices] | None) -> Renamed:
    """Whether the answers are right after renaming the letters: knowledge in disguise.

    The one-to-one renaming that fits the select fold best is applied to the confirm fold. Its
    ``p`` is against the control, else against chance; 1 where nothing is renamed.

    Args:
        control: The control's folds, renamed by the same rule.
    """
    names, right = _renamed(select, confirm)
    if names == tuple(range(len(names))):
        p = 1.0
    elif control is not None:
        p = mcnemar(right, _renamed(*control)[1])
    else:
        p = binomial_p(int(right.sum()), len(right), 1 / len(names))
    return Renamed(value=float(right.mean()), renaming=names, p=p)


def _renamed(
    select: Choices, confirm: Choices
) -> tuple[tuple[int, ...], Bool[np.ndarray, " question"]]:
    n = max(select.n, confirm.n)
    counts = np.zeros((n, n))
    np.add.at(counts, (select.said[select.said >= 0], select.right[select.said >= 0]), 1)
    counts += 1e-3 * np.eye(n)  # A letter that is never said keeps its name.
    _, names = linear_sum_assignment(counts, maximize=True)
    meant = np.where(confirm.said >= 0, names[confirm.said], -1)
    return tuple(int(i) for i in names), meant == confirm.right
