"""What a model answered, and how much of it is right."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from mechunlearn.stats import GRADED, mean_interval
from mechunlearn.types.display import table


@dataclass(frozen=True, eq=False)
class Score:
    """What a model answered to a set of questions, under one change and one read-out."""

    name: str
    logits: Float[np.ndarray, "question choice"]
    """Letter logits, or mean log-probability per token of each ending; -inf where there is none.
    Of generated text a column of zeros."""
    answers: Int[np.ndarray, " question"]
    worth: Float[np.ndarray, " question"] | None = None
    """What each answer is worth in [0, 1], by a graded measure; default: 1 where it is right."""
    texts: tuple[str, ...] | None = None
    """What was said, where answers are texts and not choices; empty where nothing was generated."""

    @cached_property
    def predictions(self) -> Int[np.ndarray, " question"]:
        """Index of the best choice; -1 where choices tie exactly (a tie is not an answer)."""
        best = self.logits.max(axis=1, keepdims=True)
        tied = (self.logits == best).sum(axis=1) > 1
        return np.where(tied | ~np.isfinite(best[:, 0]), -1, self.logits.argmax(axis=1))

    @cached_property
    def correct(self) -> Bool[np.ndarray, " question"]:
        """Whether each prediction is right; ties are wrong, texts right if worth over a half."""
        if self.texts is not None:
            return self.values > GRADED
        return self.predictions == self.answers

    @cached_property
    def values(self) -> Float[np.ndarray, " question"]:
        """What each answer is worth, in [0, 1]."""
        if self.worth is not None:
            return self.worth
        return (self.predictions == self.answers).astype(float)

    @cached_property
    def margins(self) -> Float[np.ndarray, " question"]:
        """How far the best choice is ahead of the second best; 0 for a tie, nan for one choice."""
        if self.logits.shape[1] < 2:
            return np.full(self.n, np.nan)
        ordered = np.sort(self.logits, axis=1)
        return np.subtract(ordered[:, -1], ordered[:, -2])

    @property
    def n(self) -> int:
        """Number of questions."""
        return len(self.answers)

    @property
    def accuracy(self) -> float:
        """Mean value: the share of right answers where they are right or wrong."""
        return float(self.values.mean())

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the accuracy."""
        return mean_interval(self.values)

    @property
    def nonfinite(self) -> int:
        """Questions whose logits are no finite numbers: broken weights or an overflow."""
        return int((~np.isfinite(self.logits.max(axis=1))).sum())

    def __repr__(self) -> str:
        low, high = self.interval
        n = f"{self.n}, {self.nonfinite} not finite" if self.nonfinite else f"{self.n}"
        return f"Score({self.name}: {self.accuracy:.3f} [{low:.3f}, {high:.3f}], n={n})"

    def _repr_html_(self) -> str:
        low, high = self.interval
        accuracy = f"{self.accuracy:.1%} [{low:.1%}, {high:.1%}]"
        broken = {"not finite": self.nonfinite} if self.nonfinite else {}
        return table({"change": self.name, "accuracy": accuracy, "n": self.n, **broken})
