"""Answers that are right once the letters are renamed: knowledge behind a permutation of letters.

    names = argmax over one-to-one namings of #{ i : names[said_i] = right_i }

A renaming is fitted on some questions and used on others, so that the choice of the best of n!
costs nothing. It is suggested only where a renaming that was fitted on one half of the questions is
right in the other half far more often than the answers as they were said, and than always saying
the letter that is right most often; both halves take turns.
"""

from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Int
from scipy.optimize import linear_sum_assignment

Said: TypeAlias = Int[np.ndarray, " question"]
"""Index of a choice; negative where nothing was said."""
CLEAR = 3.5
"""Standard errors by which a renaming has to be better (p about 0.0002 each)."""


def fitted(said: Said, right: Said, n: int) -> Int[np.ndarray, " choice"]:
    """The one-to-one renaming of ``n`` letters that makes most answers right."""
    counts = np.zeros((n, n))
    np.add.at(counts, (said[said >= 0], right[said >= 0]), 1)
    counts += 1e-3 * np.eye(n)  # A letter that is never said keeps its name.
    return linear_sum_assignment(counts, maximize=True)[1]


def under(names: Int[np.ndarray, " choice"], said: Said) -> Said:
    """What was said, in the new names."""
    return np.where(said >= 0, names[said], -1)


def commonest(right: Said, n: int) -> int:
    """The letter that is right most often."""
    return int(np.bincount(right, minlength=n).argmax())


def suggested(said: Said, right: Said, n: int) -> tuple[int, ...] | None:
    """The renaming that the answers call for; ``None`` where they are best as they are.

    Args:
        n: Choices of the question that has most of them.

    Example:
        >>> right = np.arange(80) % 4
        >>> suggested((right + 1) % 4, right, 4)
        (3, 0, 1, 2)
        >>> suggested(np.zeros(80, dtype=int), right, 4) is None
        True
    """
    if len(said) < 4:
        return None
    # Halves at random: questions may stand in an order of their letters.
    first = np.random.default_rng(0).permutation(len(said)) < len(said) // 2
    renamed, constant = np.zeros(len(said), dtype=bool), np.zeros(len(said), dtype=bool)
    for half in (first, ~first):
        names = fitted(said[~half], right[~half], n)
        renamed[half] = under(names, said[half]) == right[half]
        constant[half] = right[half] == commonest(right[~half], n)
    if not all(_clearly(renamed, other) for other in (said == right, constant)):
        return None
    return tuple(int(i) for i in fitted(said, right, n))


def _clearly(a: Bool[np.ndarray, " question"], b: Bool[np.ndarray, " question"]) -> bool:
    gained = a.astype(float) - b
    return bool(gained.sum() > CLEAR * np.sqrt(max(float((gained**2).sum()), 1.0)))
