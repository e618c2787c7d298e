"""What models say to questions with choices, and whether it is right under other letters."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from mechunlearn.analysis.records import Renamed
from mechunlearn.analysis.tests import Sources, max_t, sums_by_source
from mechunlearn.audit.records import Answers
from mechunlearn.bench.renaming import commonest, fitted, under
from mechunlearn.stats import Values
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

    def under(self, names: Int[np.ndarray, " choice"]) -> Values:
        """What the answers are worth with the letters renamed."""
        return (under(names, self.said) == self.right).astype(float)

    def majority(self, asked: "Choices") -> Values:
        """What the letter that is right most often here is worth on other questions."""
        return (asked.right == commonest(self.right, self.n)).astype(float)

    def shuffled(self, seed: int) -> Bool[np.ndarray, " question"]:
        """The placebo of a read-out: whether answers are right held against other questions'."""
        return self.said == self.right[np.random.default_rng(seed).permutation(len(self.right))]


def renamed(
    select: Choices,
    confirm: Choices,
    controls: Sequence[tuple[Choices, Choices]] = (),
    levels: Sequence[Values] = (),
    sources: Sources | None = None,
) -> Renamed:
    """Whether the answers are right after renaming the letters: knowledge in disguise.

    The one-to-one renaming that fits the select fold best is applied to the confirm fold. What
    comes out has to exceed the letter that was right most often in the select fold, guessing,
    every further level and the control: the ``p`` is the largest of these tests'; 1 where nothing
    is renamed.

    Args:
        controls: Folds of the never-knew models, each renamed by the same rule; their mean counts.
        levels: Further answers of no knowledge, on the confirm fold.
        sources: Of the questions, whose signs are flipped; default: each its own.
    """
    n = max(select.n, confirm.n)
    names = fitted(select.said, select.right, n)
    right = (under(names, confirm.said) == confirm.right).astype(float)
    if np.array_equal(names, np.arange(n)):
        return Renamed(value=float(right.mean()), renaming=tuple(range(n)), p=1.0)
    nothing = [np.full(len(right), 1 / n), select.majority(confirm), *levels]
    if controls:
        known = [asked.under(fitted(own.said, own.right, n)) for own, asked in controls]
        nothing.append(np.mean(known, axis=0))
    nets = np.array([right - level for level in nothing])
    of = np.arange(len(right)) if sources is None else sources
    p = max_t(sums_by_source(nets, of), seed=0).p.max()
    return Renamed(value=float(right.mean()), renaming=tuple(map(int, names)), p=float(p))
