"""Questions whose choices stay and whose stem is another question's: what guessing gets right."""

import random
from collections.abc import Sequence

from mechunlearn.types import Question


def with_other_stems(questions: Sequence[Question], seed: int = 0) -> tuple[Question, ...]:
    """The same choices and right answers, each after the stem of another question.

    Unlike a prompt without a stem this looks like any question, so that what a model answers to it
    comes from the choices, the form and luck. The stems go round in a random circle, over other
    sources where there are several: nobody is asked a question of its own source by its neighbour.
    One question alone keeps its stem.

    Example:
        >>> a, b = Question("1 + 1 =", ("2", "3"), 0), Question("2 + 2 =", ("4", "5"), 0)
        >>> [(q.stem, q.choices) for q in with_other_stems([a, b])]
        [('2 + 2 =', ('2', '3')), ('1 + 1 =', ('4', '5'))]
    """
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
    return tuple(q.asked_as(questions[donor[i]]) for i, q in enumerate(questions))
