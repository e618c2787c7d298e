"""What attacks get to ask, and what their variants are worth."""

import numpy as np
import pytest

from mechunlearn.audit.select import ENOUGH, lost, worth
from mechunlearn.bench.renaming import suggested
from mechunlearn.types import Change, Form, Question, Score, Task


def test_attacks_ask_what_was_lost_unless_that_is_little() -> None:
    questions = [Question(f"q{i}", ("a", "b"), 0) for i in range(20)]
    knew = [1.0] * 19 + [0.0]
    assert lost(questions, knew, [0.0] * ENOUGH + [1.0] * 12) == tuple(questions[:ENOUGH])
    assert lost(questions, knew, [0.0] * 20) == tuple(questions[:19])
    assert lost(questions, knew, [0.5] * (ENOUGH - 1) + [1.0] * 13) == tuple(questions)


def test_letters_that_are_right_under_other_names_are_worth_what_they_are_there(task: Task) -> None:
    """A17: else no variant would be chosen that brings permuted letters back."""
    right = np.arange(96) % 4
    permuted = Score("x", np.eye(4)[(right + 1) % 4], right)
    none = Change("none")
    assert (permuted.accuracy, worth(permuted, task, none)) == (0.0, 1.0)
    # Nothing else is worth more than it is: guesses, one letter, letters of another measure.
    rng = np.random.default_rng(0)
    for said in (rng.integers(0, 4, 96), np.ones(96, dtype=int)):
        score = Score("x", np.eye(4)[said], right)
        assert worth(score, task, none) == pytest.approx(score.accuracy)
    assert worth(permuted, task, Change("x", form=Form("cloze"))) == 0.0


def test_a_renaming_is_hardly_ever_suggested_by_luck() -> None:
    rng = np.random.default_rng(0)
    drawn = [
        suggested(rng.integers(0, 4, n), rng.choice(4, n, p=(0.4, 0.2, 0.2, 0.2)), 4)
        for n in (16, 40, 192)
        for _ in range(200)
    ]
    assert sum(names is not None for names in drawn) <= 1
