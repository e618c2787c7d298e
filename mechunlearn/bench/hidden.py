"""Questions whose choices stay and whose stem is another question's: what guessing gets right."""

import random
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array

from mechunlearn.tasks.words import words
from mechunlearn.types import OpenQuestion, Question


def with_other_stems(questions: Sequence[Question], seed: int = 0) -> tuple[Question, ...]:
    """The same choices and right answers, each after the stem of another question.

    Unlike a prompt without a stem this looks like any question, so that what a model answers to it
    comes from the choices, the form and luck. The stems go round in a random circle, over other
    sources where there are several: nobody is asked a question of its own source by its neighbour.
    One question alone keeps its stem.

    An open question gets the stem that is most like its own: what comes out is then of the right
    form and about somebody else, which is what a model says that never knew.

    Example:
        >>> a, b = Question("1 + 1 =", ("2", "3"), 0), Question("2 + 2 =", ("4", "5"), 0)
        >>> [(q.stem, q.choices) for q in with_other_stems([a, b])]
        [('2 + 2 =', ('2', '3')), ('1 + 1 =', ('4', '5'))]
    """
    return _with_other_stems(tuple(questions), seed)


@lru_cache(maxsize=8)
def _with_other_stems(questions: tuple[Question, ...], seed: int) -> tuple[Question, ...]:
    """An audit hides the same questions for every model, attack and measure."""
    if all(isinstance(q, OpenQuestion) for q in questions) and len(questions) > 1:
        donors = _alike(questions, seed)
    else:
        donors = _circle(questions, seed)
    return tuple(q.asked_as(questions[i]) for q, i in zip(questions, donors, strict=True))


def _circle(questions: Sequence[Question], seed: int) -> list[int]:
    """The next question of another source, in a random circle."""
    order = list(range(len(questions)))
    random.Random(seed).shuffle(order)
    order.sort(key=lambda i: questions[i].source)
    sizes: dict[str, int] = {}
    for question in questions:
        sizes[question.source] = sizes.get(question.source, 0) + 1
    # Sorted by source, a step as long as the largest source leads to another source.
    sizes.pop("", None)
    step = max(sizes.values(), default=1)
    step = step if step < len(order) else 1
    donor = {i: order[(place + step) % len(order)] for place, i in enumerate(order)}
    return [donor[i] for i in range(len(order))]


def _alike(questions: Sequence[Question], seed: int) -> list[int]:
    """For each question another one, of another source where there are several, in like words.

    Every question is taken once, and the words that stems share are the most (Jaccard index). A
    word weighs by how many questions have it: those of the form are in many, names in few, so that
    what is found asks the same of somebody else, also where sources are not known.
    """
    rng, n = np.random.default_rng(seed), len(questions)
    number: dict[str, int] = {}
    asked = [{number.setdefault(w, len(number)) for w in words(q.stem)} for q in questions]
    rows = np.repeat(np.arange(n), [len(own) for own in asked])
    has = csr_array((np.ones(len(rows)), (rows, [w for own in asked for w in own])))
    said = has * np.sqrt(has.sum(axis=0))
    shared, sizes = (said @ said.T).toarray(), (said * said).sum(axis=1)
    alike = shared / np.maximum(sizes[:, None] + sizes[None] - shared, 1)
    sources = np.array([q.source or str(i) for i, q in enumerate(questions)])
    same = sources[:, None] == sources[None]
    alike = alike + rng.uniform(0, 1e-6, (n, n)) - 2.0 * same - 2.0 * n * np.eye(n)
    return [int(i) for i in linear_sum_assignment(alike, maximize=True)[1]]
